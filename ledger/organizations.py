"""Organizations found by what is known of them, and their members. Single rows are `ledger/tenants.py`'s."""

from collections.abc import Sequence

from ledger.pages import containing
from ledger.pool import Asked, Connection
from ledger.sql import query
from ledger.tenants import Row

_MOST_MEMBERS = 100_000


async def search(on: Asked, ids: Sequence[str] | None, alias: str | None, *, limit: int, offset: int = 0) -> list[str]:
    """The ids of organizations, the oldest first; None is any. `alias` is a part of it, in any case."""
    wanted = None if ids is None else list(ids)
    found = await on.fetch(query("organizations_found"), wanted, containing(alias), limit, offset)
    return [row["organization_id"] for row in found]


async def members(on: Asked, organizations: Sequence[str], user: str | None = None) -> list[Row]:
    """Memberships by organization and time, with the user's `user_email`, `user_alias` and `global_role`."""
    found = await on.fetch(query("organization_members_of"), list(organizations), user, _MOST_MEMBERS)
    return [dict(row) for row in found]


async def remove_members(on: Connection, organization: str) -> list[str]:
    """Nobody is in the organization any more; the ids of those who were."""
    return [row["user_id"] for row in await on.fetch(query("organization_members_remove"), organization)]
