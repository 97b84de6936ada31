"""Customers and tags pay beside the key, where anything is known of them; where nothing is, nothing is asked."""

import asyncio
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


async def test_pushed_out_of_memory_is_not_unknown(pool: Pool, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.payers._MOST", 2)
    await budget(pool, "b", 5)
    await pool.execute("INSERT INTO customers (user_id, budget_id) VALUES ('eve', 'b')")
    await pool.execute("INSERT INTO tags (tag_name, budget_id) VALUES ('x', 'b'), ('y', 'b'), ('z', 'b')")
    everybody = Caller(end_user="eve", tags=("x", "y", "z"))
    payers = Payers(pool, clock)
    assert len(await payers.find(everybody)) == 4


async def test_a_change_during_a_lookup_is_not_lost(pool: Pool, clock: Clock) -> None:
    await pool.execute("INSERT INTO customers (user_id) VALUES ('eve')")
    payers = Payers(pool, clock)
    await payers.find(EVE)
    payers.changed(["customer:eve"])
    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("LOCK TABLE customers IN ACCESS EXCLUSIVE MODE")
            looking = asyncio.create_task(payers.find(EVE))
            for _ in range(10):
                await asyncio.sleep(0)
            await connection.execute("UPDATE customers SET blocked = true")
        payers.changed(["customer:eve"])
    (payer,) = await looking
    assert payer.blocked


async def test_a_keys_budget_of_customers_goes_before_the_default(pool: Pool, clock: Clock) -> None:
    await budget(pool, "small", 1)
    await budget(pool, "default", 3)
    for default, expected in (("default", [1, 3, 3]), (None, [1])):
        payers = Payers(pool, clock, default)
        found = [payer for name in ("small", "gone", "") for payer in await payers.find(EVE, name)]
        assert [limit.most for payer in found for limit in payer.terms.budgets] == expected
        known = [payer for name in ("small", "gone", "") for payer in payers.known(EVE, name) or ()]
        assert known == found, "each is remembered apart"
