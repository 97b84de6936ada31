"""A budget's window begins with what its account has spent in it before anybody asked for the budget."""

import time
from decimal import Decimal

from ledger.leases import NANO
from ledger.pool import Pool
from ledger.spend import record
from schemas.usage import Caller
from tests.ledger.test_leases import ask, call


async def test_calls_that_the_budget_was_not_asked_for_count_in_every_window(pool: Pool) -> None:
    """Those of keys of a user's teams, and those from before there was a budget again."""
    now = time.time()
    user = {"kind": "user", "id": "u", "period": "1h", "need": 1, "want": 1}
    first = await ask(pool, "api", **user, began=now - 3610, ends=now - 10)
    caller = Caller(key_hash="k", user="u", team="t")
    await record(pool, [call("a", Decimal("0.25"), caller=caller)])
    second = await ask(pool, "api", **user, era=1, began=now - 10, ends=now + 3590)
    await record(pool, [call("b", Decimal("0.125"), caller=caller)])
    third = await ask(pool, "api", **user, era=1, serial=2, began=now - 10, ends=now + 3590)
    assert [one.spendable for one in (first, second, third)] == [NANO, NANO * 3 // 4, NANO * 5 // 8]
