"""The real `openai` SDK, chat completions: embedded, over RabbitMQ, and with each role in its own process."""

import base64
from decimal import Decimal

import openai
import pydantic
import pytest

from tests.e2e import wire
from tests.e2e.stand import ONLY_THE_TEST, PROVIDER_KEY, Stand
from tests.support import upstream as up

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.blocks_loop,  # the SDK imports itself bit by bit
    ONLY_THE_TEST,
]
ASK = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


async def test_an_answer_and_its_row(stand: Stand) -> None:
    stand.upstream.script(up.raw(wire.ANSWER, headers=wire.HEADERS))
    raw = await stand.sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK, temperature=0.5)
    assert raw.content == wire.ANSWER
    assert raw.parse().choices[0].message.content == "Hello! How can I assist you today? é😀"
    assert raw.headers["x-ratelimit-remaining-requests"] == "9999"
    assert raw.headers["llm_provider-x-request-id"] == "req_of_the_provider"
    asked = stand.upstream.requests[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert asked.json() == {"model": "gpt-4o-2024-08-06", "messages": ASK, "temperature": 0.5}
    row = await stand.row(raw.headers["x-request-id"])
    assert Decimal(row["cost"]) == Decimal("0.0001475")  # 19 × 0.0000025 + 10 × 0.00001
    assert (row["status"], row["outcome"], row["http_status"], row["estimated"]) == ("success", "success", 200, False)
    assert (row["model_group"], row["model"]) == ("gpt-4o", "gpt-4o-2024-08-06")
    assert (row["prompt_tokens"], row["completion_tokens"], row["stream"]) == (19, 10, False)


async def test_unknown_fields_reach_the_provider_byte_for_byte(stand: Stand) -> None:
    stand.upstream.script(up.raw(wire.ANSWER))
    unknown = '"new_thing":{"a" : [1.10, 1E400, 123456789012345678901234567890, "\\u00e9"] , "b":null}'
    seed = '"seed":123456789012345678901234567890'
    body = '{"model":"gpt-4o", "messages":[{"role":"user","content":"\\u0041"}],' + f"{unknown},{seed}" + "}"
    answer = await stand.http.post("/v1/chat/completions", content=body.encode())
    assert answer.status_code == 200
    asked = stand.upstream.requests[0].body.decode()
    assert unknown in asked
    assert seed in asked
    assert '"messages":[{"role":"user","content":"\\u0041"}]' in asked


async def test_a_stream_event_for_event_without_the_usage_nobody_asked_for(stand: Stand) -> None:
    stand.upstream.script(up.chunked(_cut(b"".join(wire.STREAM), 97)))
    body = {"model": "gpt-4o", "messages": ASK, "stream": True}
    async with stand.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        got = await answer.aread()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert got == b"".join(wire.WORDS) + wire.DONE
    assert stand.upstream.requests[0].json()["stream_options"] == {"include_usage": True}
    row = await stand.row(answer.headers["x-request-id"])
    assert Decimal(row["cost"]) == Decimal("0.0001475")
    assert (row["stream"], row["estimated"], row["outcome"]) == (True, False, "success")


async def test_a_stream_with_the_usage_that_was_asked_for(stand: Stand) -> None:
    stand.upstream.script(up.chunked(wire.STREAM))
    options = {"include_usage": True, "include_obfuscation": False}
    got = await stand.sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True, stream_options=options)
    chunks = [chunk async for chunk in got]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello, wörld 😀"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 29
    assert chunks[0].id == "chatcmpl-BfUpstream0003"
    assert chunks[0].model == "gpt-4o-2024-08-06"
    assert stand.upstream.requests[0].json()["stream_options"] == options


async def test_the_stream_events_of_a_tool_call(stand: Stand) -> None:
    stand.upstream.script(up.chunked(wire.CALL))
    async with stand.sdk.chat.completions.stream(model="gpt-4o", messages=ASK, tools=[WEATHER]) as stream:
        completion = await stream.get_final_completion()
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert (calls[0].id, calls[0].function.name) == ("call_DdmO9pD3xa9XTPNJ32zg2hcA", "get_weather")
    assert calls[0].function.arguments == '{"city":"Paris"}'
    assert completion.choices[0].finish_reason == "tool_calls"
    assert stand.upstream.requests[0].json()["tools"] == [WEATHER]


async def test_tool_calls_and_their_results(stand: Stand) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    stand.upstream.script(up.json(wire.answer({"tool_calls": [call]}, "tool_calls")), up.raw(wire.ANSWER))
    choice = {"type": "function", "function": {"name": "get_weather"}}
    first = await stand.sdk.chat.completions.create(
        model="gpt-4o", messages=ASK, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False
    )
    message = first.choices[0].message
    assert message.tool_calls is not None
    follow = [*ASK, message, {"role": "tool", "tool_call_id": "call_1", "content": "18 °C"}]
    await stand.sdk.chat.completions.create(model="gpt-4o", messages=follow, tools=[WEATHER])
    asked = stand.upstream.requests[0].json()
    assert (asked["tool_choice"], asked["parallel_tool_calls"]) == (choice, False)
    assert stand.upstream.requests[1].json()["messages"][1]["tool_calls"] == [call]
    assert stand.upstream.requests[1].json()["messages"][2]["content"] == "18 °C"


