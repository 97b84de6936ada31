"""What a process may still use, and for how long: never longer than whoever granted it counts it."""

from decimal import Decimal

import pytest

from policy.holdings import BudgetHolding, RateHolding
from schemas.access import Account, Budget, Rate, Unit

ACCOUNT = Account("key", "k")
LIFE = 60.0


def rate(most: int = 1000) -> RateHolding:
    """Of requests a minute."""
    return RateHolding(LIFE, rate=Rate(account=ACCOUNT, named="k", unit=Unit.REQUESTS, most=most))


def budget() -> BudgetHolding:
    """Of one dollar for ever."""
    terms = Budget(account=ACCOUNT, named="k", most=Decimal(1))
    return BudgetHolding(LIFE, budget=terms, began=None, ends=None, era=1, since=0.0)


def ask(holding: RateHolding, now: float, left: int, granted: int = 0) -> None:
    """One question and its answer."""
    holding.wants(now)
    holding.report(now)
    holding.answered(granted, left, None, now)


def test_what_was_granted_for_long_ends_when_it_is_counted_for_less() -> None:
    holding = rate(10_000)
    holding.lacks(1)
    ask(holding, 0.0, 10_000, 10)
    holding.lacks(1)
    ask(holding, 1.0, 9900, 5)
    assert holding.asked_life > LIFE
    assert holding.has(1, 1.0 + 2 * LIFE)
    holding.lacks(100)
    holding.plenty = False
    ask(holding, 2.0, 0)
    assert holding.asked_life == LIFE, "the ledger counts what is free for a life from now on"
    assert holding.has(1, 1.0 + LIFE / 2)
    assert not holding.has(1, 2.0 + LIFE)


def test_a_question_without_a_wish_does_not_lengthen_anything() -> None:
    holding = rate()
    holding.lacks(1)
    ask(holding, 0.0, 100, 10)
    ask(holding, 30.0, 100)
    assert not holding.has(1, LIFE)


@pytest.mark.parametrize("asked", [True, False])
def test_what_is_forgotten_goes_back_and_is_not_asked_for(asked: bool) -> None:
    holding = budget()
    holding.lacks(10)
    holding.wants(0.0)
    if asked:
        holding.forget()
    holding.answered(1000, 500, 1000, 0.0)
    holding.forget()
    assert not holding.lasts(1, 1.0, 0.0)
    assert holding.expire(1.0)
    assert holding.tells(7, 1.0) == [(7, 1000)]
    assert holding.wants(1.0) == (0, 0)


def test_what_calls_cost_beyond_their_reservation_is_free_no_more() -> None:
    holding = budget()
    holding.lacks(100)
    holding.wants(0.0)
    holding.leased(1)
    holding.answered(100, 0, 1000, 0.0)
    holding.take(90, 0.0)
    holding.exceeded(30)
    assert (holding.free, holding.owed, holding.paid) == (0, 20, 10)
    holding.give(25)
    assert (holding.free, holding.owed, holding.paid) == (5, 0, 30)
    assert holding.busy
    assert holding.expire(3.0)
    holding.known(30, 30, granted=False)
    holding.answered(0, 0, 900, 3.0)
    assert not holding.expire(9.0)


@pytest.mark.parametrize(("granted", "free"), [(True, 10), (False, 3)])
def test_what_only_the_ledger_knows_of_is_charged_unless_it_grants_beside_it(granted: bool, free: int) -> None:
    holding = budget()
    holding.leased(1)
    holding.answered(10, 0, 1000, 0.0)
    holding.known(7, 0, granted=granted)
    holding.answered(0, 0, 900, 1.0)
    assert holding.free == free
    holding.leased(2)
    assert (holding.beyond, holding.paid, holding.owed) == (0, 0, 0)


def test_a_question_that_was_not_answered_is_asked_again() -> None:
    holding = budget()
    holding.tells(1, 0.0)
    holding.unanswered()
    assert holding.expire(1.0)
    assert holding.busy
    holding.tells(2, 1.0)
    holding.answered(0, 0, 0, 1.0)
    assert not holding.expire(2.0)
    assert not holding.busy


def test_what_comes_back_when_the_era_is_over_is_told() -> None:
    holding, told = budget(), list[BudgetHolding]()
    holding.give(5)
    holding.returns = told.append
    holding.give(7)
    assert told == [holding]
    assert holding.tells(1, 0.0) == [(1, 12)]
