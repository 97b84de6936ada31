"""A budget that is raised for a while is what it was from that moment on, whatever a process holds or waits for."""

import asyncio
import random
import time
from decimal import Decimal

from api.purse import Purse
from ledger.pool import Pool
from schemas.access import Budget
from schemas.failures import Kind
from tests.api.test_purse import KEY, MILLI, Calls, Make, bill, pay, purses, refusal
from tests.chaos.ground import until

__all__ = ["purses"]

HOUR = 3600.0
PLAIN = Budget(account=KEY, named="Key=k", most=Decimal(1))


class Clock:
    """The time of some processes."""

    def __init__(self, *purses: Purse) -> None:
        self.ahead = 0.0
        for purse in purses:
            purse.now = self.now

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.ahead


def raised() -> Budget:
    """To three dollars, for an hour."""
    return Budget(account=KEY, named="Key=k", most=Decimal(3), later=(time.time() + HOUR, PLAIN))


async def test_a_raise_ends_at_its_moment_in_every_process(pool: Pool, purses: Make) -> None:
    first, second = purses(), purses()
    clock, budget, calls = Clock(first, second), raised(), Calls(pool, random.Random(1))
    for purse in (first, second):
        await calls.make(await pay(purse, bill(500 * MILLI, budget=budget)), Decimal("0.5"))
        await calls.make(await pay(purse, bill(10 * MILLI, budget=budget)), Decimal("0.1"))
        assert purse.take(bill(10 * MILLI, budget=budget)) is not None, "more is leased"
    clock.ahead = HOUR
    for purse in (first, second):
        failure = await refusal(purse, bill(10 * MILLI, wait=HOUR + 20, budget=budget))
        assert failure.kind is Kind.BUDGET_EXCEEDED
        assert "Current cost: 1.2, Max budget: 1" in failure.message


async def test_a_call_that_waits_for_its_end_has_what_is_left_then(pool: Pool, purses: Make) -> None:
    first, second = purses(), purses()
    clock, budget, calls = Clock(first, second), raised(), Calls(pool, random.Random(1))
    await calls.make(await pay(first, bill(2000 * MILLI, budget=budget)), Decimal(2))
    last = await pay(first, bill(1000 * MILLI, budget=budget))
    waiting = asyncio.create_task(refusal(second, bill(500 * MILLI, wait=HOUR + 20, budget=budget)))

    async def waits() -> bool:
        return any(holding.waits for holding in second._budgets.values())

    await until(waits, 5)
    clock.ahead = HOUR
    last.void()
    assert (await waiting).kind is Kind.BUDGET_EXCEEDED
