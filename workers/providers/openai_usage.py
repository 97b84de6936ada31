"""OpenAI's `usage` object, read leniently: vendors leave out, null and rename its parts."""

from typing import Any

import msgspec

from schemas.usage import Usage

Count = int | float | None
"""A number of tokens as a provider says it."""


class _PromptDetails(msgspec.Struct):
    cached_tokens: Count = None
    audio_tokens: Count = None
    cache_write_tokens: Count = None
    cache_creation_tokens: Count = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: Count = None
    audio_tokens: Count = None


class _Usage(msgspec.Struct):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: Count = None  # DeepSeek
    cached_tokens: Count = None  # Moonshot
    reasoning_tokens: Count = None


_USAGE = msgspec.json.Decoder(_Usage)
_NO_PROMPT = _PromptDetails()
_NO_COMPLETION = _CompletionDetails()


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """The usage that a provider reported; None when it did not, or not in a form that can be read."""
    try:
        usage = _USAGE.decode(raw)
    except msgspec.DecodeError:  # empty, null, or of another shape
        return None
    if usage.prompt_tokens is None and usage.completion_tokens is None and usage.total_tokens is None:
        return None
    prompt, completion = usage.prompt_tokens_details or _NO_PROMPT, usage.completion_tokens_details or _NO_COMPLETION
    total, said = whole(usage.total_tokens), whole(usage.completion_tokens)
    counted = whole(usage.prompt_tokens)
    if usage.prompt_tokens is None:
        counted = max(total - said, 0)
    return Usage(
        counted,
        said,
        whole(prompt.cached_tokens or usage.prompt_cache_hit_tokens or usage.cached_tokens),
        whole(prompt.cache_write_tokens or prompt.cache_creation_tokens),
        whole(completion.reasoning_tokens or usage.reasoning_tokens),
        whole(prompt.audio_tokens),
        whole(completion.audio_tokens),
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """OpenAI's `usage` object for counts that another dialect reported."""
    found: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
    }
    if usage.cached or usage.cache_write:
        found["prompt_tokens_details"] = {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write}
    if usage.reasoning:
        found["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return found


def whole(value: Count) -> int:
    """A count that the ledger can keep; 0 for what is missing, below zero or absurd."""
    if not value:
        return 0
    return max(int(value), 0) if abs(value) < 2**53 else 0
