"""The keys of a team or a user, in the answers about these and in their end."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.management.keys.shown import shown
from api.management.metadata import recorded
from api.management.office import Change, Office
from ledger import keys, tenants
from ledger.pool import Asked

MOST = 1000
"""Keys in one answer."""
_AT_ONCE = 10_000


async def shown_keys(
    on: Asked, office: Office, where: Mapping[str, Any], aliases: Mapping[str, str | None], limit: int = MOST
) -> list[dict[str, Any]]:
    """Keys with these values, the newest first; never a secret. `aliases`: of teams, by id."""
    rows = await tenants.matching(on, tenants.KEYS, where, order=["-created_at"], limit=limit)
    return [{**key, "team_alias": aliases.get(key["team_id"] or "")} for key in await shown(on, office, rows)]


async def remove_keys(change: Change, where: Mapping[str, Any]) -> Sequence[str]:
    """Remove all keys with these values; their ids."""
    removed: list[str] = []
    while rows := await tenants.matching(change.connection, tenants.KEYS, where, limit=_AT_ONCE):
        ids = [row["key_id"] for row in rows]
        await keys.drop(change.connection, ids)
        for row in rows:
            await change.record("deleted", "key", row["key_id"], recorded(row), None)
        removed += ids
    return removed
