"""How far leases lapse: as far as every accounting process says that it has recorded what it had."""

import math
import time

from ledger.leases import NANO
from ledger.pool import Pool
from ledger.upkeep import leave, recorded_until, tidy
from tests.ledger.test_leases import ask

NOW = 1_790_000_000.0


async def lapse(pool: Pool) -> float:
    """Seconds since the epoch until which they lapse."""
    found: float = await pool.fetchval("SELECT extract(epoch FROM leases_lapse())::float8")
    return found


async def pass_silently(pool: Pool, seconds: float, *processes: str) -> None:
    """These say nothing for so long."""
    await pool.execute(
        "UPDATE recorded SET said = said - $1 * interval '1 second' WHERE process = ANY ($2)", seconds, processes
    )


async def processes(pool: Pool) -> list[str]:
    return [row["process"] for row in await pool.fetch("SELECT process FROM recorded ORDER BY process")]


async def test_no_lease_lapses_before_accounting_has_come_that_far(pool: Pool) -> None:
    async def granted(holder: str) -> int:
        return (await ask(pool, holder, need=NANO, want=NANO, life=0.0)).granted

    assert await granted("gone") == NANO
    assert await granted("other") == 0, "nobody has ever said anything"
    await recorded_until(pool, "a", time.time() - 60)
    assert await granted("other") == 0
    await recorded_until(pool, "a", time.time() + 1)
    assert await granted("other") == NANO


async def test_it_is_the_least_of_what_all_say(pool: Pool) -> None:
    assert await lapse(pool) == -math.inf
    await recorded_until(pool, "a", NOW)
    await recorded_until(pool, "b", NOW - 10)
    assert await lapse(pool) == NOW - 10
    await recorded_until(pool, "b", NOW + 10)
    assert await lapse(pool) == NOW
    await recorded_until(pool, "a", NOW - 5)  # it has got an older event
    assert await lapse(pool) == NOW - 5
    await recorded_until(pool, "a", math.inf)
    await recorded_until(pool, "b", math.inf)
    assert abs(await lapse(pool) - time.time()) < 10, "but never beyond now"
    await recorded_until(pool, "a", -math.inf)
    assert await lapse(pool) == -math.inf


async def test_a_silent_one_is_waited_for_while_it_may_hold_something(pool: Pool) -> None:
    await recorded_until(pool, "a", NOW)
    await recorded_until(pool, "stopped", NOW - 10)
    await pass_silently(pool, 55, "stopped")
    assert await lapse(pool) == NOW - 10
    await pass_silently(pool, 10, "stopped")
    assert await lapse(pool) == NOW
    await recorded_until(pool, "stopped", NOW - 20)  # it goes on
    assert await lapse(pool) == NOW - 20


async def test_while_all_are_away_nothing_lapses(pool: Pool) -> None:
    await recorded_until(pool, "a", NOW)
    await recorded_until(pool, "b", NOW - 10)
    await pass_silently(pool, 1e6, "a", "b")
    assert await lapse(pool) == NOW - 10
    await recorded_until(pool, "new")
    assert await lapse(pool) == NOW - 10, "it has come no further than they had"
    await recorded_until(pool, "new", NOW + 10)
    assert await lapse(pool) == NOW + 10


async def test_who_leaves_is_not_waited_for_and_who_comes_has_nothing(pool: Pool) -> None:
    await recorded_until(pool, "a", NOW)
    await recorded_until(pool, "b", NOW - 10)
    await leave(pool, "b")
    assert await lapse(pool) == NOW
    await recorded_until(pool, "c")
    assert await lapse(pool) == NOW
    await leave(pool, "a")
    await leave(pool, "c")
    assert await lapse(pool) == -math.inf, "nobody records anything"


async def test_those_that_are_gone_are_forgotten_but_never_the_last_one(pool: Pool) -> None:
    for name in ("a", "b", "gone"):
        await recorded_until(pool, name, NOW)
    await pass_silently(pool, 50, "b")
    await pass_silently(pool, 3700, "gone")
    await tidy(pool)
    assert await processes(pool) == ["a", "b"]
    await pass_silently(pool, 1e6, "a", "b")
    await tidy(pool)
    assert await processes(pool) == ["a", "b"]
