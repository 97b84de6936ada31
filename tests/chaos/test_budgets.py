"""A budget of one dollar, 64 clients, three API processes: used up, and never overspent, whatever happens to them."""

import random
from decimal import Decimal
from pathlib import Path

from tests.chaos.tenants import DEAREST, Spent, Tenants, tenants

CLIENTS = 64


async def used_up(t: Tenants, key: str) -> Spent:
    """The audit."""
    spent = await t.settled()
    assert spent.balance == spent.rows == spent.total
    assert Decimal("0.97") <= spent.balance <= 1 + DEAREST, (spent, t.seen)
    assert await t.doors[-1].spend(key) == spent.balance
    return spent


async def test_a_budget_is_used_up_and_not_overspent(tmp_path: Path, amqp_url: str, database_url: str) -> None:
    async with tenants(tmp_path, amqp_url, database_url) as t:
        key = await t.doors[0].key(max_budget=1.0)
        import time
        b=time.time()
        await t.spend_all(key, CLIENTS, random.Random(1))
        print("SPENT", time.time()-b, t.seen, len(t.provider.times))
        print(await used_up(t, key), time.time()-b)
