"""kill -9 of a worker, of an API process, of accounting, and a worker that stands still."""

import asyncio
import signal
from pathlib import Path

import asyncpg

from tests.chaos.ground import ground, until
from tests.support.proxy import Proxy


async def test_a_worker_is_killed_under_200_calls(tmp_path: Path, amqp_url: str, database_url: str) -> None:
    async with ground(tmp_path, amqp_url, database_url, workers=2, slots=120) as g:
        async with asyncio.TaskGroup() as group:
            kinds = [("hold", False), ("hold", True), ("early", True), ("go", False)]
            asked = [group.create_task(g.caller.many(50, how, stream=stream)) for how, stream in kinds]
            async with asyncio.timeout(20):
                await g.provider.upstream.opened(120)  # every slot is taken, the others wait in the queue
            g.house.processes["worker0"].kill()
            async with asyncio.timeout(10):
                await g.provider.upstream.disconnected(60)
            g.provider.gate.set()
        whole, streams, early, quick = (task.result() for task in asked)
        assert {(one.status, one.complete) for one in (*whole, *streams, *quick)} == {(200, True)}
        broken = [one for one in early if not one.complete]
        assert {one.kind for one in broken} <= {"worker_lost"}
        calls = [one.call for one in (*whole, *streams, *early, *quick)]
        assert len(set(calls)) == 200
        rows = await g.ledger.audit(g.provider, g.caller)
        lost = [row for row in rows if row["lost"]]
        assert len(lost) == 60
        assert all(row["estimated"] and row["status"] == "lost" and row["cost"] > 0 for row in lost)
        assert len({row["worker"] for row in lost}) == 1
        assert len(rows) == 201 + 60 - len(broken)  # one more attempt for each that could be begun anew


async def test_the_only_worker_is_killed(tmp_path: Path, amqp_url: str, database_url: str) -> None:
    async with ground(tmp_path, amqp_url, database_url, slots=20) as g:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            early = group.create_task(g.caller.many(10, "early", stream=True))
            await g.provider.upstream.received(10)
            waiting = group.create_task(g.caller.many(20, "hold"))  # half of them stay in the queue
            await g.provider.upstream.received(20)
            g.house.processes["worker0"].kill()
        assert {(one.status, one.kind) for one in early.result()} == {(200, "worker_lost")}
        assert {(one.status, one.kind, one.retry_after > 0) for one in waiting.result()} == {(503, "no_workers", True)}
        g.provider.gate.set()
        await g.house.add("worker1", "worker")
        rows = await g.ledger.audit(g.provider, g.caller)
        assert sum(row["lost"] for row in rows) == 20
        assert g.provider.begun == 21, "what nobody waited for any more was begun"


async def test_an_api_process_is_killed_under_200_calls(tmp_path: Path, amqp_url: str, database_url: str) -> None:
    async with ground(tmp_path, amqp_url, database_url, apis=2) as g:
        dying, living = g.callers
        async with asyncio.TaskGroup() as group:
            kinds = [("hold", False), ("early", True)]
            dead = [group.create_task(dying.many(50, how, stream=stream)) for how, stream in kinds]
            async with asyncio.timeout(20):
                await g.provider.upstream.opened(100)
            alive = [group.create_task(living.many(50, how, stream=stream)) for how, stream in kinds]
            async with asyncio.timeout(20):
                await g.provider.upstream.opened(200)
            g.house.processes["api0"].kill()
            async with asyncio.timeout(10):
                await g.provider.upstream.disconnected(100)  # though not one of those calls had anything to say
            g.provider.gate.set()
        assert {one.complete for task in dead for one in task.result()} == {False}
        assert {(one.status, one.complete) for task in alive for one in task.result()} == {(200, True)}
        rows = await g.ledger.audit(g.provider, living)
        assert len(rows) == 201
        cancelled = [row for row in rows if row["status"] == "cancelled"]
        assert len(cancelled) == 100
        assert all(row["estimated"] and row["prompt"] > 0 for row in cancelled)


async def test_accounting_is_killed_between_commit_and_ack(tmp_path: Path, amqp_url: str, database_url: str) -> None:
    async with Proxy(amqp_url) as proxy, ground(tmp_path, amqp_url, database_url) as g:
        assert await g.house.processes["accounting"].stop() == 0
        doomed = await g.house.add("doomed", "accounting", AMQP_URL=proxy.url)
        lock = await asyncpg.connect(database_url)
        async with lock.transaction():
            await lock.execute("LOCK TABLE spend_logs IN SHARE ROW EXCLUSIVE MODE")
            await g.caller.many(100, "go")
            waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'spend_logs'::regclass"
            await until(lambda: lock.fetchval(waiting))
            for line in proxy.lines:
                line.stall()  # nothing that it says from now on arrives
        await lock.close()
        await until(g.ledger.any)
        doomed.kill()
        await doomed.exited()
        proxy.cut()
        await g.house.add("accounting", "accounting")
        rows = await g.ledger.audit(g.provider, g.caller)
        assert len(rows) == 101


async def test_a_worker_stands_still_and_comes_back(tmp_path: Path, amqp_url: str, database_url: str) -> None:
    async with ground(tmp_path, amqp_url, database_url, workers=2) as g:
        async with asyncio.TaskGroup() as group:
            held = group.create_task(g.caller.many(10, "hold"))
            async with asyncio.timeout(10):
                await g.provider.upstream.opened(10)
            still = g.house.processes["worker0"]
            still.signal(signal.SIGSTOP)
            try:
                await g.house.knows(1)
                lost = [row for row in await g.ledger.until(5) if row["lost"]]
                assert len(lost) == 5
            finally:
                still.signal(signal.SIGCONT)
            g.provider.gate.set()
        assert {(one.status, one.complete) for one in held.result()} == {(200, True)}
        await g.house.knows(2)
        await until(g.ledger.none_lost)
        rows = await g.ledger.audit(g.provider, g.caller)
        assert {(row["status"], row["estimated"], row["prompt"]) for row in rows} == {("success", False, 7)}


async def test_a_worker_loses_the_connection_that_it_answers_on(
    tmp_path: Path, amqp_url: str, database_url: str
) -> None:
    async with Proxy(amqp_url) as proxy, ground(tmp_path, amqp_url, database_url, workers=0) as g:
        await g.house.add("worker0", "worker", AMQP_URL=proxy.url)
        await g.house.knows(1)
        _, publishing, _ = proxy.lines  # the first one declared the topology
        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            held = group.create_task(g.caller.many(10, "hold"))
            early = group.create_task(g.caller.many(10, "early", stream=True))
            await g.provider.holds(20)
            for _ in range(10):
                await g.caller.first_bytes.acquire()
            publishing.stall()
            g.provider.gate.set()
            await g.provider.upstream.idle()  # every answer is written, and none arrives
            publishing.cut()
        assert {(one.status, one.complete) for one in held.result()} == {(200, True)}
        assert {(one.status, one.kind) for one in early.result()} == {(200, "worker_lost")}
        rows = await g.ledger.audit(g.provider, g.caller)
        assert len(rows) == 31
        assert {row["status"] for row in rows} <= {"success", "lost"}
        await until(g.ledger.none_lost)
