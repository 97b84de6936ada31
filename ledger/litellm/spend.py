"""What payers have spent, carried over: all in all, and in the present window of their budgets.

`imported_spend` keeps how much of each sum came from there, so that a second import adds only what has come since.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from ledger.litellm.values import Calendar
from ledger.pool import Connection
from ledger.sql import query
from schemas.access import Account

_AT_ONCE = 1000


class Spending(NamedTuple):
    """US dollars of one payer. `period` is that of its budget, "" for all time, None without a budget.

    `ends` is when LiteLLM would have begun a new window: what was spent in one that has ended counts in total only.
    """

    account: Account
    total: Decimal
    spent: Decimal
    period: str | None = None
    ends: datetime | None = None


async def carry_spend(on: Connection, spendings: Sequence[Spending], calendar: Calendar) -> None:
    """Move totals and balances. In the order in which accounting locks them: totals first, each sorted."""
    ordered = sorted(spendings)
    totals = [_named(one) | {"spend": one.total} for one in ordered if one.total]
    balances = [_balance(one, one.period, calendar) for one in ordered if one.period is not None]
    await _send(on, "litellm_totals", totals)
    await _send(on, "litellm_balances", balances)


def _balance(one: Spending, period: str, calendar: Calendar) -> dict[str, Any]:
    began, ends = calendar.window(period, calendar.now)
    over = bool(period) and one.ends is not None and one.ends <= calendar.now
    spend = Decimal(0) if over else one.spent
    return _named(one) | {"period": period, "began": began, "ends": ends, "spend": spend}


def _named(one: Spending) -> dict[str, Any]:
    return one.account._asdict()


async def _send(on: Connection, name: str, rows: Sequence[dict[str, Any]]) -> None:
    for first in range(0, len(rows), _AT_ONCE):
        await on.execute(query(name), _ENCODER.encode(rows[first : first + _AT_ONCE]).decode())


_ENCODER = msgspec.json.Encoder(decimal_format="number")
