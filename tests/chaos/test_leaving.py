"""Who leaves in good order, or in the middle: clients, workers, API processes; and what a full queue says.

One system for all: `api0` refuses at once where no worker is, `patient` waits for one. Each test leaves one worker.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.chaos.ground import Caller, Ground, ground, until
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.asyncio(loop_scope="module")
SLOTS = 4
QUEUE_BYTES = 6000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    rabbitmq: RabbitMQ, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ground]:
    folder = tmp_path_factory.mktemp("leaving")
    name = "leaving_" + "_".join(folder.parts[-2:]).replace("-", "_")
    await asyncio.to_thread(rabbitmq.add_vhosts, name)
    await asyncio.to_thread(postgres.run, f"create database {name}")
    settings = {
        "PENSTOCK_QUEUE_BYTES": str(QUEUE_BYTES),
        "PENSTOCK_DISCONNECT_GRACE": "0.2",
        "PENSTOCK_DRAIN": "20",
    }
    try:
        async with ground(folder, rabbitmq.url(name), postgres.url(name), slots=SLOTS, **settings) as g:
            await g.house.add("patient", "api", "--port", "0", PENSTOCK_POOL_WAIT="30", PENSTOCK_DISCONNECT_GRACE="20")
            yield g
    finally:
        await asyncio.to_thread(postgres.run, f"drop database {name} with (force)")
        await asyncio.to_thread(rabbitmq.delete_vhost, name)


@pytest_asyncio.fixture(loop_scope="module")
async def g(shared: Ground) -> Ground:
    """The system, working, with a closed gate."""
    shared.provider.close_gate()
    await shared.caller.until_served()
    await shared.ledger.until(shared.provider.begun)
    return shared


@pytest.mark.parametrize("words", ["hold", "hold stream", "early stream"])
async def test_a_client_that_goes_is_charged_for_what_was_begun(g: Ground, words: str) -> None:
    before, left = g.provider.begun, g.provider.upstream.left
    caller = Caller(g.callers[0].http)
    asking = asyncio.create_task(caller.ask(words, stream="stream" in words))
    await g.provider.holds(1)
    if words.startswith("early"):
        await asyncio.wait_for(caller.first_bytes.acquire(), 10)
    await _give_up(asking)
    async with asyncio.timeout(10):
        await g.provider.upstream.disconnected(left + 1)
    row = (await g.ledger.until(before + 1))[-1]
    assert (row["status"], row["estimated"], row["lost"]) == ("cancelled", True, False)
    assert row["prompt"] > 0
    assert (row["completion"] > 0) == words.startswith("early")
    assert row["cost"] > 0


async def test_a_call_that_ends_within_the_grace_is_no_estimate(g: Ground) -> None:
    before = g.provider.begun
    async with g.at("patient") as caller:
        asking = asyncio.create_task(caller.ask("hold"))
        await g.provider.holds(1)
        await _give_up(asking)
        g.provider.gate.set()
        row = (await g.ledger.until(before + 1))[-1]
        assert (row["status"], row["estimated"]) == ("success", False)


async def test_a_queued_request_of_a_client_that_went_never_runs(g: Ground) -> None:
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(g.caller.ask("hold")) for _ in range(SLOTS)]
        await g.provider.holds(SLOTS)
        begun = g.provider.begun
        queued = [asyncio.create_task(g.caller.ask("hold")) for _ in range(3)]
        await _published(g, "api0", SLOTS + 3)
        await _give_up(*queued)
        await _published(g, "api0", SLOTS)
        g.provider.gate.set()
    assert {task.result().status for task in running} == {200}
    await g.ledger.audit(g.provider, g.caller)
    assert g.provider.begun == begun + 1


async def test_a_full_queue_refuses_and_serves_the_others_later(g: Ground) -> None:
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(g.caller.ask("hold")) for _ in range(SLOTS)]
        await g.provider.holds(SLOTS)
        more = [group.create_task(g.caller.ask(f"go {'x' * 1000}")) for _ in range(20)]
        waiting = int(QUEUE_BYTES / 1400)
        while sum(task.done() for task in more) < 20 - waiting - 1:
            await asyncio.wait([task for task in more if not task.done()], return_when=asyncio.FIRST_COMPLETED)
        refused = [task.result() for task in more if task.done()]
        assert {(one.status, one.kind, one.retry_after > 0) for one in refused} == {(429, "queue_full", True)}
        assert len(refused) < 20
        g.provider.gate.set()
    served = [task.result() for task in (*running, *more) if task.result().status != 429]
    assert {one.status for one in served} == {200}
    assert len(served) >= SLOTS + 1
    await g.ledger.audit(g.provider, g.caller)


async def test_scaled_to_zero_and_back(g: Ground) -> None:
    await _stop_workers(g)
    assert [one async for one in _asked_at_once(g.caller)] == [(503, "no_workers", True)]
    async with g.at("patient") as caller:
        begun = g.provider.begun
        gone = asyncio.create_task(caller.ask("go"))
        waits = asyncio.create_task(caller.ask("go"))
        await _published(g, "patient", 2)
        await _give_up(gone)
        await _published(g, "patient", 1)
        await g.house.add("worker back", "worker")
        assert (await asyncio.wait_for(waits, 20)).status == 200
        await g.ledger.audit(g.provider, caller)
        assert g.provider.begun == begun + 2, "the one whose client went was begun"
    await g.house.knows(1)


async def test_a_worker_drains(g: Ground) -> None:
    (first,) = _workers(g)
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(g.caller.ask("hold")) for _ in range(2)]
        held += [group.create_task(g.caller.ask("early", stream=True)) for _ in range(2)]
        await g.provider.holds(4)
        old = set(await g.house.knows(1))
        await g.house.add("worker drained for", "worker")
        new = set(await g.house.knows(2)) - old
        ending = asyncio.create_task(g.house.processes[first].stop())
        assert set(await g.house.knows(1)) == new
        others = await g.caller.many(10, "go")
        assert not ending.done()
        g.provider.gate.set()
    assert await ending == 0
    assert {(task.result().status, task.result().complete) for task in held} == {(200, True)}
    assert {one.status for one in others} == {200}
    rows = await g.ledger.audit(g.provider, g.caller)
    by_old = [row for row in rows if row["worker"] in old and row["started"] > rows[-16]["started"]]
    assert {row["status"] for row in by_old} <= {"success"}
    assert {row["worker"] for row in rows[-11:]} == new


async def test_a_call_longer_than_the_drain_is_begun_anew_elsewhere(g: Ground) -> None:
    await _stop_workers(g)
    hasty = await g.house.add("worker hasty", "worker", PENSTOCK_DRAIN="0.5")
    await g.house.knows(1)
    begun = g.provider.begun
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(g.caller.ask("hold")) for _ in range(2)]
        early = [group.create_task(g.caller.ask("early", stream=True)) for _ in range(2)]
        await g.provider.holds(4)
        await g.house.add("worker after", "worker")
        await g.house.knows(2)
        assert await hasty.stop() == 0
        await g.provider.holds(2)
        g.provider.gate.set()
    assert {(task.result().status, task.result().complete) for task in held} == {(200, True)}
    assert {(task.result().status, task.result().kind) for task in early} == {(200, "shutting_down")}
    rows = await g.ledger.audit(g.provider, g.caller)
    assert g.provider.begun == begun + 4 + 2 + 1
    stopped = [row for row in rows if row["failure"] == "shutting_down"]
    assert len(stopped) == 4
    assert all(row["status"] == "failure" and row["estimated"] and not row["lost"] for row in stopped)


async def test_an_api_process_drains(g: Ground) -> None:
    api = await g.house.add("api leaving", "api", "--port", "0")
    await g.house.knows(1, "api leaving")
    async with g.at("api leaving") as caller:
        held = [asyncio.create_task(caller.ask("hold")), asyncio.create_task(caller.ask("early", stream=True))]
        await g.provider.holds(2)
        ending = asyncio.create_task(api.stop())
        assert (await asyncio.wait_for(_refused(g, "api leaving"), 10)).status == 0
        assert not any(task.done() for task in (*held, ending))
        g.provider.gate.set()
        assert {((await task).status, (await task).complete) for task in held} == {(200, True)}
        assert await ending == 0
    await g.ledger.audit(g.provider, g.caller)


async def _refused(g: Ground, api: str) -> Any:
    """The first call that finds nobody listening."""
    while True:
        async with g.at(api) as caller:
            outcome = await caller.ask("go")
        if outcome.status != 200:
            return outcome


async def _asked_at_once(caller: Caller) -> AsyncIterator[tuple[int, str, bool]]:
    outcome = await asyncio.wait_for(caller.ask("go"), 3)
    yield outcome.status, outcome.kind, outcome.retry_after > 0


async def _published(g: Ground, api: str, count: int) -> None:
    """Until the API process has just so many requests without their whole answer."""
    seen: list[int] = []
    async with g.house.client(base=g.house.processes[api].base) as http:

        async def there() -> bool:
            seen.append((await http.get("/health")).json()["waiting"])
            return seen[-1] == count

        try:
            await until(there)
        except TimeoutError:
            raise AssertionError(f"{api} has {sorted(set(seen))} requests, and not {count}") from None


async def _give_up(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _workers(g: Ground) -> list[str]:
    return [
        name
        for name, process in g.house.processes.items()
        if name.startswith("worker") and process.process.returncode is None
    ]


async def _stop_workers(g: Ground) -> None:
    codes = await asyncio.gather(*(g.house.processes[name].stop() for name in _workers(g)))
    assert set(codes) == {0}
    await g.house.knows(0)
