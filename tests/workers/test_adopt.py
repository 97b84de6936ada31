"""A worker whose configuration changes: what begins, what ends, and what goes on as if nothing had happened."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from broker.port import BusError
from broker.topology import handoff_queue, topology_of
from schemas.config import Config, Deployment, Limits
from tests.support import upstream as up
from tests.support.upstream import Upstream
from tests.workers.test_gate import OK, Yard, at, yard


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        server.script(OK)
        yield server


async def adopt(works: Yard, *deployments: Deployment) -> None:
    """The first worker serves these from now on."""
    await works.bus.extend(topology_of(deployments, 2**20))
    await works.workers[0].adopt(Config(deployments=deployments), deployments)


def serving(works: Yard) -> list[str]:
    """What the first worker's gates are for."""
    return [gate.deployment.id for gate in works.workers[0].gates]


async def test_a_new_deployment_is_served_and_told_of(upstream: Upstream, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream)) as works:
        before = works.workers[0].gates[0]
        await adopt(works, at(upstream), at(upstream, "other", "w/*", "*"))
        assert works.workers[0].gates[0] is before
        await works.ask("r1", model="w/x")
        assert (await works.started()).deployment == "other"
        async with asyncio.timeout(5):
            while not any(row.deployment == "other" for beat in works.beats for row in beat.serving):
                works.told.clear()
                await works.told.wait()


async def test_a_removed_one_ends_what_runs_and_takes_nothing_more(upstream: Upstream, tmp_path: Path) -> None:
    gate = asyncio.Event()
    upstream.script(up.chunked([gate, b'{"choices":[{}]}'], "application/json"))
    async with yard(tmp_path, at(upstream)) as works:
        await works.ask("r1")
        await upstream.received(1)
        await adopt(works)
        assert serving(works) == []
        await works.ask("r2")
        gate.set()
        await upstream.idle()
        assert len(upstream.requests) == 1
        await adopt(works, at(upstream))  # what nobody took is still there
        await upstream.received(2)


async def test_a_changed_one_is_called_as_it_is_now(upstream: Upstream, tmp_path: Path) -> None:
    gate = asyncio.Event()
    upstream.script(up.chunked([gate, b'{"choices":[{}]}'], "application/json"), OK)
    one = Limits(parallel=1)
    async with yard(tmp_path, at(upstream, api_key=SecretStr("old"), limits=one)) as works:
        await works.ask("r1")
        await upstream.received(1)
        await adopt(works, at(upstream, api_key=SecretStr("new"), limits=one))
        await works.ask("r2")
        for _ in range(5):
            await asyncio.sleep(0.02)
        assert len(upstream.requests) == 1  # one at a time, and the old call counts
        gate.set()
        await upstream.received(2)
        assert [call.headers["authorization"] for call in upstream.requests] == ["Bearer old", "Bearer new"]


async def test_limits_are_not_begun_anew_by_what_does_not_concern_them(upstream: Upstream, tmp_path: Path) -> None:
    few = Limits(rpm=60)
    async with yard(tmp_path, at(upstream, limits=few)) as works:
        limiter = works.workers[0].gates[0].limiter
        await adopt(works, at(upstream, limits=few, weight=3))
        assert works.workers[0].gates[0].limiter is limiter
        await adopt(works, at(upstream, limits=Limits(rpm=90)))
        assert works.workers[0].gates[0].limiter is not limiter


async def test_what_readers_are_told_of_a_model_changes_no_gate(upstream: Upstream, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream)) as works:
        gate = works.workers[0].gates[0]
        await adopt(works, at(upstream, info={"description": "ours"}))
        assert works.workers[0].gates == [gate]


async def test_who_is_alone_no_more_has_a_queue_of_its_own(upstream: Upstream, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream, "a")) as works:
        gate = works.workers[0].gates[0]
        await adopt(works, at(upstream, "a", order=2), at(upstream, "b", order=1))
        assert works.workers[0].gates[0] is not gate  # its order is another
        await works.ask("r1", queue=handoff_queue("a"))
        assert (await works.started()).deployment == "a"
        await adopt(works, at(upstream, "a", order=2))
        await works.ask("r2")
        assert (await works.started()).deployment == "a"


async def test_an_unchanged_gate_learns_of_its_company(upstream: Upstream, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream, "a")) as works:
        gate = works.workers[0].gates[0]
        await adopt(works, at(upstream, "a"), at(upstream, "b"))
        assert works.workers[0].gates[0] is gate
        await works.ask("r1", queue=handoff_queue("a"))
        assert (await works.started()).deployment == "a"


async def test_what_cannot_be_consumed_hinders_nobody_else(upstream: Upstream, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream, "a")) as works:
        wanted = (at(upstream, "nowhere", "no-queue"), at(upstream, "a", model="up2"))
        with pytest.raises(BusError):
            await works.workers[0].adopt(Config(deployments=wanted), wanted)
        assert serving(works) == ["a"]
        await works.ask("r1")
        assert (await works.started()).model == "up2"
        await adopt(works, *wanted)
        assert sorted(serving(works)) == ["a", "nowhere"]
