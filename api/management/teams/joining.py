"""Who joins a team, given a place and a budget in it, and who leaves it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.management.attachments import remove_keys
from api.management.office import Change, forbidden
from api.management.people import resolved
from api.management.rules import UserRules
from api.management.teams.bodies import Member
from api.management.teams.budgets import for_new_member
from ledger import tenants
from ledger.tenants import Row
from schemas.access import Access


@dataclass(frozen=True, slots=True)
class Joined:
    """Whoever joined: rows of `users` and of `team_members`, in the same order."""

    users: list[Row]
    members: list[Row]


async def join(
    change: Change, team: Row, people: Sequence[Member], terms: Mapping[str, Any], rules: UserRules
) -> Joined:
    """Put people into a team with these terms (columns of a budget). Who is in it already is left alone.

    Raises `Refused` when somebody is ambiguous, or may not be made by the caller.
    """
    joined = Joined([], [])
    for person in people:
        user = await resolved(change, person, rules)
        member = await place(change, team, user["user_id"], person.role, terms)
        if member is not None:
            joined.users.append(user)
            joined.members.append(member)
    return joined


async def place(change: Change, team: Row, user_id: str, role: str, terms: Mapping[str, Any]) -> Row | None:
    """A user's place in a team; None when he has one already."""
    if await tenants.find(change.connection, tenants.TEAM_MEMBERS, team["team_id"], user_id) is not None:
        return None
    values = {"team_id": team["team_id"], "user_id": user_id, "role": role}
    values["budget_id"] = await for_new_member(change, team, terms)
    row = await tenants.insert(change.connection, tenants.TEAM_MEMBERS, values)
    change.touches("user", user_id)
    await change.record("member_added", "team", team["team_id"], None, row)
    return row


async def leave(change: Change, member: Row) -> None:
    """A member (a row of `team_members`) is none any more; his keys of the team go too."""
    team_id, user_id = member["team_id"], member["user_id"]
    await tenants.remove(change.connection, tenants.TEAM_MEMBERS, team_id, user_id)
    await remove_keys(change, {"team_id": team_id, "user_id": user_id})
    change.touches("user", user_id)
    await change.record("member_deleted", "team", team_id, member, None)


def check_self(access: Access, user_id: str, role: str | None, limits: bool, *, admin: bool = False) -> None:
    """Nobody but a proxy admin gives himself another budget, or a role that he does not have (`admin`: has)."""
    if access.is_admin or user_id != access.caller.user:
        return
    if limits or (role == "admin" and not admin):
        raise forbidden("change its own user's role or limits")
