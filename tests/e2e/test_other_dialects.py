"""The `litellm` package as a client, and providers of another dialect behind the `openai` SDK."""

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import anthropic.types
import openai
import pytest
import pytest_asyncio

from tests.e2e import wire
from tests.e2e.conftest import configuration
from tests.e2e.stand import ONLY_THE_TEST, PROVIDER_KEY, RABBITMQ, Stand, standing
from tests.support import upstream as up
from tests.support.house import MASTER_KEY
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ
from tests.support.upstream import Upstream

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its import would look for prices on the network
import litellm
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.blocks_loop,  # the SDKs import themselves bit by bit
    pytest.mark.filterwarnings("default"),  # litellm's own
    ONLY_THE_TEST,
]
ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather in Paris?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": SCHEMA}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(
    rabbitmq: RabbitMQ, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stand]:
    async with Upstream() as upstream:
        folder = tmp_path_factory.mktemp("dialects")
        config = configuration(upstream.url)
        async with standing(RABBITMQ, config, upstream, folder, (rabbitmq, postgres)) as stand:
            yield stand
            await GLOBAL_LOGGING_WORKER.stop()
            await litellm.close_litellm_async_clients()


@pytest.fixture
def stand(started: Stand) -> Stand:
    started.upstream.requests.clear()
    return started


def through(stand: Stand, model: str = "openai/gpt-4o") -> dict[str, Any]:
    """litellm's arguments for a call to us."""
    return {"model": model, "api_base": stand.house.base, "api_key": MASTER_KEY, "max_retries": 0}


async def test_litellm(stand: Stand) -> None:
    embedded = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "e"}
    stand.upstream.script(
        up.raw(wire.ANSWER),
        up.chunked(wire.STREAM),
        up.json({**embedded, "usage": {"prompt_tokens": 2, "total_tokens": 2}}),
        up.json(wire.error("Pay.", "insufficient_quota", "insufficient_quota"), 429),
    )
    whole = await litellm.acompletion(messages=ASK, **through(stand))
    assert whole.choices[0].message.content == "Hello! How can I assist you today? é😀"
    assert whole.usage.total_tokens == 29
    stream = await litellm.acompletion(messages=ASK, stream=True, **through(stand))
    said = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(said) == "Hello, wörld 😀"
    vectors = await litellm.aembedding(input=["one"], **through(stand, "openai/embed"))
    assert vectors.data[0]["embedding"] == [0.5]
    with pytest.raises(litellm.RateLimitError):
        await litellm.acompletion(messages=ASK, **through(stand))
    with pytest.raises(litellm.NotFoundError):
        await litellm.acompletion(messages=ASK, **through(stand, "openai/no-such"))
    with pytest.raises(litellm.AuthenticationError):
        await litellm.acompletion(messages=ASK, **{**through(stand), "api_key": "sk-wrong"})


USAGE = {"input_tokens": 10, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 6, "output_tokens": 1}
MESSAGE: dict[str, Any] = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-3-5-haiku-20241022",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": USAGE,
}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        event("content_block_start", index=index, content_block=content),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


ANTHROPIC = [
    event("message_start", message=MESSAGE),
    event("ping"),
    *block(
        0,
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "I look "},
        {"type": "text_delta", "text": "it up."},
    ),
    *block(
        1,
        {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"city": "Pa'},
        {"type": "input_json_delta", "partial_json": 'ris"}'},
    ),
    event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 89}),
    event("message_stop"),
]


async def test_anthropic_streams_a_tool_call(stand: Stand) -> None:
    stand.upstream.script(up.chunked(ANTHROPIC))
    stream = await stand.sdk.chat.completions.create(
        model="claude", messages=ASK, tools=[TOOL], stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "I look it up."
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert (calls[0].id, calls[0].function.name) == ("toolu_01", "get_weather")
    assert json.loads("".join(call.function.arguments or "" for call in calls)) == {"city": "Paris"}
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (20, 89)
    asked = stand.upstream.requests[0]
    assert asked.path == "/v1/messages"
    assert asked.headers["x-api-key"] == PROVIDER_KEY
    body = asked.json()
    assert (body["model"], body["stream"]) == ("claude-3-5-haiku-20241022", True)
    anthropic.types.ToolParam(**body["tools"][0])
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert [message["role"] for message in body["messages"]] == ["user"]
    row = await stand.row(stream.response.headers["x-request-id"])
    assert (row["prompt_tokens"], row["completion_tokens"], row["estimated"]) == (20, 89, False)
    assert row["custom_llm_provider"] == "anthropic"


async def test_anthropic_answers_and_refuses(stand: Stand) -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    done = {**MESSAGE, "content": [{"type": "text", "text": "18 °C"}], "stop_reason": "end_turn"}
    stand.upstream.script(
        up.json(done), up.json(overloaded, 529), up.chunked([ANTHROPIC[0], event("error", **overloaded)])
    )
    answer = await stand.sdk.chat.completions.create(model="claude", messages=ASK)
    assert answer.choices[0].message.content == "18 °C"
    assert answer.choices[0].finish_reason == "stop"
    with pytest.raises(openai.InternalServerError) as caught:
        await stand.sdk.chat.completions.create(model="claude", messages=ASK)
    assert caught.value.code == "provider_overloaded" or caught.value.type == "overloaded_error"
    row = await stand.row(caught.value.response.headers["x-request-id"])
    assert (row["failure"], row["http_status"]) == ("provider_overloaded", 529)


async def test_ollama(stand: Stand) -> None:
    head = {"model": "llama3.1", "created_at": "2026-01-01T00:00:00.000000000Z"}
    counts = {
        "total_duration": 5,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 1,
        "eval_count": 3,
        "eval_duration": 1,
    }
    says = [{**head, "message": {"role": "assistant", "content": word}, "done": False} for word in ("It ", "rains")]
    last = {**head, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", **counts}
    whole = {**last, "message": {"role": "assistant", "content": "It rains"}}
    stand.upstream.script(up.ndjson([*says, last]), up.json(whole), up.json({"error": "model not found"}, 404))
    raw = await stand.sdk.chat.completions.with_raw_response.create(model="llama", messages=ASK, stream=True)
    assert "".join([c.choices[0].delta.content or "" async for c in raw.parse() if c.choices]) == "It rains"
    row = await stand.row(raw.headers["x-request-id"])
    assert (row["prompt_tokens"], row["completion_tokens"], row["estimated"]) == (26, 3, False)
    answer = await stand.sdk.chat.completions.create(model="llama", messages=ASK)
    assert answer.choices[0].message.content == "It rains"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 29
    assert [r.path for r in stand.upstream.requests] == ["/api/chat", "/api/chat"]
    with pytest.raises(openai.NotFoundError):
        await stand.sdk.chat.completions.create(model="llama", messages=ASK)
