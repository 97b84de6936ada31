"""Calls that cost more than was reserved for them: a budget is passed by the errors of the calls under way alone."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from api.hold import Hold
from api.purse import Purse
from ledger.leases import NANO
from ledger.pool import Pool
from ledger.spend import record
from schemas.failures import Kind, Refused
from schemas.usage import Caller, Usage, UsageEvent
from tests.api.test_purse import MILLI, Make, bill, pay, purses, spent
from tests.api.test_purse_troubles import outstanding
from tests.chaos.ground import until
from tests.ledger.events import event

__all__ = ["purses"]

RESERVED, COST = 20 * MILLI, 90 * MILLI
ERROR = Decimal(COST - RESERVED) / NANO


def ended(hold: Hold, name: str, cost: int = COST) -> UsageEvent:
    """The call of a hold is over."""
    hold.over(Usage(prompt=5, completion=5), cost)
    at = int(time.time() * 1e6)
    return event(
        name, started=at, ended=at, caller=Caller(key_hash="k"), cost=Decimal(cost) / NANO,
        leases=hold.leases, reserved=hold.bill.nano,
    )  # fmt: skip


async def end(call: Callable[[], Awaitable[None]]) -> Kind:
    """Calls, one after another, until one is refused; why."""
    for _ in range(50):
        try:
            await call()
        except Refused as why:
            return why.failure.kind
    raise AssertionError("nothing was ever refused")


async def refused(purse: Purse, nano: int = RESERVED) -> Kind:
    """Why a call may not be made."""
    with pytest.raises(Refused) as why:
        await pay(purse, bill(nano, wait=0.3))
    return why.value.failure.kind


async def test_one_after_another_they_pass_the_budget_by_one_error(pool: Pool, purses: Make) -> None:
    purse, made = purses(), 0

    async def call() -> None:
        nonlocal made
        made += 1
        await record(pool, [ended(await pay(purse, bill(RESERVED)), f"a{made}")])

    assert await end(call) is Kind.BUDGET_EXCEEDED
    assert 1 - ERROR <= await spent(pool) <= 1 + ERROR


async def test_what_is_not_recorded_yet_is_not_spent_again(pool: Pool, purses: Make) -> None:
    first, second, events = purses(), purses(), list[UsageEvent]()
    for purse in (first, second):

        async def call(purse: Purse = purse) -> None:
            events.append(ended(await pay(purse, bill(RESERVED, wait=0.3)), f"a{len(events)}"))

        assert await end(call) is Kind.BUDGET_RESERVED, "until accounting says what is spent"
    await record(pool, events)
    assert 1 - ERROR <= await spent(pool) <= 1 + 2 * ERROR


async def test_at_once_they_pass_it_by_the_errors_of_those_that_were_under_way(pool: Pool, purses: Make) -> None:
    chance, three, under_way, most = random.Random(1), [purses() for _ in range(3)], 0, 0
    made = 0

    async def client(purse: Purse) -> None:
        nonlocal under_way, most, made
        while True:
            try:
                hold = await pay(purse, bill(RESERVED, wait=5))
            except Refused:
                return
            under_way, made, name = under_way + 1, made + 1, f"a{made}"
            most = max(most, under_way)
            await asyncio.sleep(chance.uniform(0, 0.02))
            done = ended(hold, name)
            await asyncio.sleep(chance.uniform(0, 0.01))  # until accounting has it
            await record(pool, [done])
            under_way -= 1

    async with asyncio.timeout(30):
        await asyncio.gather(*(client(chance.choice(three)) for _ in range(9)))
    assert 1 - ERROR <= await spent(pool) <= 1 + most * ERROR


async def test_what_was_given_up_is_spendable_once_its_cost_is_recorded(pool: Pool, purses: Make) -> None:
    purse = purses()
    hold = await pay(purse, bill(10 * MILLI))
    await record(pool, [ended(hold, "a", 300 * MILLI)])
    hold = await pay(purse, bill(650 * MILLI))
    assert await outstanding(pool) <= 700 * MILLI
    assert await refused(purse, 100 * MILLI) is Kind.BUDGET_RESERVED
    hold.void()
    (await pay(purse, bill(690 * MILLI))).void()


async def test_what_others_give_back_pays_first(pool: Pool, purses: Make) -> None:
    purse = purses()
    dear, idle = await pay(purse, bill(400 * MILLI)), await pay(purse, bill(600 * MILLI))
    await record(pool, [ended(dear, "a", 700 * MILLI)])
    idle.void()
    assert purse.take(bill(400 * MILLI)) is None
    (await pay(purse, bill(300 * MILLI))).void()
    assert await refused(purse, 310 * MILLI) is Kind.BUDGET_EXCEEDED


async def test_what_was_given_up_goes_back_though_nobody_asks(pool: Pool, purses: Make) -> None:
    purse = purses(life=0.4)
    hold, rest = await pay(purse, bill(10 * MILLI)), await pay(purse, bill(500 * MILLI))
    await record(pool, [ended(hold, "a", 100 * MILLI)])

    async def only_what_is_under_way() -> bool:
        return await outstanding(pool) == 500 * MILLI

    await until(only_what_is_under_way)
    rest.void()
