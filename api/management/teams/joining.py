"""Who joins a team: found by id or email, made when there is nobody, given a budget in it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.management.office import Change, forbidden
from api.management.teams.bodies import Member, OneUser
from api.management.teams.budgets import for_new_member
from api.management.rules import UserRules
from api.management.people import recorded
from ledger import tenants, users
from ledger.tenants import Row
from schemas.access import Access
from schemas.failures import Kind, Refused


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


async def resolved(change: Change, person: OneUser, rules: UserRules) -> Row:
    """The user who is meant, locked; a new one when there is none."""
    user_id = person.user_id
    if person.user_email is not None:
        await users.hold_email(change.connection, person.user_email)
        user_id = meant(await users.with_email(change.connection, person.user_email), person)
    found = None if user_id is None else await tenants.find(change.connection, tenants.USERS, user_id, lock=True)
    if found is not None:
        return found
    if user_id is not None and not change.access.is_admin:
        raise forbidden(f"make the user '{user_id}': name new members by email")
    values = {"user_id": user_id or str(uuid.uuid4()), "user_email": person.user_email}
    return await made(change, values, rules)


def meant(with_email: Sequence[str], person: OneUser) -> str | None:
    """The id of the user who is meant, given who has the email. Raises `Refused` when that is not clear."""
    if len(with_email) > 1:
        raise Refused(Kind.INVALID_REQUEST, "Several users have this email: name one by user_id.", param="user_email")
    if with_email and person.user_id not in (None, with_email[0]):
        raise Refused(Kind.INVALID_REQUEST, "user_id and user_email are different users.", param="user_email")
    return with_email[0] if with_email else person.user_id


async def check_email(change: Change, email: str) -> None:
    """Nobody has this email yet, and nobody gets it before this transaction ends. Raises `Refused`."""
    await users.hold_email(change.connection, email)
    if await users.with_email(change.connection, email):
        raise Refused(Kind.INVALID_REQUEST, "There is a user with this email.", param="user_email")


async def made(change: Change, values: Mapping[str, Any], rules: UserRules) -> Row:
    """A new user with what the rules add."""
    who = change.access.caller.user
    completed = {**rules.completed(values, change.access), "created_by": who, "updated_by": who}
    row = await tenants.insert(change.connection, tenants.USERS, completed)
    await change.record("created", "user", row["user_id"], None, recorded(row))
    return row


def check_self(access: Access, user_id: str, role: str | None, limits: bool, *, admin: bool = False) -> None:
    """Nobody but a proxy admin gives himself another budget, or a role that he does not have (`admin`: has)."""
    if access.is_admin or user_id != access.caller.user:
        return
    if limits or (role == "admin" and not admin):
        raise forbidden("change its own user's role or limits")
