"""Whatever is thrown at the door: an answer at once, never our own fault, and a refusal always in OpenAI's shape."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import httpx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.intake import CONTROL, CREDENTIALS
from tests.support.inside import DEMO, Inside, inside

_HEADERS = ["x-penstock-timeout", "x-litellm-timeout", "x-stainless-read-timeout", "x-litellm-stream-timeout"]
_HEADERS += ["x-litellm-tags", "x-litellm-end-user-id", "content-type", "content-length", "accept", "x-request-id"]
_FIELDS = ["stream", "stream_options", "user", "model", "messages", "metadata", "store", "n", "tools", "max_tokens"]
_FIELDS += ["response_format", "logprobs", "temperature", "encoding_format", "dimensions"]
_FIELDS += sorted(CONTROL - {"timeout", "request_timeout", "stream_timeout"}) + sorted(CREDENTIALS)

_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_JSON: st.SearchStrategy[Any] = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6
)
_NEARLY = st.fixed_dictionaries(
    {"model": st.just("demo") | _JSON, "messages": st.just([{"role": "user", "content": "hi"}]) | _JSON},
    optional={name: _JSON for name in _FIELDS if name not in ("model", "messages")},
)
_BODIES = (
    st.binary(max_size=200)
    | _JSON.map(lambda value: json.dumps(value).encode())
    | _NEARLY.map(lambda value: json.dumps(value).encode())  # json writes lone surrogates, NaN and Infinity
)
_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30)
_HEADER_SETS = st.dictionaries(st.sampled_from(_HEADERS), _VALUES | st.sampled_from(["1", "-1", "nan", "1e999", "٣"]))
_PATHS = st.sampled_from(
    ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/engines/demo/chat/completions"]
)

_DEEP = b'{"model":"demo","messages":[{}],"metadata":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001
_LARGE = b'{"model":"demo","messages":[{}],"metadata":{"a":123456789012345678901234567890,"b":1e999},"user":-1e999}'


def test_anything_is_answered() -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        system = runner.run(stack.enter_async_context(inside(DEMO)))

        @settings(max_examples=400, deadline=None, database=None)
        @given(_PATHS, _BODIES, _HEADER_SETS)
        @example("/v1/chat/completions", _DEEP, {})
        @example("/v1/chat/completions", _LARGE, {})
        @example("/v1/embeddings", b'{"model":"demo","input":' + b"[" * 20_000 + b"]" * 20_000 + b"}", {})
        @example("/v1/chat/completions", b'{"model":"\\ud800","messages":[{}]}', {})
        @example("/v1/chat/completions", b'{"model":"demo","messages":[{}],"\\ud800":1,"tags":["\\udfff"]}', {})
        @example(
            "/v1/chat/completions", b'{"model":"demo","messages":[{}],"stream":true,"stream_options":{"a":1e999}}', {}
        )
        def every(path: str, body: bytes, headers: dict[str, str]) -> None:
            runner.run(_one(system, path, body, headers))

        try:
            every()
        finally:
            runner.run(stack.aclose())


async def _one(system: Inside, path: str, body: bytes, headers: dict[str, str]) -> None:
    raw = [
        (name.encode(), value.encode("utf-8" if ord(max(value, default=" ")) > 255 else "latin-1"))
        for name, value in headers.items()
    ]
    async with asyncio.timeout(5):
        answer = await system.http.post(path, content=body, headers=httpx.Headers(raw))
    assert answer.headers["x-request-id"]
    if answer.status_code == 200:
        return
    made_to_fail = answer.status_code == 503 and "mock_testing_fallbacks" in answer.text
    assert 400 <= answer.status_code < 500 or answer.status_code == 504 or made_to_fail, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
