"""Whose organization it is: who may see it, and who decides who is in it. Everything else is a proxy admin's."""

from api.management.office import forbidden
from api.management.rules import PRIVILEGED
from api.management.sight import organizations
from ledger.pool import Asked
from ledger.tenants import Row
from schemas.access import Access


def own(access: Access) -> frozenset[str]:
    """The organizations that the caller is in."""
    mine = access.organizations | access.admin_of_organizations
    return mine | {access.caller.organization} if access.caller.organization else mine


def check_reads(access: Access, organization: str) -> None:
    """Raises `Refused(FORBIDDEN)` unless the caller is in the organization, or sees everything."""
    if not access.reads_all and organization not in own(access):
        raise forbidden(f"see the organization '{organization[:200]}'")


def check_manages(access: Access, organization: str) -> None:
    """Raises `Refused(FORBIDDEN)` unless the caller is the organization's admin, or may do everything."""
    if not access.is_admin and organization not in access.admin_of_organizations:
        raise forbidden(f"change who is in the organization '{organization}'")


def check_member(access: Access, role: str | None) -> None:
    """Only a proxy admin decides about the membership of somebody whose own `role` is above organizations."""
    if not access.is_admin and role in PRIVILEGED:
        raise forbidden(f"change the membership of a {role}")


def check_own_budget(access: Access, user_id: str) -> None:
    """Nobody but a proxy admin changes what he himself may spend in an organization."""
    if not access.is_admin and user_id == access.caller.user:
        raise forbidden("change its own user's budget")


async def check_taken(on: Asked, access: Access, user: Row) -> None:
    """Only a proxy admin puts anybody into an organization, its admin who is in one of his, or was made by him.

    Whoever is in his organization an admin sees whole, and may remove.
    """
    me = access.caller.user
    if access.is_admin or (me and me in (user["created_by"], user["user_id"])):
        return
    if access.admin_of_organizations.isdisjoint(await organizations(on, user["user_id"])):
        raise forbidden(f"put the user '{user['user_id']}' into an organization: he is in none of its own")
