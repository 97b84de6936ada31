"""Postgres stopped under load: calls go on, rows wait in the queue."""

import asyncio
from pathlib import Path

from tests.chaos.ground import Caller, ground, until
from tests.support.postgres import PostgresServer

SECONDS = 6.0  # an outage longer than accounting's longest pause between two tries, and than a few failed tries


async def test_postgres_is_stopped_under_load(tmp_path: Path, amqp_url: str) -> None:
    server = await asyncio.to_thread(PostgresServer)
    try:
        url = (await asyncio.to_thread(server.start)).url()
        async with ground(tmp_path, amqp_url, url) as g:
            answered: list[float] = []
            load = asyncio.create_task(_keep_asking(g.caller, answered))
            await until(g.ledger.any)
            await asyncio.to_thread(server.stop)
            gone = asyncio.get_running_loop().time()
            assert "ledger" in (await g.caller.until_ready(503))["reasons"]
            await asyncio.sleep(SECONDS)
            assert (await g.caller.ready())[0] == 503
            back = asyncio.get_running_loop().time()
            await asyncio.to_thread(server.start)
            await g.ledger.reconnect(url)
            await g.caller.until_ready(200)
            load.cancel()
            await asyncio.wait({load})
            assert load.cancelled(), load.exception()
            assert sum(gone < at < back for at in answered) > SECONDS, "calls were not answered meanwhile"
            rows = await g.ledger.audit(g.provider, g.caller)
            assert {row["status"] for row in rows} <= {"success", "cancelled"}
            assert sum(row["status"] == "success" for row in rows) >= len(answered)
    finally:
        await asyncio.to_thread(server.discard)


async def _keep_asking(caller: Caller, answered: list[float]) -> None:
    """Five at a time, every one answered, until cancelled."""

    async def one() -> None:
        while True:
            outcome = await caller.ask("go")
            assert outcome.status == 200, outcome
            answered.append(asyncio.get_running_loop().time())

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(one())
