"""`/team/member_*`: who is in a team, as what, and with which budget."""

from typing import Any

from fastapi import APIRouter, Response

from api.management import amounts
from api.management.metadata import OWNED
from api.management.office import Caller, Change, Desk, Office, answer, forbidden
from api.management.people import meant
from api.management.profiles import shown_to
from api.management.rules import ForUsers, UserRules
from api.management.teams.bodies import RAISED, ManyMembers, Member, MemberUpdate, NewMembers, OneMember
from api.management.teams.budgets import set_own
from api.management.teams.joining import Joined, check_self, join, leave
from api.management.teams.rights import absent_team, managed
from api.management.teams.shown import memberships, one
from ledger import tenants
from ledger.tenants import Row
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["teams"])
_MOST = 500


@ROUTER.post("/team/member_add")
async def add(body: NewMembers, desk: Desk, caller: Caller, rules: ForUsers) -> Response:
    """Put people into a team; the team, and who joined."""
    async with desk.change(caller) as change:
        team, joined = await _add(change, body, rules)
        found = {
            **await one(change.connection, desk, team),
            "updated_users": await shown_to(change.connection, desk, caller, joined.users),
            "updated_team_memberships": await _memberships(change, desk, joined),
        }
    return answer(found)


@ROUTER.post("/team/bulk_member_add")
async def add_many(body: ManyMembers, desk: Desk, caller: Caller, rules: ForUsers) -> Response:
    """Put many into a team, or everybody: all of them or none."""
    if body.all_users and not caller.is_admin:
        raise forbidden("put all users into a team")
    async with desk.change(caller) as change:
        people = await _everybody(change) if body.all_users else body.members or []
        if not people:
            raise Refused(Kind.INVALID_REQUEST, "At least one member is needed.", param="members")
        one_call = NewMembers(team_id=body.team_id, member=people, max_budget_in_team=body.max_budget_in_team)
        team, joined = await _add(change, one_call, rules, refuse_present=False)
        found = await one(change.connection, desk, team)
        accounts = await shown_to(change.connection, desk, caller, joined.users)
        places = await _memberships(change, desk, joined)
    results = [
        {
            "user_id": account["user_id"],
            "user_email": account["user_email"],
            "success": True,
            "error": None,
            "updated_user": account,
            "updated_team_membership": place,
        }
        for account, place in zip(accounts, places, strict=True)
    ]
    return answer(
        {
            "team_id": body.team_id,
            "results": results,
            "total_requested": len(people),
            "successful_additions": len(results),
            "failed_additions": 0,
            "updated_team": found,
        }
    )


@ROUTER.post("/team/member_update")
async def update(body: MemberUpdate, desk: Desk, caller: Caller) -> Response:
    """Change a member's role and budget in the team."""
    terms, raised = body.terms(), body.raised()
    async with desk.change(caller) as change:
        team = await managed(change.connection, caller, body.team_id, lock=True, absent=Kind.INVALID_REQUEST)
        member = await _member(change, body)
        check_self(caller, member["user_id"], body.role, bool(terms or raised), admin=member["role"] == "admin")
        values: dict[str, Any] = {} if body.role is None else {"role": body.role}
        if terms or raised:
            values["budget_id"] = await set_own(change, team, member, terms, raised)
        row = await tenants.change(change.connection, tenants.TEAM_MEMBERS, [body.team_id, member["user_id"]], values)
        change.touches("user", member["user_id"])
        await change.record("member_updated", "team", body.team_id, member, {**(row or {}), **terms, **raised})
    names = ("max_budget_in_team", "tpm_limit", "rpm_limit", "budget_duration", "allowed_models", *RAISED)
    return answer(
        {
            "team_id": body.team_id,
            "user_id": member["user_id"],
            "user_email": body.user_email,
            **{name: getattr(body, name) for name in names},
            "model_max_budget": amounts.of_models(terms["model_max_budget"]) if "model_max_budget" in terms else None,
        }
    )


@ROUTER.post("/team/member_delete")
async def delete(body: OneMember, desk: Desk, caller: Caller) -> Response:
    """Take somebody out of a team; his keys of the team go too. The team."""
    async with desk.change(caller) as change:
        team = await managed(change.connection, caller, body.team_id, lock=True, absent=Kind.INVALID_REQUEST)
        member = await _member(change, body)
        if member["budget_id"] not in (None, team["metadata"].get(OWNED)):
            check_self(caller, member["user_id"], None, limits=True)  # else who comes back would be rid of his budget
        await leave(change, member)
        found = await one(change.connection, desk, team)
    return answer(found)


async def _add(
    change: Change, body: NewMembers, rules: UserRules, *, refuse_present: bool = True
) -> tuple[Row, Joined]:
    terms = body.terms()
    limited = any(value is not None for value in terms.values())
    team = await _joinable(change, body, limited, rules)
    joined = await join(change, team, body.member, terms, rules)
    for row in joined.members:
        check_self(change.access, row["user_id"], row["role"], limited)
    if refuse_present and not joined.members:
        raise Refused(Kind.INVALID_REQUEST, f"Already in the team '{body.team_id}'.", param="member")
    return team, joined


async def _joinable(change: Change, body: NewMembers, limited: bool, rules: UserRules) -> Row:
    """The team, when the caller may add these people: its admins anybody, and anybody himself to an available team."""
    access = change.access
    alone = all(person.user_id == access.caller.user and person.role == "user" for person in body.member)
    if body.team_id not in rules.available_teams or not access.caller.user or not alone or limited:
        return await managed(change.connection, access, body.team_id, lock=True)
    team = await tenants.find(change.connection, tenants.TEAMS, body.team_id, lock=True)
    if team is None:
        raise absent_team(body.team_id)
    return team


async def _everybody(change: Change) -> list[Member]:
    rows = await tenants.matching(change.connection, tenants.USERS, {}, order=["-created_at"], limit=_MOST + 1)
    if len(rows) > _MOST:
        raise Refused(Kind.INVALID_REQUEST, f"There are more than {_MOST} users.", param="all_users")
    return [Member(user_id=row["user_id"]) for row in rows]


async def _member(change: Change, body: OneMember) -> Row:
    """The member who is meant. Raises `Refused` when there is none."""
    user_id = await meant(change.connection, body)
    found = None
    if user_id is not None:
        found = await tenants.find(change.connection, tenants.TEAM_MEMBERS, body.team_id, user_id, lock=True)
    if found is None:
        raise Refused(Kind.INVALID_REQUEST, f"There is no such member of the team '{body.team_id}'.", param="user_id")
    return found


async def _memberships(change: Change, office: Office, joined: Joined) -> list[dict[str, Any]]:
    emails = {row["user_id"]: row["user_email"] for row in joined.users}
    return await memberships(
        change.connection, office, [{**row, "user_email": emails[row["user_id"]]} for row in joined.members]
    )
