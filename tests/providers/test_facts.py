"""What a provider says of itself, however absurd: counts that the ledger can keep, headers that can be sent on."""

import msgspec
import pytest

from workers.providers import anthropic_answer, ollama_answer
from workers.providers.headers import shown
from workers.providers.openai_usage import read_usage


@pytest.mark.parametrize("said", [-1, 2**53, 10**30])
def test_an_absurd_count_is_none(said: int) -> None:
    used = anthropic_answer.Used(said, said, said, said, anthropic_answer.OutputDetails(said))
    line = ollama_answer.Line(prompt_eval_count=said, eval_count=said)
    whole = read_usage(msgspec.Raw(b'{"prompt_tokens":%d,"completion_tokens":%d}' % (said, said)))
    assert whole is not None
    for usage in (whole, anthropic_answer.usage_of(used), ollama_answer.usage_of(line, lambda: 1, lambda: 1)):
        assert (usage.total, usage.cached, usage.cache_write, usage.reasoning) == (0, 0, 0, 0)


def test_only_headers_that_are_text_are_shown() -> None:
    headers = {
        "x-request-id": "caf\udce9",  # what aiohttp makes of a byte that is no UTF-8
        "openai-version": "a\x01b",
        "x-ratelimit-limit-requests": "10",
        "cf-ray": "caf\u00e9",
        "set-cookie": "no",
    }
    assert shown(headers) == {"x-ratelimit-limit-requests": "10", "llm_provider-cf-ray": "caf\u00e9"}
