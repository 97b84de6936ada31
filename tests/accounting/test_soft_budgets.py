"""A soft budget that is passed is told once in its window, after the commit, to the operator and to every process."""

import time
from decimal import Decimal

from ledger.leases import BudgetWish, lease
from ledger.pool import Pool
from ledger.spend import Passed, record
from schemas.access import Account
from schemas.usage import Caller
from tests.ledger.events import event


async def spend(pool: Pool, attempt: str, cost: str) -> list[Passed]:
    """A call; what was told."""
    told: list[Passed] = []
    now = int(time.time() * 1e6)
    await record(
        pool,
        [event(attempt, started=now, ended=now, caller=Caller(key_hash="k"), cost=Decimal(cost))],
        told.append,
    )
    return told


async def lay(pool: Pool, soft: str) -> None:
    """Have a balance with this soft budget."""
    wish = BudgetWish(
        n=0, kind="key", id="k", scope="", period="", began=None, ends=None, most=None, soft=Decimal(soft),
        need=1, want=1, life=60.0, era=0, serial=int(time.time() * 1e6), sure=0,
    )  # fmt: skip
    await lease(pool, "api", [wish], [])


async def test_it_is_told_once(pool: Pool) -> None:
    await lay(pool, "1")
    assert await spend(pool, "a", "0.9") == []
    assert await spend(pool, "b", "0.2") == [Passed(Account("key", "k"), "", Decimal("1.1"), Decimal(1))]
    assert await spend(pool, "b", "0.2") == []
    assert await spend(pool, "c", "5") == []


async def test_another_soft_budget_is_another_alert(pool: Pool) -> None:
    await lay(pool, "1")
    assert len(await spend(pool, "a", "2")) == 1
    await lay(pool, "3")
    assert await spend(pool, "b", "0.5") == []
    assert len(await spend(pool, "c", "0.5")) == 1
