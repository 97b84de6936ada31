"""The mock provider tells the truth: it lets pass what it says, refuses what it says, and counts what it did."""

import asyncio
import copy
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from bench.overload.deployment import Deployment, Latency
from bench.overload.limit import MINUTE, RateLimit, most_within
from bench.overload.provider import Provider, arguments, serve

MOMENT = 0.001  # seconds


def visits(seed: int, busy: float) -> Iterator[tuple[RateLimit, float]]:
    """A limit after each of many calls at random, in bursts and pauses, and the time."""
    dice = random.Random(seed)
    limit, now = RateLimit(2.0, 7.0), 0.0
    for _ in range(600):
        now += dice.choice((0.0, dice.expovariate(busy), dice.expovariate(busy * 10)))
        limit.take(now)
        yield limit, now


def accepted_at_once(limit: RateLimit, now: float) -> int:
    """How many calls it would accept now; asked of a copy."""
    trial, count = copy.deepcopy(limit), 0
    while trial.take(now) == 0.0:
        count += 1
    return count


@pytest.mark.parametrize("busy", [0.5, 2.0, 6.0])
def test_remaining_is_what_would_be_accepted(busy: float) -> None:
    seen = set()
    for limit, now in visits(1, busy):
        assert limit.remaining(now) == accepted_at_once(limit, now)
        seen.add(limit.remaining(now))
    assert len(seen) > 3


@pytest.mark.parametrize("busy", [2.0, 6.0])
def test_a_wait_is_exact(busy: float) -> None:
    waits = []
    for limit, now in visits(2, busy):
        wait = limit.wait(now)
        if wait > MOMENT:
            waits.append(wait)
            assert copy.deepcopy(limit).take(now + wait - MOMENT) > 0.0
            assert copy.deepcopy(limit).take(now + wait) == 0.0
    assert waits


@pytest.mark.parametrize("busy", [0.5, 2.0, 6.0])
def test_a_reset_is_exact(busy: float) -> None:
    most = RateLimit(2.0, 7.0).remaining(0.0)
    for limit, now in visits(3, busy):
        reset = limit.reset(now)
        assert copy.deepcopy(limit).remaining(now + reset) == most
        if reset > MOMENT:
            assert copy.deepcopy(limit).remaining(now + reset - MOMENT) < most


@pytest.mark.parametrize("seed", range(5))
def test_neither_the_minute_nor_the_bucket_is_ever_passed(seed: int) -> None:
    dice = random.Random(seed)
    limit, now, accepted = RateLimit(1.5, 20.0), 0.0, []
    for _ in range(3000):
        now += dice.expovariate(8.0)
        if limit.take(now) == 0.0:
            accepted.append(now)
    assert most_within(accepted) == limit.per_minute == 90
    for span in (0.5, 5.0, 30.0):
        assert most_within(accepted, span) <= 20 + 1.5 * span + 1


def test_the_bucket_alone_would_let_more_than_a_minutes_number_pass() -> None:
    limit, accepted = RateLimit(1.0, 30.0), 0
    for tenth in range(600):
        accepted += limit.take(tenth / 10) == 0.0
    assert accepted == 60  # the bucket had held 30 and got 60 more
    assert limit.wait(59.9) == pytest.approx(0.1)


@pytest.mark.parametrize("span", [1.0, 7.0, MINUTE])
def test_most_within_is_what_counting_finds(span: float) -> None:
    dice = random.Random(4)
    times = sorted(dice.uniform(0, 300) for _ in range(400))
    assert most_within(times, span) == max(sum(a <= b < a + span for b in times) for a in times)


def test_a_limit_below_one_per_minute_is_refused() -> None:
    with pytest.raises(ValueError, match="less than one per minute"):
        RateLimit(1 / 61)


def test_latency_is_lognormal_and_seeded() -> None:
    drawn = sorted(Latency(1.0, 0.5, 7).draw() for _ in range(1))
    assert drawn == [Latency(1.0, 0.5, 7).draw()]
    latency = Latency(1.0, 0.5, 7)
    many = sorted(latency.draw() for _ in range(4001))
    assert many[2000] == pytest.approx(1.0, rel=0.05)
    assert many[3800] == pytest.approx(2.276, rel=0.05)  # exp(0.5 * 1.645)


def test_the_command_line_names_deployments() -> None:
    given = arguments(["--port", "1", "--deployment", "a=60", "--deployment", "b=6:12"])
    found = {name: (one.limit.per_minute, one.limit.capacity) for name, one in given.deployment}
    assert found == {"a": (3600, 60.0), "b": (360, 12.0)}


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Running:
    """A provider with deployments `a` (one call per second, two at once) and `b`, over HTTP."""

    def __init__(self, http: httpx.AsyncClient, provider: Provider, clock: Clock) -> None:
        self.http = http
        self.provider = provider
        self.clock = clock

    async def call(self, deployment: str = "a", **fields: Any) -> httpx.Response:
        body = {"model": "m", "messages": [{"role": "user", "content": "?"}], **fields}
        return await self.http.post(f"/{deployment}/v1/chat/completions", json=body)

    async def stats(self, deployment: str = "a") -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/_stats", params={"log": "1"})).json()["deployments"][deployment]
        return found


