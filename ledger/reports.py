"""Sums over what was spent, by any fields: from the daily sums where they can tell, else those of calls, else the rows.

Days are UTC's, both ends included. A statement of a report is planned for its own values, within memory for a million
rows, in a transaction of its own (`reading`).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from ledger.pool import Connection, Pool
from ledger.sight import EVERYTHING, Sight
from ledger.sql import query
from schemas.failures import Kind, Refused

MOST = 100_000
"""No report has more lines."""
_PAYERS = ("key", "user", "team", "organization", "customer", "tag")
_OF_DAYS = frozenset({"day", "group", "model", "provider"})
_OF_ROWS = ("customer", "tag", "deployment")
_CHOICES_OF_ROWS = ("customer", "tag", "request", "http_status")
_SETTINGS = """
SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL work_mem = '64MB'; SET LOCAL jit = off;
SET LOCAL transaction_read_only = on
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What to sum: `by` names fields (day, key, user, team, organization, customer, tag, group, model, provider,
    endpoint, deployment), the others choose rows; None is any.

    `limit` lines, the dearest; without it there are all, or a refusal when they are more than `MOST`.
    """

    by: tuple[str, ...]
    since: date
    until: date
    sight: Sight = EVERYTHING
    key: Sequence[str] | None = None
    user: Sequence[str] | None = None
    team: Sequence[str] | None = None
    organization: Sequence[str] | None = None
    customer: Sequence[str] | None = None
    tag: Sequence[str] | None = None
    group: str | None = None
    model_or_group: str | None = None
    request: str | None = None
    http_status: int | None = None
    limit: int | None = None


class Sum(msgspec.Struct, frozen=True, gc=False):
    """One line. `spend` in US dollars leaves out attempts of unknown price; what was not asked `by` is None.

    `requests` are attempts; those that are neither successes nor failures were cancelled.
    """

    day: date | None
    key: str | None
    user: str | None
    team: str | None
    organization: str | None
    customer: str | None
    tag: str | None
    group: str | None
    model: str | None
    provider: str | None
    endpoint: str | None
    deployment: str | None
    spend: Decimal
    prompt: int
    completion: int
    cached: int
    cache_write: int
    requests: int
    successes: int
    failures: int

    @property
    def tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt + self.completion


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for the statements of one report, which see the same rows."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        await connection.execute(_SETTINGS)
        yield connection


async def sums(on: Connection, question: Question) -> list[Sum]:
    """The lines, dearest first. One without a team (or another payer asked `by`) has "" there, or is missing: the daily
    sums do not know it.

    Raises `Refused` when there are too many, and what asyncpg raises.
    """
    asked = replace(question, limit=MOST + 1) if question.limit is None else question
    found = await _found(on, asked)
    if question.limit is None and len(found) > MOST:
        raise Refused(Kind.INVALID_REQUEST, f"The report has more than {MOST} lines. Ask for fewer days or one payer.")
    return found


async def _found(on: Connection, q: Question) -> list[Sum]:
    if (dimension := _dimension(q)) is not None:
        return await _of_days(on, q, dimension)
    by_rows = any(name in q.by for name in _OF_ROWS) or any(getattr(q, name) is not None for name in _CHOICES_OF_ROWS)
    return await (_of_rows if by_rows else _of_calls)(on, q)


def _dimension(question: Question) -> str | None:
    """Which of the daily sums' dimensions has the answer; None: none has."""
    asked = {name for name in _PAYERS if name in question.by or getattr(question, name) is not None}
    fits = not set(question.by) - _OF_DAYS - asked and question.request is None and question.http_status is None
    if not fits or not question.sight.everything or len(asked) > 1:
        return None
    return next(iter(asked), "all")


async def _of_days(on: Connection, q: Question, dimension: str) -> list[Sum]:
    values = None if dimension == "all" else getattr(q, dimension)
    return await _dearest(on, query("days_grouped"), q, dimension, values, q.group, q.model_or_group)


async def _of_calls(on: Connection, q: Question) -> list[Sum]:
    chosen = (q.key, q.user, q.team, q.organization, q.group, q.model_or_group, *q.sight.parameters())
    return await _dearest(on, query("calls_grouped"), q, *chosen)


async def _of_rows(on: Connection, q: Question) -> list[Sum]:
    statement = query("rows_grouped")
    if "tag" in q.by:
        statement = f"WITH paid AS ({statement}) {query('tags_grouped')}"
    payers = [getattr(q, name) for name in _PAYERS]
    chosen = (q.group, q.model_or_group, q.request, q.http_status, *q.sight.parameters())
    return await _dearest(on, statement, q, *payers, *chosen)


async def _dearest(on: Connection, statement: str, q: Question, *chosen: Any) -> list[Sum]:
    given = (q.by, q.since, q.until, *chosen, q.limit)
    order = "ORDER BY spend DESC, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"
    return [Sum(*row) for row in await on.fetch(f"{statement} {order} LIMIT ${len(given)}", *given)]
