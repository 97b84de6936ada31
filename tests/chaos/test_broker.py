"""RabbitMQ restarted, killed and out of memory under load, and a worker told to end while it is away.

One broker and one system for all tests: after each of them it must work again without a restart of ours.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.ground import Caller, Ground, Outcome, ground, until
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
DATABASE = "chaos_broker"
ALARM = "vm_memory_monitor:set_vm_memory_high_watermark({})"


@dataclass
class Stage:
    server: RabbitMQServer
    ground: Ground
    state: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("broker")
    name = f"{DATABASE}_{folder.parent.name.replace('-', '_')}"
    await asyncio.to_thread(postgres.run, f"create database {name}")
    server = await asyncio.to_thread(RabbitMQServer)
    try:
        broker = await asyncio.to_thread(server.start)
        settings = {"PENSTOCK_DRAIN": "8", "PENSTOCK_BUS_WAIT": "60"}
        async with ground(folder, broker.base_url, postgres.url(name), slots=40, **settings) as g:
            yield Stage(server, g, folder / "state")
    finally:
        await asyncio.to_thread(server.discard)
        await asyncio.to_thread(postgres.run, f"drop database {name} with (force)")


@pytest_asyncio.fixture(loop_scope="module")
async def stage(shared: Stage) -> Stage:
    """The stage, working."""
    shared.ground.provider.close_gate()
    await shared.ground.caller.until_served()
    return shared


async def _call_everybody(g: Ground, group: asyncio.TaskGroup) -> "list[asyncio.Task[list[Outcome]]]":
    """Three kinds of 20 calls: two have begun, of the third most wait in the queue."""
    before = g.provider.upstream.open_calls
    asked = [group.create_task(g.caller.many(20, "hold")), group.create_task(g.caller.many(20, "early", stream=True))]
    async with asyncio.timeout(20):
        await g.provider.upstream.opened(before + 40)
        for _ in range(20):
            await g.caller.first_bytes.acquire()
    asked.append(group.create_task(g.caller.many(20, "hold")))

    async def all_there() -> bool:
        return bool((await g.caller.http.get("/health")).json()["waiting"] == 60)

    await until(all_there)
    return asked


@pytest.mark.parametrize("end", [RabbitMQServer.stop, RabbitMQServer.kill])
async def test_rabbitmq_goes_and_comes_back(stage: Stage, end: Callable[[RabbitMQServer], None]) -> None:
    g = stage.ground
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        held, early, queued = await _call_everybody(g, group)
        gone = loop.time()
        await asyncio.to_thread(end, stage.server)
        async with asyncio.timeout(5):
            await asyncio.wait((held, early))
        assert loop.time() - gone < 8
        for one in held.result():
            assert (one.status, one.kind, one.retry_after > 0) == (503, "queue_unavailable", True)
        assert {(one.status, one.kind) for one in early.result()} == {(200, "queue_unavailable")}
        refused = await g.caller.ask("go")
        assert (refused.status, refused.retry_after > 0) == (503, True)
        assert "queue" in (await g.caller.until_ready(503))["reasons"]
        await asyncio.to_thread(stage.server.start)
        await g.provider.holds(40 + 20)  # those that had not begun, behind the 40 whose calls nobody waits for
        g.provider.gate.set()
    assert {(one.status, one.complete) for one in queued.result()} == {(200, True)}
    rows = await g.ledger.audit(g.provider, g.caller)
    assert {row["status"] for row in rows} <= {"success", "cancelled", "failure"}
    await g.caller.until_ready(200)


async def test_a_worker_is_told_to_end_while_rabbitmq_is_away(stage: Stage) -> None:
    g = stage.ground
    async with asyncio.TaskGroup() as group:
        held = group.create_task(g.caller.many(5, "hold"))
        async with asyncio.timeout(20):
            await g.provider.upstream.opened(5)
        before = len(await g.ledger.until(g.provider.begun - 5))
        await asyncio.to_thread(stage.server.stop)
    assert {(one.status, one.kind) for one in held.result()} == {(503, "queue_unavailable")}
    g.provider.gate.set()
    async with asyncio.timeout(5):
        await g.provider.upstream.idle()
    name = next(
        name for name, process in g.house.processes.items() if process.process.returncode is None and "worker" in name
    )
    assert await g.house.processes[name].stop(within=8) == 0
    spooled = [
        line for path in (stage.state / "spool").glob("usage-*.jsonl") for line in path.read_bytes().splitlines()
    ]
    assert len(spooled) == 5
    await asyncio.to_thread(stage.server.start)
    await g.house.add("next worker", "worker")
    await g.ledger.until(before + 5)
    await until(g.ledger.none_lost)  # the API gave them up for lost when the worker was gone
    rows = await g.ledger.until(before + 5)
    assert {(row["status"], row["estimated"]) for row in rows[-5:]} == {("success", False)}

    async def sent() -> bool:
        return not list((stage.state / "spool").iterdir())

    await until(sent)
    await g.ledger.audit(g.provider, g.caller)


async def test_a_memory_alarm_under_load(stage: Stage) -> None:
    g = stage.ground
    async with asyncio.TaskGroup() as group:
        load = group.create_task(_keep_asking(g.caller))
        running = group.create_task(g.caller.many(10, "hold"))
        await g.provider.holds(10)
        await asyncio.to_thread(stage.server.broker.evaluate, ALARM.format("0.0"))
        try:
            reasons = (await g.caller.until_ready(503))["reasons"]
            assert "blocked" in reasons["queue"]
            refused = await asyncio.wait_for(g.caller.ask("go"), 3)
            assert (refused.status, refused.kind, refused.retry_after > 0) == (503, "queue_unavailable", True)
            g.provider.gate.set()
            async with asyncio.timeout(10):
                await g.provider.upstream.idle()
        finally:
            await asyncio.to_thread(stage.server.broker.evaluate, ALARM.format("0.4"))
        await g.caller.until_ready(200)
        await g.caller.until_served()
        load.cancel()
    assert {(one.status, one.complete) for one in running.result()} == {(200, True)}
    await g.ledger.audit(g.provider, g.caller)


async def _keep_asking(caller: Caller) -> None:
    """Ten at a time, until cancelled; each answer or refusal must be a clear one."""

    async def one() -> None:
        while True:
            outcome = await caller.ask("go")
            assert outcome.status in (200, 503), outcome
            if outcome.status == 503:
                assert outcome.retry_after
                await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(one())
