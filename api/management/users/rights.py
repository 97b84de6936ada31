"""Whom an organization's admin may make, invite and remove, and whom a team's admin may invite."""

from collections.abc import Iterable

from api.management.office import forbidden
from api.management.rules import PRIVILEGED
from api.management.sight import organizations, shares_team, teams
from api.management.users.bodies import NewUser
from ledger import keys, tenants
from ledger.pool import Asked
from ledger.tenants import Row
from schemas.access import Access


async def governs(on: Asked, access: Access, row: Row) -> bool:
    """Whether the caller may remove a user: proxy admins anybody; an organization's admin who is only in his own.

    So must be all teams of the user. Nobody else touches a privileged user, and nobody himself.
    """
    if access.is_admin:
        return True
    if row["user_role"] in PRIVILEGED or row["user_id"] == access.caller.user:
        return False
    places = set(await organizations(on, row["user_id"]))
    return bool(places) and await _within(on, access, row["user_id"], places)


async def leads(on: Asked, access: Access, row: Row) -> bool:
    """Whether a user is in the caller's charge as a teams' admin: made by him, and in no team or organization but his.

    Whoever may do as a user does has all that the user has, elsewhere too.
    """
    me, user_id = access.caller.user, row["user_id"]
    if not me or row["created_by"] != me or not await shares_team(on, access, user_id):
        return False
    above = await keys.outranks(on, user_id, sorted(access.admin_of_teams))
    return not above and await _within(on, access, user_id, await organizations(on, user_id))


async def _within(on: Asked, access: Access, user_id: str, places: Iterable[str]) -> bool:
    """Whether these organizations, and all teams of the user, are the caller's."""
    mine = access.admin_of_organizations
    if not mine.issuperset(places):
        return False
    wanted = list(await teams(on, user_id))
    found = await tenants.matching(on, tenants.TEAMS, {"team_id": wanted}, limit=len(wanted)) if wanted else []
    return all(access.manages_team(team["team_id"], team["organization_id"]) for team in found)


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
