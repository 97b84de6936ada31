"""The audit log: one row per management call, in the transaction of its change; nothing is ever changed or removed.

What is recorded is noted as changed, too: see `ledger.changes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from ledger.pool import Connection, Pool
from ledger.sql import query


@dataclass(frozen=True, slots=True)
class Entry:
    """Who did what to which entity. `before` and `after` are its fields; whoever records leaves secrets out."""

    actor: str  # a user's id
    actor_key: str  # the key's id
    action: str  # created, updated, deleted, blocked, unblocked, rotated, …
    entity: str  # key, team, user, organization, customer, budget, tag, model, configuration
    id: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Which:
    """Which entries to list; None means any. The newest `limit` after `offset` newer ones are found."""

    entity: str | None = None
    id: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100
    offset: int = 0


async def record(on: Connection, entry: Entry) -> None:
    """Write an entry."""
    await on.execute(
        query("audit_record"),
        entry.actor,
        entry.actor_key,
        entry.action,
        entry.entity,
        entry.id,
        _json(entry.before),
        _json(entry.after),
    )


async def listing(pool: Pool, which: Which) -> list[dict[str, Any]]:
    """Entries, the newest first: id, at, actor, actor_key, action, entity, entity_id, before, after."""
    found = await pool.fetch(
        query("audit_listing"),
        which.entity,
        which.id,
        which.actor,
        which.action,
        which.since,
        which.until,
        which.limit,
        which.offset,
    )
    return [{**row, "before": _value(row["before"]), "after": _value(row["after"])} for row in map(dict, found)]


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value, enc_hook=str).decode()


def _value(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