class Step(pydantic.BaseModel):
    explanation: str
    output: str


async def test_structured_output(stand: Stand) -> None:
    stand.upstream.script(up.json(wire.answer({"content": '{"explanation":"add","output":"4"}'})))
    got = await stand.sdk.chat.completions.parse(model="gpt-4o", messages=ASK, response_format=Step)
    assert got.choices[0].message.parsed == Step(explanation="add", output="4")
    asked = stand.upstream.requests[0].json()["response_format"]
    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["strict"] is True
    assert asked["json_schema"]["schema"]["required"] == ["explanation", "output"]


async def test_images_several_choices_and_logprobs(stand: Stand) -> None:
    picture = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 4000).decode()
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
    ]
    logprob = {"token": "A", "logprob": -0.25, "bytes": [65], "top_logprobs": []}
    choice = {"message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}
    choices = [{"index": i, **choice, "logprobs": {"content": [logprob], "refusal": None}} for i in range(2)]
    stand.upstream.script(up.json({**wire.answer({}), "choices": choices}))
    got = await stand.sdk.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": content}], n=2, logprobs=True, top_logprobs=1
    )
    assert len(got.choices) == 2
    assert got.choices[1].logprobs is not None
    assert got.choices[1].logprobs.content is not None
    assert got.choices[1].logprobs.content[0].logprob == -0.25
    asked = stand.upstream.requests[0].json()
    assert asked["messages"][0]["content"] == content
    assert (asked["n"], asked["logprobs"], asked["top_logprobs"]) == (2, True, 1)


async def test_control_fields_are_ours_alone(stand: Stand) -> None:
    stand.upstream.script(up.raw(wire.ANSWER))
    controls = {
        "fallbacks": ["other"],
        "num_retries": 0,
        "timeout": 30,
        "metadata": {"job": "nightly", "tags": ["m"]},
        "tags": ["red", "blue"],
        "cache": {"no-cache": True},
        "guardrails": [],
    }
    raw = await stand.sdk.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=ASK, user="u-1", extra_body=controls
    )
    assert stand.upstream.requests[0].json() == {"model": "gpt-4o-2024-08-06", "messages": ASK, "user": "u-1"}
    row = await stand.row(raw.headers["x-request-id"])
    assert sorted(row["request_tags"]) == ["blue", "m", "red"]
    assert row["end_user"] == "u-1"
    assert row["metadata"]["job"] == "nightly"


async def test_an_alias_a_wildcard_and_a_mock(stand: Stand) -> None:
    stand.upstream.script(up.raw(wire.ANSWER))
    await stand.sdk.chat.completions.create(model="best", messages=ASK)
    await stand.sdk.chat.completions.create(model="openai/o4-mini-high", messages=ASK)
    mocked = await stand.sdk.chat.completions.create(model="mocked", messages=ASK)
    assert [r.json()["model"] for r in stand.upstream.requests] == ["gpt-4o-2024-08-06", "o4-mini-high"]
    assert mocked.choices[0].message.content == "a mocked word"
    own = await stand.sdk.chat.completions.create(model="gpt-4o", messages=ASK, extra_body={"mock_response": "mine"})
    assert own.choices[0].message.content == "mine"


async def test_an_unknown_price_is_not_zero(stand: Stand) -> None:
    stand.upstream.script(up.raw(wire.ANSWER))
    raw = await stand.sdk.chat.completions.with_raw_response.create(model="unpriced", messages=ASK)
    row = await stand.row(raw.headers["x-request-id"])
    assert row["cost"] is None
    assert row["spend"] is None


async def test_a_client_that_goes_away_cancels_the_call_and_is_accounted_for(stand: Stand) -> None:
    stand.upstream.script(up.stall_after(wire.WORDS[:3]))
    stream = await stand.sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
    assert (await anext(aiter(stream))).choices[0].delta.role == "assistant"
    request_id = stream.response.headers["x-request-id"]
    gone = stand.upstream.left
    await stream.close()
    await stand.upstream.disconnected(gone + 1)
    row = await stand.row(request_id)
    assert (row["outcome"], row["estimated"]) == ("cancelled", True)
    assert row["completion_tokens"] > 0


async def test_the_sdks_own_timeout_is_the_deadline(stand: Stand) -> None:
    stand.upstream.script(up.stall())
    hurried = stand.sdk.with_options(timeout=openai.Timeout(5, read=0.3))
    with pytest.raises((openai.APITimeoutError, openai.InternalServerError)):
        await hurried.chat.completions.create(model="gpt-4o", messages=ASK)
    await stand.upstream.idle()


def _cut(data: bytes, size: int) -> list[bytes]:
    """The data in pieces that respect neither events nor characters."""
    return [data[at : at + size] for at in range(0, len(data), size)]
