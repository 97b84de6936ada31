"""What is said of budgets and limits: whose they are, in LiteLLM's words, and whether it is worth to come again."""

from collections.abc import Mapping
from decimal import Decimal

import pytest

from api import errors, refusals
from api.hold import Bill
from ledger.leases import NANO
from ledger.terms import Entities, Rules, all_terms, model_terms
from schemas.access import Account, Budget, Rate, Unit
from schemas.failures import Failure, Kind

NONE: dict[str, object] = {}
KEY = {"key_id": "a" * 64, "key_alias": "mine", "key_name": "sk-...abcd"}
MANY = [{"budget_duration": "1d", "max_budget": 1}]


def entities(**given: Mapping[str, object]) -> Entities:
    """The rows behind a key."""
    return Entities(*(given.get(name, NONE) for name in Entities._fields))


CALL = Bill((), NANO, 1, 0.0)


def said(budget: Budget, bill: Bill = CALL, left: int = -NANO // 2) -> str:
    """Of a budget of which so much is left."""
    return refusals.budget_exceeded(budget, left, bill, 422).failure.message


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            {"key": KEY | {"max_budget": Decimal(1), "budget_duration": "1d"}},
            "Budget has been exceeded! Key=mine (sk-...abcd) Current cost: 1.5, Max budget: 1",
        ),
        ({"key": KEY | {"budget_limits": MANY}}, "ExceededBudget: Key over 1d budget. Spend=$1.5, Limit=$1"),
        (
            {"team": {"team_id": "t", "max_budget": Decimal(1)}},
            "Budget has been exceeded! Team=t Current cost: 1.5, Max budget: 1",
        ),
        (
            {"team": {"team_id": "t", "extra": {"budget_limits": MANY}}},
            "ExceededBudget: Team=t over 1d budget. Spend=$1.5, Limit=$1",
        ),
        (
            {"user": {"user_id": "u", "max_budget": Decimal(1)}},
            "ExceededBudget: User=u over budget. Spend=1.5, Budget=1",
        ),
    ],
)
def test_a_budget_that_is_spent_is_named_as_in_litellm(rows: dict[str, Mapping[str, object]], words: str) -> None:
    (budget,) = all_terms(entities(**rows), Rules()).budgets
    assert said(budget) == words


def test_a_models_budget_and_limit_name_the_key_as_its_owner_knows_it() -> None:
    key = KEY | {"model_max_budget": {"m": {"max_budget": 1}}, "metadata": {"model_rpm_limit": {"m": 1}}}
    spend, calls = model_terms(entities(key=key))
    words = said(spend["m"].budgets[0])
    assert words == "Key=mine (sk-...abcd), exceeded budget for model=m. Current cost: 1.5, Max budget: 1"
    limit = refusals.key_rate_limit(calls["m"].rates[0], 1, 3.0, 0.0).failure.message
    assert "Key=mine (sk-...abcd), model=m" in limit
    assert KEY["key_id"] not in words + limit


ONE = Budget(account=Account("key", "k"), named="Key=k", most=Decimal(1))


def test_what_is_left_is_said_and_what_may_fit() -> None:
    assert said(ONE, Bill((), 2 * NANO, 1, 0.0), NANO // 2).endswith(
        "This call may cost up to 2 and 0.5 is left: a smaller max_tokens may fit."
    )
    guessed = said(ONE, Bill((), 2 * NANO, 1, 0.0, supposed=NANO), NANO // 2)
    assert guessed.endswith("The prompt alone may cost up to 1 and 0.5 is left.")


def told(failure: Failure) -> dict[bytes, bytes]:
    """The headers that say when to come again."""
    return {name: value for name, value in errors.headers(failure) if name in (b"retry-after", b"x-should-retry")}


def test_what_never_fits_is_not_worth_another_try() -> None:
    rate = Rate(account=ONE.account, named="k", unit=Unit.TOKENS, most=100)
    assert told(refusals.key_rate_limit(rate, 101, 60.0, 0.0).failure) == {b"x-should-retry": b"false"}
    assert told(refusals.key_rate_limit(rate, 100, 3.0, 0.0).failure) == {b"retry-after": b"3"}
    assert told(refusals.budget_exceeded(ONE, 0, Bill((), 1, 1, 0.0), 429).failure) == {b"x-should-retry": b"false"}
    assert told(refusals.budget_reserved(ONE).failure) == {b"retry-after": b"2"}
    assert told(Failure(Kind.DEADLINE, "")) == {}
