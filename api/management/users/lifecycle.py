"""`/user/new`, `/user/update`, `/user/bulk_update`, `/user/delete`: users come, change and go."""

import uuid
from typing import Any

from fastapi import APIRouter, Request, Response

from api.management.attachments import remove_keys
from api.management.metadata import closed, recorded
from api.management.office import Caller, Change, Desk, Office, answer, forbidden, missing, present
from api.management.people import check_email, made
from api.management.profiles import one
from api.management.rules import ForTeams, ForUsers, UserRules
from api.management.spending import set_spend
from api.management.teams.rights import absent_team
from api.management.users.bodies import Joining, ManyUpdates, NewUser, UserIds, UserUpdate
from api.management.users.first_key import NO_KEY, first_key
from api.management.users.rights import check_new, governs
from api.management.users.updating import Updating, join_teams
from ledger import tenants, users
from ledger.tenants import Row
from schemas.access import Account
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["users"])
_NEW: Row = {"metadata": {}, "extra": {}}
_MOST = 500


@ROUTER.post("/user/new")
async def new(
    body: NewUser, request: Request, desk: Desk, caller: Caller, rules: ForUsers, for_teams: ForTeams
) -> Response:
    """A new user, and a key for him unless `auto_create_key` is false: the only time that it is shown."""
    check_new(caller, body)
    values = {**body.columns(_NEW), "user_id": body.user_id or str(uuid.uuid4())}
    values["metadata"] = closed(values["metadata"], {}, for_teams.seal)
    async with desk.change(caller) as change:
        teams = await _teams(change, body, rules)
        if body.user_email is not None:
            await check_email(change, body.user_email)
        row = await made(change, values, rules)
        await _join_organizations(change, row["user_id"], body.organizations or [])
        await join_teams(change, row["user_id"], teams)
        if body.spend:
            account, period = Account("user", row["user_id"]), row["budget_duration"] or ""
            await set_spend(change.connection, desk, account, body.spend, period)
        key: dict[str, Any] = {}
        if body.auto_create_key:
            key = await first_key(change, present(request).keys, body, row, desk.now())
        found = {**NO_KEY, **await one(change.connection, desk, row), **key}
    return answer(found)


@ROUTER.post("/user/update")
async def update(body: UserUpdate, desk: Desk, caller: Caller, rules: ForUsers, for_teams: ForTeams) -> Response:
    """Change the fields that are given."""
    return answer(await _updated(body, desk, caller, rules, for_teams))


@ROUTER.post("/user/bulk_update")
async def update_many(body: ManyUpdates, desk: Desk, caller: Caller, rules: ForUsers, for_teams: ForTeams) -> Response:
    """Change several users, each for itself, or all of them alike (then all or none)."""
    if body.users is None:
        results = await _update_all(body, desk, caller, rules, for_teams)
    else:
        results = [await _result(one_user, desk, caller, rules, for_teams) for one_user in body.users]
    done = sum(result["success"] for result in results)
    counts = {"total_requested": len(results), "successful_updates": done, "failed_updates": len(results) - done}
    return answer({"results": results, **counts})


@ROUTER.post("/user/delete")
async def delete(body: UserIds, desk: Desk, caller: Caller) -> Response:
    """Remove users with their keys, memberships, passwords and invitations: all or none. How many there were."""
    ids = sorted(set(body.user_ids))
    async with desk.change(caller) as change:
        for user_id in ids:
            before = await tenants.find(change.connection, tenants.USERS, user_id, lock=True)
            if before is None and (caller.is_admin or caller.admin_of_organizations):
                raise missing("user", user_id)
            if before is None or not await governs(change.connection, caller, before):
                raise forbidden(f"remove the user '{user_id}'")
            await remove_keys(change, {"user_id": user_id})
            traces = await users.remove_traces(change.connection, user_id)
            change.touches("team", *traces.teams)
            change.touches("organization", *traces.organizations)
            await tenants.remove(change.connection, tenants.USERS, user_id)
            await change.record("deleted", "user", user_id, recorded(before), None)
    return answer(len(ids))


