"""Calls that say nothing of their answer's length: with little left, one at a time takes what is left."""

import asyncio
import time
from decimal import Decimal

import pytest

from api.hold import Bill
from ledger.pool import Pool
from ledger.spend import record
from schemas.access import Account, Budget, Terms
from schemas.failures import Kind, Refused
from tests.api.test_purse import KEY, MILLI, Make, pay, purses, spent
from tests.api.test_purse_exceeded import ended
from tests.api.test_purse_troubles import outstanding

__all__ = ["purses"]

SMALL = Budget(account=KEY, named="Key=k", most=Decimal("0.1"))


def bill(*budgets: Budget, wait: float = 20, prompt: int = MILLI) -> Bill:
    """For a call that may be as dear as 300 thousandths, and costs at least its prompt."""
    terms, nano = (Terms(budgets=budgets or (SMALL,)),), 300 * MILLI
    return Bill(terms, nano, 10, time.time() + wait, guessed=5, supposed=nano - prompt)


async def test_a_small_budget_is_begun_and_used_up(pool: Pool, purses: Make) -> None:
    purse, calls = purses(), 0
    try:
        for calls in range(50):
            hold = await pay(purse, bill())
            assert hold.bill.nano <= 100 * MILLI
            await record(pool, [ended(hold, f"a{calls}", 7 * MILLI)])
    except Refused as why:
        assert why.failure.kind is Kind.BUDGET_EXCEEDED  # noqa: PT017 (which call it is, is not known)
    assert calls == 15, "fourteen leave two thousandths, which is more than the prompt"
    assert await spent(pool) == Decimal("0.105")


async def test_of_several_the_first_takes_what_is_left_and_the_others_wait(pool: Pool, purses: Make) -> None:
    first, second = purses(), purses()
    hold = await pay(first, bill())
    waiting = [asyncio.create_task(pay(purse, bill())) for purse in (first, second, second)]
    assert await outstanding(pool) == 100 * MILLI
    costs = 0
    while waiting:
        assert not any(task.done() for task in waiting)
        costs += 1
        await record(pool, [ended(hold, f"a{costs}", 10 * MILLI)])
        done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        waiting = list(rest)
        hold = done.pop().result()
        assert hold.bill.nano == (100 - 10 * costs) * MILLI
    hold.void()


async def test_the_smallest_of_several_budgets_counts(purses: Make) -> None:
    smaller = Budget(account=Account("team", "t"), named="Team=t", most=Decimal("0.03"))
    hold = await pay(purses(), bill(SMALL, smaller))
    assert (hold.bill.nano, hold.bill.least) == (30 * MILLI, MILLI)
    hold.void()


async def test_the_prompt_must_fit(purses: Make) -> None:
    spent_up = Budget(account=Account("team", "t"), named="Team=t", most=Decimal(0))
    purse = purses()
    with pytest.raises(Refused, match=r"The prompt alone may cost up to 0\.2 and 0\.1 is left"):
        await pay(purse, bill(prompt=200 * MILLI))
    with pytest.raises(Refused, match="Team=t"):
        await pay(purse, bill(SMALL, spent_up))


async def test_what_was_asked_for_does_not_shrink(purses: Make) -> None:
    terms = (Terms(budgets=(SMALL,)),)
    with pytest.raises(Refused, match="a smaller max_tokens may fit"):
        await pay(purses(), Bill(terms, 300 * MILLI, 10, time.time() + 20))
