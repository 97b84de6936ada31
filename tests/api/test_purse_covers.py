"""A lease lasts as long as every call that is reserved from it, and longer than it is of use to nobody."""

import asyncio
import math
from decimal import Decimal
from typing import Any

import pytest

from api.estimate import Estimator
from api.intake import Output
from api.payers import Payers
from api.payment import Cashier
from ledger.leases import NANO
from ledger.pool import Pool
from ledger.prices import PriceBook
from ledger.upkeep import recorded_until
from schemas.access import Access
from schemas.failures import Kind, Refused
from schemas.usage import Caller, Usage
from tests.api.test_payment_again import TERMS, Rich, course, request
from tests.api.test_purse import MILLI, bill, pay
from tests.api.test_purse_troubles import Deaf, outstanding, purse
from tests.chaos.ground import until
from tests.ledger.test_leases import ask


async def lasts(pool: Pool, holder: str = "api") -> float:
    """Seconds for which its lease counts."""
    found: float = await pool.fetchval(
        "SELECT extract(epoch FROM until - now())::float8 FROM leases WHERE holder = $1", holder
    )
    return found


async def test_a_long_call_is_covered_though_nothing_more_is_left(pool: Pool) -> None:
    async with purse(pool) as p:
        await pay(p, bill(MILLI, wait=5))
        left = (await ask(pool, "other")).left
        await ask(pool, "other", serial=2, need=left, want=left)
        await pay(p, bill(MILLI, wait=600))
        assert await lasts(pool) > 600


async def test_a_long_call_is_not_covered_before_the_ledger_has_heard_of_it(pool: Pool) -> None:
    deaf = Deaf(pool)
    async with purse(deaf) as p:
        await pay(p, bill(MILLI, wait=5))
        deaf.asked.clear()
        deaf.gate = asyncio.Event()
        long = asyncio.create_task(pay(p, bill(MILLI, wait=600)))
        await deaf.asked.wait()
        assert p.take(bill(MILLI, wait=500)) is None
        assert p.take(bill(MILLI, wait=4)) is not None
        deaf.gate.set()
        await long
        assert p.take(bill(MILLI, wait=500)) is not None


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stream_goes_on_after_its_deadline(pool: Pool, stream: bool) -> None:
    rich: Any = Rich()
    cashier = Cashier(rich, Estimator(PriceBook()), Payers(pool, asyncio.get_running_loop().time))
    payment = cashier.payment(Access(caller=Caller(key_hash="k"), terms=TERMS), (), "m", Output(None))
    assert payment is not None
    given = request("m", stream=stream, received=1000.0, deadline=1005.0)
    await payment.first(given, course())
    assert (rich.bills[0].deadline, rich.bills[0].ends) == (1005, 1600 if stream else 1005)


async def test_what_a_lease_that_is_over_owed_is_owed_no_more(pool: Pool) -> None:
    async with purse(pool, life=0.4) as p:
        hold = await pay(p, bill(10 * MILLI, wait=1))
        await pay(p, bill(500 * MILLI, wait=1))
        hold.over(Usage(), 20 * MILLI)
        (holding,) = p._budgets.values()
        await pool.execute("UPDATE leases SET until = to_timestamp(0)")  # accounting was away for long
        await recorded_until(pool, "accounting", math.inf)

        async def forgotten() -> bool:
            return not p._budgets

        await until(forgotten)
        assert not holding.busy
    assert await outstanding(pool) == 0


async def test_no_call_is_too_dear_to_be_asked_for(pool: Pool) -> None:
    async with purse(pool) as p:
        dear = Decimal(10**6)  # US dollars, as much as an estimate is at most
        asked = asyncio.gather(*(pay(p, bill(int(dear) * NANO)) for _ in range(50)), return_exceptions=True)
        kinds = {one.failure.kind if isinstance(one, Refused) else None for one in await asked}
        assert kinds == {Kind.BUDGET_EXCEEDED}
