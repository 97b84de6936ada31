"""A day's limits: each process gets its part of what the ledger leaves, and stops there."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.pool import Pool
from ledger.spend import record
from schemas.config import Limits
from schemas.usage import Usage
from tests.ledger.events import event
from tests.support.upstream import Upstream
from tests.workers.test_gate import OK, Yard, at, yard
from workers.days import Days

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        server.script(OK)
        yield server


async def used(pool: Pool, count: int, tokens: int = 0, first: int = 0) -> None:
    """So many calls of the deployment `d` have been recorded today."""
    at_noon = int(NOON.timestamp() * 1e6)
    rows = [
        event(f"a{first + n}", deployment="d", started=at_noon - n, usage=Usage(prompt=tokens)) for n in range(count)
    ]
    await record(pool, rows)


async def ask(works: Yard, upstream: Upstream, count: int) -> int:
    """How many of so many requests are called."""
    before = len(upstream.requests)
    for n in range(count):
        await works.ask(f"r{before}-{n}")
    await asyncio.sleep(0.4)
    return len(upstream.requests) - before


async def test_what_is_left_of_a_day_is_used_and_no_more(upstream: Upstream, pool: Pool, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream, limits=Limits(rpd=10))) as works:
        days = Days(pool, works.workers[0].gates, lambda: NOON)
        await used(pool, 7)
        assert await days.count(), "little is left"
        assert await ask(works, upstream, 5) == 3
        row = works.workers[0].gates[0].rows()[0]
        assert (row.room, row.shut) == (0, pytest.approx(12 * 3600, abs=5))


async def test_a_part_for_each_process(upstream: Upstream, pool: Pool, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream, limits=Limits(rpd=10)), workers=2) as works:
        await asyncio.sleep(0.3)  # until each has noticed the other
        for worker in works.workers:
            await Days(pool, worker.gates, lambda: NOON).count()
        assert await ask(works, upstream, 20) == 10


async def test_tokens_of_a_day_and_a_ledger_that_goes_away(upstream: Upstream, pool: Pool, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream, limits=Limits(tpd=1000))) as works:
        days = Days(pool, works.workers[0].gates, lambda: NOON)
        await used(pool, 2, tokens=500)
        await days.count()
        assert await ask(works, upstream, 0) == 0
        assert works.workers[0].gates[0].rows()[0].room == 0
        await pool.execute("TRUNCATE spend_logs")
        await days.count()
        await asyncio.sleep(0.4)  # until the consumers are open again
        assert await ask(works, upstream, 1) > 0
        await pool.close()
        assert not await days.count(), "what was granted holds"
