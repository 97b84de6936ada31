"""Routing as clients see it: two API processes and two workers over RabbitMQ, with the real `openai` SDK."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from tests.e2e import wire
from tests.e2e.conftest import deployment
from tests.e2e.stand import ONLY_THE_TEST, sdk, urls
from tests.support import upstream as up
from tests.support.house import MASTER_KEY, House, separate
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ
from tests.support.upstream import Upstream, Wire

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.blocks_loop,  # the SDK imports itself bit by bit
    ONLY_THE_TEST,
]
ASK: list[Any] = [{"role": "user", "content": "Say hello."}]
BODY = {"messages": ASK}
OOPS = up.json(wire.error("Oops.", "server_error", None), 500)
SLOW_DOWN = wire.error("Slow down.", "requests", "rate_limit_exceeded")


class Scene:
    """The system, with one upstream for the first deployments and one for the second."""

    def __init__(self, house: House, first: Upstream, second: Upstream) -> None:
        self.house, self.first, self.second = house, first, second

    def api(self, number: int) -> str:
        """The base URL of an API process."""
        return self.house.processes[f"api{number}"].base

    def http(self, number: int) -> httpx.AsyncClient:
        """A client of an API process, at the root."""
        return self.house.client(base=self.api(number))


def configuration(first: str, second: str) -> dict[str, Any]:
    """A pair, a group that falls back to another, and a limited one."""
    return {
        "model_list": [
            deployment("pair", "openai/one", first + "/v1", order=1),
            deployment("pair", "openai/two", second + "/v1", order=2),
            deployment("primary", "openai/one", first + "/v1"),
            deployment("secondary", "openai/two", second + "/v1"),
            deployment("limited", "openai/one", first + "/v1", rpm=300),
            deployment("single", "openai/single", first + "/v1"),
        ],
        "router_settings": {"fallbacks": [{"primary": ["secondary"]}], "num_retries": 1, "retry_after": 0},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    rabbitmq: RabbitMQ, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with Upstream() as first, Upstream() as second:
        with urls(rabbitmq, postgres) as environ:
            config, folder = configuration(first.url, second.url), tmp_path_factory.mktemp("routing")
            async with separate(config, folder, workers=2, apis=2, **environ) as house:
                yield Scene(house, first, second)


@pytest.fixture
def scene(shared: Scene) -> Scene:
    """With nothing asked of the upstreams yet."""
    shared.first.requests.clear()
    shared.second.requests.clear()
    shared.first.script(up.raw(wire.ANSWER))
    shared.second.script(up.raw(wire.ANSWER))
    return shared


async def test_a_failure_is_seen_by_nobody_but_the_ledger(scene: Scene) -> None:
    scene.first.script(OOPS)
    async with sdk(scene.api(0)) as client:
        raw = await client.chat.completions.with_raw_response.create(model="pair", messages=ASK)
    assert raw.parse().choices[0].message.content
    assert raw.headers["x-litellm-attempted-retries"] == "1"
    rows = await scene.house.rows(2, request_id=raw.headers["x-request-id"])
    assert sorted(row["status"] for row in rows) == ["failure", "success"]


async def test_a_stream_falls_back_before_its_first_token(scene: Scene) -> None:
    scene.first.script(up.break_off([b": soon\n\n"]))
    scene.second.script(up.chunked(wire.STREAM))
    async with sdk(scene.api(1)) as client:
        stream = await client.chat.completions.create(model="primary", messages=ASK, stream=True)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(said) == "Hello, wörld 😀"
    assert len(scene.first.requests) == 2  # and one retry


async def test_a_limit_is_waited_for(scene: Scene) -> None:
    scene.first.script(up.json(SLOW_DOWN, 429, {"retry-after-ms": "700"}), up.raw(wire.ANSWER))
    loop = asyncio.get_running_loop()
    async with sdk(scene.api(0)) as client:
        begin = loop.time()
        await client.chat.completions.create(model="single", messages=ASK)
        assert loop.time() - begin >= 0.65
    assert len(scene.first.requests) == 2


async def test_a_configured_limit_holds_over_all_processes(scene: Scene) -> None:
    loop = asyncio.get_running_loop()
    async with sdk(scene.api(0)) as one, sdk(scene.api(1)) as two:
        begin = loop.time()
        clients = [one, two] * 12
        await asyncio.gather(*(c.chat.completions.create(model="limited", messages=ASK) for c in clients))
        seconds = loop.time() - begin
    assert seconds >= 2.5  # five a second, ten and a worker's first at once


async def test_what_would_be_too_late_is_refused_now(scene: Scene) -> None:
    async with sdk(scene.api(0)) as client:
        waiting = [
            asyncio.create_task(client.chat.completions.create(model="limited", messages=ASK)) for _ in range(20)
        ]
        await scene.first.received(1)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(
                model="limited", messages=ASK, extra_headers={"x-penstock-timeout": "0.5"}
            )
        await asyncio.gather(*waiting)
    assert caught.value.body is not None
    assert caught.value.code == "deadline_unreachable"
    assert int(caught.value.response.headers["retry-after"]) >= 1


async def test_one_call_for_an_idempotency_key_wherever_it_is_asked(scene: Scene) -> None:
    gate = asyncio.Event()
    scene.first.script(up.chunked([gate, wire.ANSWER], "application/json"))
    headers = {"Idempotency-Key": "the same order"}
    async with scene.http(0) as zero, scene.http(1) as one:
        ask = {"model": "single", **BODY}
        first = asyncio.create_task(zero.post("/v1/chat/completions", json=ask, headers=headers))
        await scene.first.received(1)
        second = asyncio.create_task(one.post("/v1/chat/completions", json=ask, headers=headers))
        third = asyncio.create_task(zero.post("/v1/chat/completions", json=ask, headers=headers))
        other = await one.post("/v1/chat/completions", json={**ask, "n": 2}, headers=headers)
        gate.set()
        answers = await asyncio.gather(first, second, third)
        later = await one.post("/v1/chat/completions", json=ask, headers=headers)
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert {answer.content for answer in (*answers, later)} == {wire.ANSWER}
    assert {answer.headers["x-request-id"] for answer in (*answers, later)} == {answers[0].headers["x-request-id"]}
    assert later.headers["x-penstock-idempotent-replay"] == "true"
    assert len(scene.first.requests) == 1


async def test_a_keyed_call_outlives_its_client(scene: Scene) -> None:
    gate = asyncio.Event()
    scene.first.script(up.chunked([gate, wire.ANSWER], "application/json"))
    headers = {"Idempotency-Key": "gone for a while"}
    ask = {"model": "single", **BODY}
    async with scene.http(0) as zero, scene.http(1) as one:
        gone = asyncio.create_task(zero.post("/v1/chat/completions", json=ask, headers=headers))
        await scene.first.received(1)
        gone.cancel()
        await asyncio.wait({gone})
        await asyncio.sleep(2.5)  # longer than a call without a key would live on
        again = asyncio.create_task(one.post("/v1/chat/completions", json=ask, headers=headers))
        gate.set()
        assert (await again).content == wire.ANSWER
    assert len(scene.first.requests) == 1


async def test_nothing_is_tried_again_for_a_client_that_has_gone(scene: Scene) -> None:
    gate = asyncio.Event()

    async def late(to: Wire) -> None:
        await to.wait(gate)
        await OOPS(to)

    scene.first.script(late)
    async with scene.http(0) as http:
        gone = asyncio.create_task(http.post("/v1/chat/completions", json={"model": "single", **BODY}))
        await scene.first.received(1)
        gone.cancel()
        await asyncio.wait({gone})
        await asyncio.sleep(0.2)  # until the API process has noticed
        gate.set()
        await scene.first.idle()
        await asyncio.sleep(2.0)  # longer than the pause before a retry
    assert len(scene.first.requests) == 1


async def test_an_sdks_retry_gets_the_running_calls_answer(scene: Scene) -> None:
    gate = asyncio.Event()
    scene.first.script(up.chunked([gate, wire.ANSWER], "application/json"))
    async with openai.AsyncOpenAI(base_url=scene.api(0), api_key=MASTER_KEY, max_retries=1) as client:
        asked = asyncio.create_task(client.chat.completions.create(model="single", messages=ASK, timeout=1.0))
        await scene.first.received(1)
        await asyncio.sleep(1.5)  # the SDK has given up, and asks again
        gate.set()
        assert (await asked).choices[0].message.content
    assert len(scene.first.requests) == 1


async def test_a_request_of_the_batch_class_is_answered_too(scene: Scene) -> None:
    async with scene.http(0) as http:
        headers = {"x-penstock-class": "batch"}
        answer = await http.post("/v1/chat/completions", json={"model": "pair", **BODY}, headers=headers)
        wrong = await http.post(
            "/v1/chat/completions", json={"model": "pair", **BODY}, headers={"x-penstock-class": "x"}
        )
    assert answer.content == wire.ANSWER
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "x-penstock-class")