@asynccontextmanager
async def running(latency: float = 0.0) -> AsyncIterator[Running]:
    clock = Clock()
    deployments = {
        "a": Deployment(RateLimit(1.0, 2.0, clock.now)),
        "b": Deployment(RateLimit(100.0, None, clock.now)),
    }
    provider = Provider(deployments, Latency(latency, 0.0, 1), clock)
    server = await serve(provider, 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=base, trust_env=False) as http:
            yield Running(http, provider, clock)
    finally:
        server.close()
        await server.wait_closed()


async def test_headers_count_down_and_the_refusal_says_when_to_come_again() -> None:
    async with running() as it:
        first, second, refused = [await it.call() for _ in range(3)]
        assert [one.status_code for one in (first, second, refused)] == [200, 200, 429]
        assert [one.headers["x-ratelimit-remaining-requests"] for one in (first, second, refused)] == ["1", "0", "0"]
        assert first.headers["x-ratelimit-limit-requests"] == "60"
        assert first.headers["x-ratelimit-reset-requests"] == "1.000s"
        assert second.headers["x-ratelimit-reset-requests"] == "2.000s"
        assert "retry-after" not in first.headers
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"

        it.clock.now += 0.4
        refused = await it.call()
        assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("1", "600.000")
        it.clock.now += 0.599
        assert (await it.call()).status_code == 429
        it.clock.now += 0.001
        assert (await it.call()).status_code == 200


async def test_answers_have_usage_streamed_or_not() -> None:
    async with running() as it:
        whole = (await it.call("b")).json()
        assert whole["object"] == "chat.completion"
        assert whole["choices"][0]["message"]["content"] == "One two three four five."
        assert whole["usage"]["total_tokens"] == 17

        response = await it.call("b", stream=True, stream_options={"include_usage": True})
        assert response.headers["content-type"] == "text/event-stream"
        *events, done = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
        chunks = [json.loads(one) for one in events]
        assert done == "[DONE]"
        text = "".join(one["choices"][0]["delta"].get("content", "") for one in chunks if one["choices"])
        assert text == whole["choices"][0]["message"]["content"]
        assert chunks[-1]["usage"] == whole["usage"]
        assert "usage" not in (await it.call("b", stream=True)).text


async def test_each_deployment_has_its_own_limit_and_its_own_failure() -> None:
    async with running() as it:
        assert (await it.http.get("/_set", params={"deployment": "a", "fail": "20"})).status_code == 200
        assert [(await it.call()).status_code for _ in range(4)] == [500] * 4
        assert (await it.call("b")).status_code == 200
        it.clock.now += 20
        # What failed was not counted against the limit.
        assert [(await it.call()).status_code for _ in range(3)] == [200, 200, 429]
        stats = await it.stats()
        assert (len(stats["failed"]), len(stats["accepted"]), len(stats["refused"])) == (4, 2, 1)
        assert stats["accepted"] == [1020.0, 1020.0]
        assert (await it.stats("b"))["most_calls_in_a_minute"] == 1


async def test_the_most_in_a_minute_is_kept_over_time() -> None:
    async with running() as it:
        for _ in range(50):
            await it.call()
            it.clock.now += 0.5
        it.clock.now += 1000
        await it.call()
        stats = await it.stats()
        assert stats["most_calls_in_a_minute"] == 50
        assert stats["most_accepted_in_a_minute"] == len(stats["accepted"]) - 1 == 26


async def test_a_call_that_is_broken_off_counts_and_is_no_longer_in_flight() -> None:
    async with running(latency=60.0) as it:
        task = asyncio.create_task(it.call())
        async with asyncio.timeout(10):
            while (await it.stats())["in_flight"] != 1:
                pass
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while (await it.stats())["in_flight"]:
                pass
        stats = await it.stats()
        assert (stats["aborted"], len(stats["accepted"]), len(stats["ended"])) == (1, 1, 1)


async def test_a_limit_and_a_latency_can_be_changed() -> None:
    async with running(latency=60.0) as it:
        await it.http.get(
            "/_set", params={"deployment": "a", "rate": "5", "capacity": "3", "median": "0", "sigma": "0"}
        )
        assert [(await it.call()).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert (await it.call()).headers["x-ratelimit-limit-requests"] == "300"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/_set?nonsense=1", 400, "not understood: nonsense"),
        ("/_set?fail=1", 400, "not understood: fail"),
        ("/_set?deployment=a&capacity=1", 400, "a capacity without a rate"),
        ("/_set?deployment=c&fail=1", 400, "'c'"),
        ("/_set?median=slow", 400, "slow"),
        ("/nothing", 404, "/nothing"),
    ],
)
async def test_what_it_does_not_know_it_says(path: str, status: int, words: str) -> None:
    async with running() as it:
        response = await it.http.get(path)
        assert response.status_code == status
        assert words in response.json()["error"]


async def test_bad_calls_are_refused_and_not_counted() -> None:
    async with running() as it:
        assert (await it.http.post("/a/v1/chat/completions", content=b"{")).status_code == 400
        assert (await it.call("c")).status_code == 404
        assert (await it.stats())["accepted"] == []
