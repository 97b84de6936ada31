"""Which users a caller sees, and whom an organization's admin may make, invite and remove."""

from collections.abc import Sequence

from api.management.office import forbidden
from api.management.rules import PRIVILEGED
from api.management.users.bodies import NewUser
from ledger import tenants
from ledger.pool import Asked
from ledger.tenants import Row
from schemas.access import Access

_MOST = 10_000


async def sees(on: Asked, access: Access, user_id: str) -> bool:
    """Whether the caller may see what a user is, has and spends: himself, or a member of his organizations."""
    if access.reads_all or user_id == access.caller.user:
        return True
    return bool(access.admin_of_organizations & set(await organizations(on, user_id)))


async def shares_team(on: Asked, access: Access, user_id: str) -> bool:
    """Whether the user is in a team that the caller is the admin of."""
    teams = sorted(access.admin_of_teams)
    return bool(teams) and await tenants.count(on, tenants.TEAM_MEMBERS, {"user_id": user_id, "team_id": teams}) > 0


async def governs(on: Asked, access: Access, row: Row) -> bool:
    """Whether the caller may remove a user: proxy admins anybody, an organization's admin who is only in his own.

    Nobody else touches a privileged user, and nobody himself.
    """
    if access.is_admin:
        return True
    if row["user_role"] in PRIVILEGED or row["user_id"] == access.caller.user:
        return False
    places = set(await organizations(on, row["user_id"]))
    return bool(places) and places <= access.admin_of_organizations


async def organizations(on: Asked, user_id: str) -> Sequence[str]:
    """The organizations that a user is in."""
    found = await tenants.matching(on, tenants.ORGANIZATION_MEMBERS, {"user_id": user_id}, limit=_MOST)
    return [place["organization_id"] for place in found]


def check_new(access: Access, body: NewUser) -> None:
    """Proxy admins make any user, an organization's admin internal users of his organizations."""
    if access.is_admin:
        return
    if not body.organizations or not set(body.organizations) <= access.admin_of_organizations:
        raise forbidden("make users outside the organizations that it is the admin of")
    if body.user_role in PRIVILEGED:
        raise forbidden(f"make a user with the role '{body.user_role}'")
    if body.spend is not None:
        raise forbidden("say what a user has spent")
