"""From a client's body to what goes on the queue: parsed once, checked where we must, otherwise passed on untouched.

The top level is decoded to raw JSON values, so that what we do not understand reaches the provider byte for byte.
Control fields (LiteLLM's names) are consumed here and never forwarded.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from schemas.envelope import Endpoint
from schemas.failures import Kind, Refused

Fields = dict[str, msgspec.Raw]

CONTROL = frozenset(
    {
        "additional_drop_params",
        "allowed_openai_params",
        "cache",
        "caching",
        "content_policy_fallbacks",
        "context_window_fallbacks",
        "default_fallbacks",
        "disable_fallbacks",
        "drop_params",
        "enable_cache_control",
        "fallbacks",
        "guardrails",
        "litellm_call_id",
        "litellm_metadata",
        "litellm_session_id",
        "litellm_trace_id",
        "max_fallbacks",
        "max_retries",
        "mock_response",
        "mock_testing_fallbacks",
        "mock_timeout",
        "no-log",
        "num_retries",
        "priority",
        "prompt_id",
        "prompt_variables",
        "request_timeout",
        "retry_policy",
        "stream_timeout",
        "tags",
        "timeout",
    }
)
"""Consumed, never forwarded. `metadata` is one of them unless the client asks OpenAI to store it (`store: true`)."""

CREDENTIALS = frozenset({"api_base", "api_key", "api_version", "base_url", "extra_headers", "organization"})
"""Refused unless the deployment lets the client set them."""

_REQUIRED = {Endpoint.CHAT: "messages", Endpoint.COMPLETIONS: "prompt", Endpoint.EMBEDDINGS: "input"}
_DECODER = msgspec.json.Decoder(Fields)
_ENCODER = msgspec.json.Encoder()


class Output(NamedTuple):
    """Completion tokens that a body allows for each of its answers (None: it does not say), and how many answers."""

    most: int | None
    answers: int = 1


class Intake(NamedTuple):
    """A checked body. `controls` and `credentials` are decoded and taken out of `body`."""

    model: str
    stream: bool
    include_usage: bool
    user: str
    body: bytes
    controls: Mapping[str, Any]
    credentials: Mapping[str, Any]
    output: Output = Output(None)


def take_in(endpoint: Endpoint, data: bytes, path_model: str | None = None, enforced: Iterable[str] = ()) -> Intake:
    """Check a body. Raises `Refused(INVALID_REQUEST)` naming the parameter; `path_model` comes from the URL.

    `enforced` are fields that must be there, `metadata.generation_name` one in an object; null is there.
    """
    fields = _decode(data)
    if path_model is not None:
        fields.setdefault("model", msgspec.Raw(_ENCODER.encode(path_model)))
    for name in enforced:
        _check_enforced(fields, name)
    model = _value(fields, "model", str)
    if not model:
        raise Refused(Kind.INVALID_REQUEST, "you must provide a model parameter", param="model")
    _check_input(endpoint, fields)
    stream = bool(_value(fields, "stream", bool)) and endpoint is not Endpoint.EMBEDDINGS
    options = _value(fields, "stream_options", dict) or {}
    controls, credentials, changed = _take_controls(fields)
    return Intake(
        model=model,
        stream=stream,
        include_usage=options.get("include_usage") is True,
        user=_user(fields),
        body=_ENCODER.encode(fields) if changed or path_model is not None else data,
        controls=controls,
        credentials=credentials,
        output=_output(endpoint, fields),
    )


def _decode(data: bytes) -> Fields:
    try:
        data.decode()  # msgspec's raw values are not checked for UTF-8
        return _DECODER.decode(data)
    except msgspec.ValidationError:
        raise Refused(Kind.INVALID_REQUEST, "The request body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(Kind.INVALID_REQUEST, f"The request body is not valid JSON: {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {error.start}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if "truncated" in str(error):  # what msgspec says of an escaped half of a character, too
        return "it ends too early, or holds an unpaired surrogate escape"
    return str(error).removeprefix("JSON is malformed: ").rstrip(".").lower()


def _value(fields: Fields, name: str, kind: type[Any]) -> Any:
    raw = fields.get(name)
    if raw is None:
        return None
    value = _read(raw, name)
    if value is not None and type(value) is not kind:
        wanted = {str: "a string", bool: "a boolean", dict: "an object"}[kind]
        raise Refused(Kind.INVALID_REQUEST, f"Invalid type for '{name}': expected {wanted}.", param=name)
    return value


def _read(raw: msgspec.Raw, name: str) -> Any:
    """A value that is ours to understand. What is valid JSON may still be too large or too deep for us."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(Kind.INVALID_REQUEST, f"Invalid value for '{name}': {_reason(error)}.", param=name) from None


