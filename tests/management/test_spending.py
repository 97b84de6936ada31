"""`spend` as it is given: it counts against the window that is open, though nobody has called yet."""

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from api.hold import Bill
from api.purse import Purse
from ledger import tenants
from ledger.pool import Pool
from schemas.access import Account, Budget, Terms
from schemas.failures import Refused
from tests.support.keys import KeyBureau, add, key_bureau


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[KeyBureau]:
    async with key_bureau(pool) as found:
        found.now = await pool.fetchval("SELECT now()")
        yield found


async def current_cost(pool: Pool, key: str, period: str) -> str:
    """What the first call of a key with this budget of five dollars is told."""
    purse = Purse(pool, "api", asyncio.get_running_loop().time, time.time, lambda _: None)
    purse.start()
    budget = Budget(account=Account("key", key), named="k", period=period, most=Decimal(5))
    try:
        await purse.reserve(Bill((Terms(budgets=(budget,)),), 10**9, 1, time.time() + 5))
    except Refused as refused:
        return refused.failure.message.partition("Current cost: ")[2].partition(",")[0]
    finally:
        await purse.close()
    return "it may"


@pytest.mark.parametrize("period", [{}, {"budget_duration": "1d"}, {"budget_duration": "30d"}])
async def test_a_new_key_has_spent_what_is_said(office: KeyBureau, period: Any) -> None:
    made = await office.post("/key/generate", max_budget=5, spend=4.5, **period)
    assert made["spend"] == 4.5
    info = (await office.get("/key/info", key=made["key"]))["info"]
    assert (info["spend"], info["total_spend"]) == (4.5, 4.5)
    assert await current_cost(office.pool, made["token"], period.get("budget_duration", "")) == "4.5"


async def test_the_period_may_be_that_of_a_linked_budget(office: KeyBureau) -> None:
    await add(office.pool, tenants.BUDGETS, budget_id="weekly", max_budget=5, budget_duration="7d")
    made = await office.post("/key/generate", budget_id="weekly", spend=4.5)
    assert await current_cost(office.pool, made["token"], "7d") == "4.5"


async def test_an_update_before_the_first_call_counts_too(office: KeyBureau) -> None:
    made = await office.post("/key/generate", max_budget=5, budget_duration="1d")
    assert (await office.post("/key/update", key=made["key"], spend=4.5))["spend"] == 4.5
    assert await current_cost(office.pool, made["token"], "1d") == "4.5"
