"""What payers have spent: all in all, and in the present window of a budget."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from ledger.pool import Asked
from ledger.sql import query
from schemas.access import Account


class Spent(NamedTuple):
    """US dollars: in the present window of the budget that was asked for (else `total`), and ever."""

    window: Decimal
    total: Decimal


async def spent(on: Asked, accounts: Sequence[tuple[Account, str]]) -> dict[Account, Spent]:
    """What these have spent. Each comes with the period of its budget ("" or None: all time)."""
    kinds, ids, scopes = ([account[i] for account, _ in accounts] for i in range(3))
    periods = [period or "" for _, period in accounts]
    rows = await on.fetch(query("spent"), kinds, ids, scopes, periods)
    return {
        Account(row["kind"], row["id"], row["scope"]): Spent(row["window_spend"], row["total_spend"]) for row in rows
    }
