"""The real `openai` SDK beside chat: completions, embeddings, models, paths, keys, a client's own credentials."""

import array
import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import aio_pika
import openai
import pytest
from aio_pika.abc import AbstractIncomingMessage

from broker.topology import REQUESTS, requests_queue
from tests.e2e import wire
from tests.e2e.stand import ONLY_THE_TEST, PROVIDER_KEY, Stand
from tests.support import upstream as up
from tests.support.house import MASTER_KEY

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.blocks_loop,  # the SDK imports itself bit by bit
    ONLY_THE_TEST,
]
ASK = [{"role": "user", "content": "Say hello."}]
VECTOR = [0.5, -0.25, 0.125]
COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1741569952,
    "model": "gpt-3.5-turbo-instruct:20230824-v2",
    "choices": [{"text": " there", "index": 0, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


def embeddings(vector: object) -> dict[str, object]:
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }


async def test_completions(stand: Stand) -> None:
    chunk = b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{"text":" there",'
    chunk += b'"index":0,"logprobs":null,"finish_reason":"stop"}]}\n\n'
    usage = b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[],'
    usage += b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n'
    stand.upstream.script(up.json(COMPLETION), up.chunked([chunk, usage, wire.DONE]))
    whole = await stand.sdk.completions.create(model="instruct", prompt="Hello", max_tokens=5, echo=False)
    assert whole.choices[0].text == " there"
    raw = await stand.sdk.completions.with_raw_response.create(model="instruct", prompt=["Hello"], stream=True)
    parts = [part async for part in raw.parse()]
    assert [part.choices[0].text for part in parts] == [" there"]
    assert [r.path for r in stand.upstream.requests] == ["/v1/completions"] * 2
    row = await stand.row(raw.headers["x-request-id"])
    assert Decimal(row["cost"]) == Decimal("0.0000175")  # 3 × 0.0000025 + 1 × 0.00001


async def test_embeddings_as_floats_and_as_base64(stand: Stand) -> None:
    packed = base64.b64encode(array.array("f", VECTOR).tobytes()).decode()
    stand.upstream.script(up.json(embeddings(packed)), up.json(embeddings(VECTOR)))
    raw = await stand.sdk.embeddings.with_raw_response.create(model="embed", input=["one", "two"], dimensions=3)
    assert raw.parse().data[0].embedding == VECTOR
    assert stand.upstream.requests[0].json() == {
        "model": "text-embedding-3-small",
        "input": ["one", "two"],
        "dimensions": 3,
        "encoding_format": "base64",
    }
    floats = await stand.sdk.embeddings.create(model="embed", input="one", encoding_format="float")
    assert floats.data[0].embedding == VECTOR
    row = await stand.row(raw.headers["x-request-id"])
    assert Decimal(row["cost"]) == Decimal("0.00000016")  # 8 × 0.00000002
    assert row["prompt_tokens"] == row["total_tokens"] == 8


async def test_models(stand: Stand) -> None:
    listed = [model.id async for model in stand.sdk.models.list()]
    assert listed[:3] == ["gpt-4o", "instruct", "embed"]
    assert "best" in listed
    assert (await stand.sdk.models.retrieve("gpt-4o")).id == "gpt-4o"
    assert (await stand.sdk.models.retrieve("openai/anything")).id == "openai/anything"
    with pytest.raises(openai.NotFoundError) as caught:
        await stand.sdk.models.retrieve("no-such")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "path",
    [
        "/chat/completions",
        "/engines/gpt-4o/chat/completions",
        "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
    ],
)
async def test_the_paths_that_litellm_has(stand: Stand, path: str) -> None:
    stand.upstream.script(up.raw(wire.ANSWER))
    body = {"messages": ASK} if "gpt-4o" in path else {"model": "gpt-4o", "messages": ASK}
    answer = await stand.http.post(path, json=body)
    assert (answer.status_code, answer.content) == (200, wire.ANSWER)
    assert stand.upstream.requests[0].json() == {"model": "gpt-4o-2024-08-06", "messages": ASK}


async def test_the_azure_client(stand: Stand) -> None:
    stand.upstream.script(up.raw(wire.ANSWER))
    root = stand.house.base.removesuffix("/v1")
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=root, api_key=MASTER_KEY, api_version="2024-10-21", max_retries=0
    ) as azure:
        got = await azure.chat.completions.create(model="gpt-4o", messages=ASK)
    assert got.id == "chatcmpl-BfUpstream0001"


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {MASTER_KEY}"}, {"x-api-key": MASTER_KEY}, {"api-key": MASTER_KEY}]
)
async def test_three_ways_to_show_a_key(stand: Stand, headers: dict[str, str]) -> None:
    stand.upstream.script(up.raw(wire.ANSWER))
    stand.http.headers.pop("authorization")
    try:
        bare = await stand.http.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": ASK})
        answer = await stand.http.post(
            "/v1/chat/completions", json={"model": "gpt-4o", "messages": ASK}, headers=headers
        )
    finally:
        stand.http.headers["authorization"] = f"Bearer {MASTER_KEY}"
    assert bare.status_code == 401
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "sk-client-own-0123456789"),
        ("api_base", "http://127.0.0.1:9/v1"),
        ("extra_headers", {"x-one": "1"}),
    ],
)
async def test_credentials_of_a_client_are_refused(stand: Stand, name: str, value: object) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await stand.sdk.chat.completions.create(model="gpt-4o", messages=ASK, extra_body={name: value})
    assert caught.value.param == name
    assert "sk-client-own" not in str(caught.value)
    assert not stand.upstream.requests


async def test_credentials_of_a_client_where_they_are_allowed(stand: Stand) -> None:
    stand.upstream.script(up.raw(wire.ANSWER))
    own = {
        "api_key": "sk-client-own-0123456789",
        "api_base": stand.upstream.url + "/theirs",
        "extra_headers": {"x-tenant": "t1"},
    }
    async with tapped(stand) as messages:
        raw = await stand.sdk.chat.completions.with_raw_response.create(model="yours", messages=ASK, extra_body=own)
        for message in [await messages.get() for _ in range(1 if stand.amqp_url else 0)]:
            assert b"Say hello" in message  # it is this request's
            assert b"sk-client-own" not in message
            assert b"theirs" not in message
    asked = stand.upstream.requests[0]
    assert asked.path == "/theirs/chat/completions"
    assert asked.headers["authorization"] == "Bearer sk-client-own-0123456789"
    assert asked.headers["x-tenant"] == "t1"
    assert asked.json() == {"model": "gpt-4o", "messages": ASK}
    assert PROVIDER_KEY not in str(asked)
    row = await stand.row(raw.headers["x-request-id"])
    assert "sk-client-own" not in str(row)
    assert "sk-client-own" not in stand.logs()


@asynccontextmanager
async def tapped(stand: Stand) -> AsyncIterator[asyncio.Queue[bytes]]:
    """Copies of the messages that RabbitMQ routes to the group `yours`; nothing when embedded."""
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    if not stand.amqp_url:
        yield seen
        return

    async def see(message: AbstractIncomingMessage) -> None:
        seen.put_nowait(message.body)

    async with await aio_pika.connect(stand.amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(REQUESTS, requests_queue("yours"))
        await queue.consume(see, no_ack=True)
        yield seen


async def test_no_key_is_ever_said(stand: Stand) -> None:
    """Whatever happened before it, neither the logs nor the rows hold a key."""
    rows = (await stand.http.get("/spend/logs", params={"limit": 1000})).text
    for text in (rows, stand.logs()):
        assert PROVIDER_KEY not in text
        assert MASTER_KEY not in text
        assert "sk-client-own" not in text
