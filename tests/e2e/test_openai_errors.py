"""Each way to fail as the real `openai` SDK sees it: class, status, all four keys, and a row where there was a call."""

import json
from typing import Any

import httpx
import openai
import pytest

from tests.e2e import wire
from tests.e2e.stand import ONLY_THE_TEST, PROVIDER_KEY, Stand, sdk
from tests.support import upstream as up

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.blocks_loop,  # the SDK imports itself bit by bit
    ONLY_THE_TEST,
]
ASK = [{"role": "user", "content": "Say hello."}]
SLOW_DOWN = wire.error("Slow down.", "requests", "rate_limit_exceeded")
KEYS = {"message", "type", "param", "code"}


def shaped(answer: httpx.Response) -> dict[str, Any]:
    """The error of an answer in OpenAI's shape."""
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == KEYS
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = body["error"]
    return found


async def failing(stand: Stand, kind: type[openai.APIStatusError], model: str = "gpt-4o", **fields: Any) -> Any:
    with pytest.raises(kind) as caught:
        await stand.sdk.chat.completions.create(model=model, messages=ASK, **fields)
    error = caught.value
    return error, shaped(error.response)


async def test_a_wrong_key(stand: Stand) -> None:
    async with sdk(stand.house.base, "sk-of-somebody-else") as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            await stranger.models.list()
        assert shaped(caught.value.response)["code"] == "token_not_found_in_db"
        with pytest.raises(openai.AuthenticationError) as caught:
            await stranger.chat.completions.create(model="gpt-4o", messages=ASK)
    assert "somebody" not in str(caught.value)
    assert shaped(caught.value.response)["type"] == "token_not_found_in_db"


async def test_an_unknown_model(stand: Stand) -> None:
    error, shown = await failing(stand, openai.NotFoundError, "no-such-model")
    assert (error.status_code, shown["code"], shown["param"]) == (404, "model_not_found", "model")


async def test_malformed_json_and_a_missing_parameter(stand: Stand) -> None:
    for body in (b'{"model": "gpt-4o", ', b"\xff\xfe", b"[]", b""):
        answer = await stand.http.post("/v1/chat/completions", content=body)
        assert answer.status_code == 400
        assert shaped(answer)["type"] == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as caught:
        await stand.sdk.chat.completions.create(model="gpt-4o", messages=[])
    assert caught.value.param == "messages"


async def test_a_body_that_is_too_large(stand: Stand) -> None:
    ask = [{"role": "user", "content": "x" * (15 * 2**20)}]
    with pytest.raises(openai.APIStatusError) as caught:
        await stand.sdk.chat.completions.create(model="gpt-4o", messages=ask)
    assert caught.value.status_code == 413
    assert shaped(caught.value.response)["code"] == "request_too_large"

    async def endless() -> Any:
        for _ in range(400):
            yield b"x" * 65536

    answer = await stand.http.post("/v1/chat/completions", content=endless())
    assert answer.status_code == 413


