"""Spend: one row per upstream attempt, daily sums in step with the rows, and both read back.

`daily_spend` is one table for all dimensions (`all`, key, team, user, organization, customer, tag), each broken down by
model group, model and provider: an event touches one row per dimension it has (spend by model, group or provider is the
`all` rows, grouped), a new dimension needs no table, and one statement locks all sums in one order.
`requests` counts attempts; those that are neither successes nor failures (lost ones are failures) were cancelled.
"""

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Literal, NamedTuple

import asyncpg
import msgspec

from ledger.pool import Pool
from ledger.rows import distinct, rows
from ledger.sql import query
from schemas.access import Account
from schemas.usage import Status, UsageEvent

By = Literal["day", "key", "team", "user", "organization", "tag", "group", "model", "provider"]


class Passed(NamedTuple):
    """A budget's soft limit that was passed just now. `spent` and `soft` in US dollars, `period` "" for all time."""

    account: Account
    period: str
    spent: Decimal
    soft: Decimal


async def record(pool: Pool, events: Sequence[UsageEvent], passed: Callable[[Passed], None] | None = None) -> int:
    """Store events and move the sums; how many rows are new or replaced a lost one. Any order, any number of times.

    What payers have spent moves with them, and what was reserved for the calls is given back: `ledger.leases`.
    `passed` is told, once it is committed, of each soft limit that was passed.

    Atomic per batch but for events whose row exists already: those need a second look, in a statement of its own,
    which replaces what is only an estimate. (It must be later: the first may have waited for the lost row's commit,
    which its own snapshot cannot see.) Events must be storable, see `ledger.rows.unstorable`.
    Raises what asyncpg raises; `ledger.pool.AWAY` of it means "later", and nothing is known about the batch then.
    """
    batch = distinct(events)
    if not batch:
        return 0
    statement = query("record")
    async with pool.acquire() as connection:
        stored, alerts = _told(await connection.fetchrow(statement, rows(batch), False))
        real = [event for event in batch if event.status is not Status.LOST]
        if stored < len(batch) and real:
            more, others = _told(await connection.fetchrow(statement, rows(real), True))
            stored, alerts = stored + more, alerts + others
    if passed is not None:
        for alert in alerts:
            passed(alert)
    return stored


class _Alert(msgspec.Struct):
    kind: str
    id: str
    scope: str
    period: str
    spent: Decimal
    soft: Decimal


_ALERTS = msgspec.json.Decoder(list[_Alert])


def _told(row: asyncpg.Record | None) -> tuple[int, list[Passed]]:
    """How many rows were stored, and which soft limits were passed."""
    assert row is not None
    found = [] if row["alerts"] is None else _ALERTS.decode(row["alerts"])
    return row["stored"], [Passed(Account(a.kind, a.id, a.scope), a.period, a.spent, a.soft) for a in found]


class Sum(NamedTuple):
    """One line of a summary. `spend` in US dollars leaves out the `unpriced` attempts, whose price is unknown."""

    value: str
    spend: Decimal
    prompt: int
    completion: int
    cached: int
    cache_write: int
    requests: int
    successes: int
    failures: int
    unpriced: int


async def summary(pool: Pool, *, by: By, since: date | None = None, until: date | None = None) -> list[Sum]:
    """Sums by one dimension over whole UTC days, both ends included; dearest first, days in order.

    An attempt with two tags is in two lines, one without a team in none.
    """
    dimension = "all" if by in ("day", "group", "model", "provider") else by
    return [Sum(*row) for row in await pool.fetch(query("summary"), by, dimension, since, until)]
