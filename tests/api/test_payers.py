"""Customers and tags pay beside the key, where anything is known of them; where nothing is, nothing is asked."""

from decimal import Decimal

import pytest

from api.payers import Payers, refuse_blocked
from ledger.pool import Pool
from schemas.access import Account
from schemas.failures import Kind, Refused
from schemas.usage import Caller

EVE, TAGGED = Caller(end_user="eve"), Caller(tags=("x", "y"))


class Clock:
    """Set by a test."""

    at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    """Of the payers."""
    return Clock()


async def budget(pool: Pool, name: str, most: int) -> None:
    """A budget."""
    await pool.execute("INSERT INTO budgets (budget_id, max_budget) VALUES ($1, $2)", name, most)


async def test_without_customers_and_tags_nothing_is_asked_for_a_minute(pool: Pool, clock: Clock) -> None:
    payers = Payers(pool, clock)
    assert payers.known(Caller()) == ()
    assert payers.known(EVE) is None
    assert list(await payers.find(EVE)) == []
    for n in range(3):
        assert list(payers.known(Caller(end_user=f"another{n}")) or ()) == []
        assert payers.known(Caller(end_user=f"another{n}")) is not None
    clock.at += 61
    assert payers.known(EVE) is None


async def test_a_customers_budget_is_an_account_of_its_own(pool: Pool, clock: Clock) -> None:
    await budget(pool, "b", 5)
    await pool.execute("INSERT INTO customers (user_id, budget_id, models) VALUES ('eve', 'b', '{m}')")
    payers = Payers(pool, clock)
    (payer,) = await payers.find(EVE)
    (limit,) = payer.terms.budgets
    assert (limit.account, limit.most, payer.scope.models) == (Account("customer", "eve"), Decimal(5), ("m",))
    assert list(await payers.find(Caller(end_user="bob"))) == []
    assert payers.known(EVE) == [payer]
    await pool.execute("UPDATE budgets SET max_budget = 6")
    payers.changed(["budget:b"])
    assert payers.known(EVE) is None
    (payer,) = await payers.find(EVE)
    assert payer.terms.budgets[0].most == 6


async def test_a_default_budget_is_everybodys_own(pool: Pool, clock: Clock) -> None:
    await budget(pool, "default", 1)
    await budget(pool, "b", 5)
    await pool.execute("INSERT INTO customers (user_id, budget_id) VALUES ('eve', 'b')")
    payers = Payers(pool, clock, "default")
    for name, most in (("eve", 5), ("bob", 1), ("bill", 1)):
        (payer,) = await payers.find(Caller(end_user=name))
        assert (payer.terms.budgets[0].account.id, payer.terms.budgets[0].most) == (name, most)


async def test_tags_with_a_budget_pay(pool: Pool, clock: Clock) -> None:
    await budget(pool, "b", 5)
    await pool.execute("INSERT INTO tags (tag_name, budget_id) VALUES ('x', 'b'), ('y', NULL)")
    (payer,) = await Payers(pool, clock).find(TAGGED)
    assert payer.terms.budgets[0].account == Account("tag", "x")


async def test_a_blocked_customer_is_refused(pool: Pool, clock: Clock) -> None:
    await pool.execute("INSERT INTO customers (user_id, blocked) VALUES ('eve', true)")
    found = await Payers(pool, clock).find(EVE)
    with pytest.raises(Refused) as refused:
        refuse_blocked(found)
    assert refused.value.failure.kind is Kind.KEY_BLOCKED


async def test_an_id_that_is_too_long_is_nobodys(pool: Pool, clock: Clock) -> None:
    await pool.execute("INSERT INTO customers (user_id, blocked) VALUES ('eve', true)")
    assert list(await Payers(pool, clock).find(Caller(end_user="e" * 201))) == []
