"""The audit log: one row per management call, in the transaction of its change; nothing is ever changed or removed.

What is recorded is noted as changed, too: see `ledger.changes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ledger.pool import Connection
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


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value, enc_hook=str).decode()
