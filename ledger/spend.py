"""Spend: one row per upstream attempt, daily sums in step with the rows, and both read back.

`daily_spend` is one table for all dimensions (`all`, key, team, user, organization, customer, tag), each broken down by
model group, model and provider: an event touches one row per dimension it has (spend by model, group or provider is the
`all` rows, grouped), a new dimension needs no table, and one statement locks all sums in one order.
`requests` counts attempts; those that are neither successes nor failures (lost ones are failures) were cancelled.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

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


@dataclass(frozen=True, slots=True)
class Which:
    """Which rows to list; None means any. `since` is included, `until` is not; the newest `limit` rows are found."""

    key_hash: str | None = None
    user: str | None = None
    request: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 10_000


MOST_ROWS = 100_000
"""No listing is longer: a month's rows in one answer would end the process."""


async def listing(pool: Pool, which: Which) -> list[dict[str, Any]]:
    """Rows as `GET /spend/logs` shows them, newest last: LiteLLM's field names and our own.

    JSON-ready: times as ISO 8601 in UTC, `spend` a float (null: unknown price), `cost` the exact decimal as a string.
    """
    limit = max(1, min(which.limit, MOST_ROWS))
    found = await pool.fetch(
        query("listing"), which.key_hash, which.user, which.request, which.since, which.until, limit
    )
    return await asyncio.to_thread(_all_shown, found)  # thousands of rows, and calls are waiting for the loop


def _all_shown(rows: list[asyncpg.Record]) -> list[dict[str, Any]]:
    return [_shown(row) for row in reversed(rows)]


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


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    metadata = msgspec.json.decode(row["metadata"])
    duration = row["ended"] - row["started"]
    first_byte = row["first_byte"]
    return {
        "request_id": row["request"],
        "call_type": _CALL_TYPES.get(row["endpoint"], row["endpoint"]),
        "api_key": row["key_hash"],
        "spend": None if row["cost"] is None else float(row["cost"]),
        "total_tokens": row["prompt"] + row["completion"],
        "prompt_tokens": row["prompt"],
        "completion_tokens": row["completion"],
        "startTime": _iso(row["started"]),
        "endTime": _iso(row["ended"]),
        "completionStartTime": None if first_byte is None else _iso(first_byte),
        "request_duration_ms": round(duration.total_seconds() * 1000),
        "model": row["model"],
        "model_id": row["deployment"],
        "model_group": row["model_group"],
        "custom_llm_provider": row["provider"],
        "api_base": "",
        "user": row["user_id"],
        "metadata": {**metadata, **_described(row)},
        "cache_hit": "",
        "cache_key": "",
        "request_tags": row["tags"],
        "team_id": row["team"] or None,
        "organization_id": row["organization"] or None,
        "end_user": row["end_user"],
        "requester_ip_address": None,
        "session_id": metadata.get("session_id"),
        "status": "success" if row["status"] == Status.SUCCESS else "failure",
        "litellm_call_id": row["request"],
        "attempt": row["attempt"],
        "outcome": row["status"],
        "http_status": row["http_status"],
        "failure": row["failure"],
        "stream": row["stream"],
        "estimated": row["estimated"],
        "lost": row["lost"],
        "cost": None if row["cost"] is None else format(row["cost"], "f"),
        "worker": row["worker"],
    }


def _described(row: asyncpg.Record) -> dict[str, Any]:
    """What LiteLLM's clients look for in `metadata`."""
    return {
        "user_api_key": row["key_hash"],
        "user_api_key_alias": row["key_alias"],
        "user_api_key_user_id": row["user_id"],
        "user_api_key_team_id": row["team"],
        "user_api_key_org_id": row["organization"],
        "status": "success" if row["status"] == Status.SUCCESS else "failure",
        "usage_object": {
            "prompt_tokens": row["prompt"],
            "completion_tokens": row["completion"],
            "total_tokens": row["prompt"] + row["completion"],
            "prompt_tokens_details": {
                "cached_tokens": row["cached"],
                "cache_creation_tokens": row["cache_write"],
                "audio_tokens": row["audio_in"],
            },
            "completion_tokens_details": {"reasoning_tokens": row["reasoning"], "audio_tokens": row["audio_out"]},
        },
    }


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


_CALL_TYPES = {
    "chat/completions": "acompletion",
    "completions": "atext_completion",
    "embeddings": "aembedding",
}
