"""Which users a caller may see, and where they are."""

from collections.abc import Sequence

from ledger import tenants
from ledger.pool import Asked
from schemas.access import Access

_MOST = 10_000


async def sees(on: Asked, access: Access, user_id: str) -> bool:
    """Whether the caller may see what a user is, has and spends: himself, or a member of his organizations."""
    if access.reads_all or user_id == access.caller.user:
        return True
    if not access.admin_of_organizations:
        return False
    return bool(access.admin_of_organizations & set(await organizations(on, user_id)))


async def shares_team(on: Asked, access: Access, user_id: str) -> bool:
    """Whether the user is in a team that the caller is the admin of."""
    return bool(access.admin_of_teams) and not access.admin_of_teams.isdisjoint(await teams(on, user_id))


async def organizations(on: Asked, user_id: str) -> Sequence[str]:
    """The organizations that a user is in."""
    found = await tenants.matching(on, tenants.ORGANIZATION_MEMBERS, {"user_id": user_id}, limit=_MOST)
    return [place["organization_id"] for place in found]


async def teams(on: Asked, user_id: str) -> Sequence[str]:
    """The teams that a user is in."""
    found = await tenants.matching(on, tenants.TEAM_MEMBERS, {"user_id": user_id}, limit=_MOST)
    return [place["team_id"] for place in found]