async def _updated(
    body: UserUpdate, desk: Office, caller: Caller, rules: UserRules, for_teams: ForTeams
) -> dict[str, Any]:
    async with desk.change(caller) as change:
        row = await Updating(change, desk, rules, for_teams.seal).one(body)
        found = await one(change.connection, desk, row)
    return {"user_id": row["user_id"], "data": found}


async def _result(
    body: UserUpdate, desk: Office, caller: Caller, rules: UserRules, for_teams: ForTeams
) -> dict[str, Any]:
    """How one update of several went."""
    try:
        found = await _updated(body, desk, caller, rules, for_teams)
    except Refused as refused:
        if refused.failure.kind is Kind.LEDGER_DOWN:
            raise
        named = {"user_id": body.user_id, "user_email": body.user_email}
        return {**named, "success": False, "error": refused.failure.message, "updated_user": None}
    named = {"user_id": found["user_id"], "user_email": body.user_email}
    return {**named, "success": True, "error": None, "updated_user": found["data"]}


async def _update_all(
    body: ManyUpdates, desk: Office, caller: Caller, rules: UserRules, for_teams: ForTeams
) -> list[dict[str, Any]]:
    if not caller.is_admin:
        raise forbidden("change all users")
    assert body.user_updates is not None
    results = []
    async with desk.change(caller) as change:
        rows = await tenants.matching(change.connection, tenants.USERS, {}, order=["-created_at"], limit=_MOST + 1)
        if not 0 < len(rows) <= _MOST:
            raise Refused(Kind.INVALID_REQUEST, f"There are no users, or more than {_MOST}.", param="all_users")
        updating = Updating(change, desk, rules, for_teams.seal)
        for row in rows:
            after = await updating.fields(row, body.user_updates)
            named = {"user_id": after["user_id"], "user_email": after["user_email"]}
            results.append({**named, "success": True, "error": None, "updated_user": recorded(after)})
    return results


async def _teams(change: Change, body: NewUser, rules: UserRules) -> list[Joining]:
    """The teams that a new user joins, locked, which the caller may put him into."""
    if body.team_id is not None:
        wanted = [Joining(team_id=body.team_id)]
    elif body.teams is not None:
        wanted = body.teams
    else:
        return await _default_teams(change, rules)
    for team_id in sorted({joining.team_id for joining in wanted}):
        team = await tenants.find(change.connection, tenants.TEAMS, team_id, lock=True)
        if team is None:
            raise absent_team(team_id, Kind.INVALID_REQUEST)
        if not change.access.manages_team(team_id, team["organization_id"]):
            raise forbidden(f"put users into the team '{team_id}'")
    return wanted


async def _default_teams(change: Change, rules: UserRules) -> list[Joining]:
    """The configuration's teams for new users, as far as there are such."""
    found = []
    for one_place in sorted(rules.teams, key=lambda each: each.team_id):
        if await tenants.find(change.connection, tenants.TEAMS, one_place.team_id, lock=True) is not None:
            terms = {"max_budget_in_team": one_place.max_budget_in_team, "user_role": one_place.role}
            found.append(Joining.model_validate({"team_id": one_place.team_id, **terms}))
    return found


async def _join_organizations(change: Change, user_id: str, organizations: list[str]) -> None:
    for organization in dict.fromkeys(organizations):
        if await tenants.find(change.connection, tenants.ORGANIZATIONS, organization) is None:
            raise Refused(Kind.INVALID_REQUEST, f"There is no organization '{organization}'.", param="organizations")
        values = {"organization_id": organization, "user_id": user_id, "user_role": "internal_user"}
        await tenants.insert(change.connection, tenants.ORGANIZATION_MEMBERS, values)
        change.touches("organization", organization)
