"""The audit log as it is leafed through: one page of the entries that match, how many there are, and one by its id."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from ledger.pool import Asked
from ledger.sql import query

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries; None is any. `entities`: one of these. Both times are included."""

    entities: Sequence[str] | None = None
    id: str | None = None
    actor: str | None = None
    actor_key: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def parameters(self) -> tuple[Any, ...]:
        """In the order of the statements."""
        entities = None if self.entities is None else list(self.entities)
        return (entities, self.id, self.actor, self.actor_key, self.action, self.since, self.until)


async def page(on: Asked, which: Filter, limit: int, offset: int, *, oldest_first: bool) -> list[dict[str, Any]]:
    """Entries: id, at, actor, actor_key, action, entity, entity_id, before, after."""
    name = "audit_oldest_first" if oldest_first else "audit_newest_first"
    return [_entry(row) for row in await on.fetch(query(name), *which.parameters, limit, offset)]


async def count(on: Asked, which: Filter) -> int:
    """How many entries match."""
    found: int = await on.fetchval(query("audit_count"), *which.parameters)
    return found


async def entry(on: Asked, id: int) -> dict[str, Any] | None:
    """One entry, as in `page`."""
    row = await on.fetchrow(query("audit_entry"), id) if 0 < id <= _LARGEST else None
    return None if row is None else _entry(row)


def _entry(row: Any) -> dict[str, Any]:
    values = {name: None if row[name] is None else msgspec.json.decode(row[name]) for name in ("before", "after")}
    return {**dict(row), **values}