def _check_input(endpoint: Endpoint, fields: Fields) -> None:
    name = _REQUIRED[endpoint]
    raw = bytes(fields.get(name, b""))
    if not raw or raw == b"null":
        raise Refused(Kind.INVALID_REQUEST, f"Missing required parameter: '{name}'.", param=name)
    if endpoint is Endpoint.CHAT and raw[:1] != b"[":
        raise Refused(Kind.INVALID_REQUEST, "Invalid type for 'messages': expected an array.", param=name)
    if endpoint is Endpoint.CHAT and raw[1:].lstrip()[:1] == b"]":
        raise Refused(Kind.INVALID_REQUEST, "Invalid 'messages': expected at least one message.", param=name)


def _check_enforced(fields: Fields, name: str) -> None:
    first, *others = name.split(".")
    found: Any = {first: _read(fields[first], first) if others else None} if first in fields else {}
    for part in (first, *others):
        if not isinstance(found, dict) or part not in found:
            break
        found = found[part]
    else:
        return
    said = f"BadRequest please pass param={name} in request body. This is a required param"
    raise Refused(Kind.INVALID_REQUEST, said, param=name)


def output_of(endpoint: Endpoint, body: bytes) -> Output:
    """The same for a body that was checked before, and rewritten since."""
    return _output(endpoint, _DECODER.decode(body))


def _output(endpoint: Endpoint, fields: Fields) -> Output:
    """The larger of both bounds: providers differ in which they take. What is no number is theirs to refuse."""
    if endpoint is Endpoint.EMBEDDINGS:
        return Output(0)
    given = [_whole(fields, name) for name in ("max_completion_tokens", "max_tokens")]
    most = max((bound for bound in given if bound is not None), default=None)
    answers = max(_answers(fields, "n"), _answers(fields, "best_of"))
    return Output(most, answers * (_prompts(fields) if endpoint is Endpoint.COMPLETIONS else 1))


def _answers(fields: Fields, name: str) -> int:
    raw = fields.get(name)
    if raw is None or bytes(raw) == b"null":
        return 1
    count = _whole(fields, name)
    if count is None:
        raise Refused(Kind.INVALID_REQUEST, f"Invalid type for '{name}': expected a whole number.", param=name)
    return max(1, count)


def _prompts(fields: Fields) -> int:
    """A completion's prompt may be several: texts, or lists of tokens."""
    raw = fields.get("prompt")
    if raw is None or bytes(raw)[:1] != b"[":
        return 1
    prompts = _read(raw, "prompt")
    return len(prompts) if prompts and isinstance(prompts[0], str | list) else 1


def _whole(fields: Fields, name: str) -> int | None:
    raw = fields.get(name)
    return int(bytes(raw)) if raw is not None and bytes(raw).isdigit() and len(bytes(raw)) < 10 else None


def _user(fields: Fields) -> str:
    raw = fields.get("user")
    value = _read(raw, "user") if raw is not None else None
    return value if isinstance(value, str) else ""


def _take_controls(fields: Fields) -> tuple[dict[str, Any], dict[str, Any], bool]:
    names = fields.keys()
    ours = names & CONTROL
    theirs = names & CREDENTIALS
    if "metadata" in names and bytes(fields.get("store", b"")) != b"true":
        ours = ours | {"metadata"}
    controls = {name: _read(fields.pop(name), name) for name in ours}
    credentials = {name: _read(fields.pop(name), name) for name in theirs}
    return controls, credentials, bool(ours or theirs)