async def test_paths_and_methods_that_are_not_there(stand: Stand) -> None:
    assert shaped(await stand.http.get("/v1/nothing/here"))["code"] == "not_found"
    answer = await stand.http.get("/v1/chat/completions")
    assert answer.status_code == 405
    assert shaped(answer)["code"] == "method_not_allowed"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "body", "kind", "ours"),
    [
        (
            400,
            wire.error("Bad temperature.", "invalid_request_error", None, "temperature"),
            openai.BadRequestError,
            400,
        ),
        (400, wire.error("Too long.", "invalid_request_error", "context_length_exceeded"), openai.BadRequestError, 400),
        (404, wire.error("No such model.", "invalid_request_error", "model_not_found"), openai.NotFoundError, 404),
        (422, {"detail": "what?"}, openai.UnprocessableEntityError, 422),
        (429, SLOW_DOWN, openai.RateLimitError, 429),
        (429, wire.error("Pay.", "insufficient_quota", "insufficient_quota"), openai.RateLimitError, 429),
        (500, wire.error("Oops.", "server_error", None), openai.InternalServerError, 500),
        (503, wire.error("Overloaded.", "server_error", None), openai.InternalServerError, 503),
    ],
)
async def test_what_the_provider_refuses(
    stand: Stand, status: int, body: Any, kind: type[openai.APIStatusError], ours: int, stream: bool
) -> None:
    stand.upstream.script(up.json(body, status, {"retry-after": "1"}))
    model, soon = "gpt-4o", {}
    if body == SLOW_DOWN:  # there is no time to wait for the limit
        model, soon = "limited-stream" if stream else "limited", {"x-penstock-timeout": "0.8"}
    error, shown = await failing(stand, kind, model, stream=stream, extra_headers=soon)
    assert error.status_code == ours
    assert shown["message"] == (body["error"]["message"] if "error" in body else "what?")
    if status == 429 and shown["code"] == "rate_limit_exceeded":
        assert error.response.headers["retry-after"] == "1"
    row = await stand.row(error.response.headers["x-request-id"])
    assert (row["status"], row["http_status"], row["total_tokens"]) == ("failure", status, 0)
    assert float(row["cost"]) == 0


@pytest.mark.parametrize("status", [401, 403])
async def test_a_provider_that_refuses_our_key(stand: Stand, status: int) -> None:
    said = f"Incorrect API key provided: {PROVIDER_KEY}. You can find your API key at example."
    stand.upstream.script(up.json(wire.error(said, "invalid_request_error", "invalid_api_key"), status))
    error, shown = await failing(stand, openai.AuthenticationError)
    assert shown["code"] == "provider_authentication"
    assert PROVIDER_KEY not in error.response.text
    assert "sk-" not in error.response.text
    row = await stand.row(error.response.headers["x-request-id"])
    assert row["failure"] == "provider_authentication"


async def test_a_deadline(stand: Stand) -> None:
    stand.upstream.script(up.stall())
    for name, fields in (
        ("gpt-4o", {"extra_headers": {"x-penstock-timeout": "0.3"}}),
        ("gpt-4o", {"extra_body": {"timeout": 0.3}}),
        ("hasty", {}),
    ):
        error, shown = await failing(stand, openai.InternalServerError, name, **fields)
        assert error.status_code == 504
        assert shown["type"] == "timeout_error"
        row = await stand.row(error.response.headers["x-request-id"])
        assert (row["outcome"], row["failure"], row["estimated"]) == ("failure", "provider_timeout", True)
    await stand.upstream.idle()


async def test_nobody_there(stand: Stand) -> None:
    error, shown = await failing(stand, openai.InternalServerError, "away")
    assert (error.status_code, shown["code"]) == (502, "provider_unreachable")
    row = await stand.row(error.response.headers["x-request-id"])
    assert (row["outcome"], row["failure"], row["http_status"]) == ("failure", "provider_unreachable", 0)


async def test_an_error_inside_a_stream(stand: Stand) -> None:
    late = b'data: {"error":{"message":"The server had an error.","type":"server_error","param":null,"code":null}}\n\n'
    stand.upstream.script(up.chunked([*wire.WORDS[:2], late]))
    stream = await stand.sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
    chunks = aiter(stream)
    assert [(await anext(chunks)).choices[0].delta.content for _ in range(2)] == ["", "Hel"]
    with pytest.raises(openai.APIError, match="The server had an error") as caught:
        await anext(chunks)
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == KEYS
    row = await stand.row(stream.response.headers["x-request-id"])
    assert (row["outcome"], row["failure"]) == ("failure", "provider_error")


async def test_a_bad_timeout_is_named(stand: Stand) -> None:
    answer = await stand.http.post(
        "/v1/chat/completions", json={"model": "gpt-4o", "messages": ASK}, headers={"x-penstock-timeout": "soon"}
    )
    assert answer.status_code == 400
    assert shaped(answer)["param"] == "x-penstock-timeout"
    assert json.loads(answer.content)["error"]["code"] == "invalid_request"
