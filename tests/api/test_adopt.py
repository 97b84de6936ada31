"""Requests that wait while the configuration changes: they go where it says now, or are told that there is nowhere."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broker.topology import topology_of
from schemas.config import Config, Deployment, Fallback, Limits, Routing
from tests.api.test_routing import ASK, Sides, said, says
from tests.support.inside import Inside, inside
from tests.support.upstream import Upstream

ONE_A_MINUTE = Limits(rpm=1)


@pytest.fixture
async def sides() -> AsyncIterator[Sides]:
    async with Upstream() as a, Upstream() as b:
        a.script(says("a"))
        b.script(says("b"))
        yield Sides(a, b)


async def adopt(system: Inside, *deployments: Deployment, routing: Routing | None = None) -> None:
    """The whole process has another configuration: bus, workers, API, in this order."""
    config = Config(deployments=deployments, routing=routing or Routing())
    await system.bus.extend(topology_of(deployments, 2**20))
    await system.pools.adopt(config, deployments)
    system.asker.expect_changes()
    system.asker.adopt(system.planner.adopt(config))


async def ask(system: Inside, **fields: Any) -> httpx.Response:
    return await system.http.post("/v1/chat/completions", json={**ASK, **fields})


async def waiting(system: Inside, count: int, **fields: Any) -> list["asyncio.Task[httpx.Response]"]:
    """So many requests, each waiting for a limit to let it through."""
    asked = [asyncio.create_task(ask(system, **fields)) for _ in range(count)]
    async with asyncio.timeout(5):
        while sum(line["waiting"] + line["queued"] for line in system.asker.lines.overview()) < count:  # type: ignore[operator,misc]  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return asked


async def test_a_new_group_is_there_and_a_removed_one_is_not(sides: Sides) -> None:
    async with inside(sides.at("a")) as system:
        assert (await ask(system, model="h")).status_code == 404
        await adopt(system, sides.at("b", "h"))
        assert said(await ask(system, model="h")) == "b"
        assert (await ask(system)).status_code == 404
        assert [one["id"] for one in (await system.http.get("/v1/models")).json()["data"]] == ["h"]


async def test_who_waits_for_a_removed_group_is_told(sides: Sides) -> None:
    async with inside(sides.at("a", limits=ONE_A_MINUTE)) as system:
        assert said(await ask(system)) == "a"
        asked = await waiting(system, 3)
        await adopt(system, sides.at("b", "h"))
        for answer in await asyncio.gather(*asked):
            assert answer.status_code == 503
            assert "'g' was removed" in answer.json()["error"]["message"]
        assert system.asker.lines.overview() == []


async def test_who_waits_for_a_removed_group_falls_back(sides: Sides) -> None:
    routing = Routing(fallbacks={"g": (Fallback(model="h"),)})
    async with inside(sides.at("a", limits=ONE_A_MINUTE), sides.at("b", "h"), routing=routing) as system:
        await ask(system)
        asked = await waiting(system, 3)
        await adopt(system, sides.at("b", "h"), routing=routing)
        assert [said(answer) for answer in await asyncio.gather(*asked)] == ["b"] * 3


async def test_who_waits_goes_to_a_deployment_that_has_come(sides: Sides) -> None:
    async with inside(sides.at("a", limits=ONE_A_MINUTE)) as system:
        await ask(system)
        asked = await waiting(system, 3)
        await adopt(system, sides.at("a", limits=ONE_A_MINUTE), sides.at("b"))
        answers = [said(answer) for answer in await asyncio.gather(*asked)]
        assert answers.count("b") >= 2  # a worker that has just begun lets one more through


async def test_a_limit_that_is_lifted_lets_those_that_wait_through(sides: Sides) -> None:
    async with inside(sides.at("a", limits=ONE_A_MINUTE)) as system:
        await ask(system)
        asked = await waiting(system, 3)
        await adopt(system, sides.at("a"))
        assert [said(answer) for answer in await asyncio.gather(*asked)] == ["a"] * 3


async def test_who_asked_for_one_deployment_gets_no_other(sides: Sides) -> None:
    async with inside(sides.at("a", limits=ONE_A_MINUTE), sides.at("b")) as system:
        assert said(await ask(system, model="a")) == "a"
        asked = await waiting(system, 2, model="a")
        await adopt(system, sides.at("b"), sides.at("b2"))
        for answer in await asyncio.gather(*asked):
            assert answer.status_code == 503
        assert len(sides.b.requests) == 0


async def test_what_does_not_change_is_left_alone(sides: Sides) -> None:
    async with inside(sides.at("a", limits=ONE_A_MINUTE), sides.at("b", "h")) as system:
        await ask(system)
        asked = await waiting(system, 2)
        (line,) = system.asker.lines.overview()
        await adopt(system, sides.at("a", limits=ONE_A_MINUTE))
        assert [row["waiting"] for row in system.asker.lines.overview()] == [line["waiting"]]
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def test_another_routing_counts_for_the_next_request(sides: Sides) -> None:
    sides.a.script(says("a"))
    async with inside(sides.at("a", tags=("x",)), sides.at("b", tags=("y",))) as system:
        await adopt(system, sides.at("a", tags=("x",)), sides.at("b", tags=("y",)), routing=Routing(tag_filtering=True))
        for _ in range(4):
            assert said(await ask(system, metadata={"tags": ["y"]})) == "b"
