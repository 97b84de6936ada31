"""`/team/new`, `/team/update`, `/team/delete`, `/team/block`, `/team/unblock`: teams come, change and go."""

import uuid
from typing import Any

from fastapi import APIRouter, Response

from api.management.metadata import closed, recorded
from api.management.office import Caller, Change, Desk, answer, forbidden
from api.management.rules import ForTeams, ForUsers, TeamRules
from api.management.teams.bodies import NewTeam, TeamId, TeamIds, TeamUpdate
from api.management.teams.budgets import set_default
from api.management.teams.changing import changed, remove
from api.management.teams.joining import join, place
from api.management.teams.rights import (
    check_budgets,
    check_organization,
    check_team_admin,
    governed,
    governs,
    managed,
)
from api.management.teams.shown import one
from ledger import teams, tenants
from ledger.tenants import Row
from schemas.access import Access

ROUTER = APIRouter(tags=["teams"])
_EMPTY: Row = {"metadata": {}, "extra": {}}


@ROUTER.post("/team/new")
async def new(body: NewTeam, desk: Desk, caller: Caller, rules: ForTeams, for_users: ForUsers) -> Response:
    """A new team. Who makes it is its admin."""
    body = completed(body, rules)
    if not governs(caller, body.organization_id or None):
        raise forbidden("make a team outside the organizations that it is the admin of")
    async with desk.change(caller) as change:
        team = await made(change, body, rules)
        await join(change, team, body.people(), {}, for_users)
        if caller.caller.user and (rules.adds_admin or not caller.is_admin):
            await place(change, team, caller.caller.user, "admin", {})
        found = await one(change.connection, desk, team)
    return answer(found)


def completed(body: NewTeam, rules: TeamRules) -> NewTeam:
    """With the configuration's defaults for what is not said, or null. A period that is null on purpose stays null."""
    said = body.model_dump(exclude_unset=True)
    kept = {name: value for name, value in said.items() if value is not None or name == "budget_duration"}
    return NewTeam.model_validate({**said, **rules.defaults, **kept})


async def made(change: Change, body: NewTeam, rules: TeamRules) -> Row:
    """A new team, as it is said; still without members. Raises `Refused`."""
    values = {**body.columns(_EMPTY), "team_id": body.team_id or str(uuid.uuid4())}
    check_budgets(values)
    values["metadata"] = closed(values["metadata"], {}, rules.seal)
    values["created_by"] = values["updated_by"] = change.access.caller.user
    if values.get("organization_id") is not None:
        await check_organization(change.connection, values["organization_id"], values)
    team = await tenants.insert(change.connection, tenants.TEAMS, values)
    if terms := body.member_terms():
        team = await set_default(change, team, terms)
    await change.record("created", "team", team["team_id"], None, recorded(team))
    return team


@ROUTER.post("/team/update")
async def update(body: TeamUpdate, desk: Desk, caller: Caller, rules: ForTeams) -> Response:
    """Change the fields that are given."""
    async with desk.change(caller) as change:
        before = await managed(change.connection, caller, body.team_id, lock=True)
        values = body.columns(before)
        values["metadata"] = closed(values["metadata"], before["metadata"], rules.seal)
        if (terms := body.member_terms()) and not governs(caller, before["organization_id"]):
            raise forbidden("change the budgets of all members of a team")
        check_team_admin(caller, before, values, rules.editable)
        check_budgets(values, before)
        await _check_place(change, before, values)
        row = await changed(change, before, values)
        if terms:
            row = await set_default(change, row, terms)
        found = await one(change.connection, desk, row)
    return answer({"team_id": body.team_id, "data": found})


@ROUTER.post("/team/delete")
async def delete(body: TeamIds, desk: Desk, caller: Caller) -> Response:
    """Remove teams with their keys and memberships: all of them or none."""
    async with desk.change(caller) as change:
        for team_id in sorted(set(body.team_ids)):
            await remove(change, await governed(change.connection, caller, team_id))
    return answer({"deleted_teams": list(dict.fromkeys(body.team_ids))})


@ROUTER.post("/team/block")
async def block(body: TeamId, desk: Desk, caller: Caller) -> Response:
    """No key of the team may call anything."""
    return answer(await _set_blocked(body.team_id, True, desk, caller))


@ROUTER.post("/team/unblock")
async def unblock(body: TeamId, desk: Desk, caller: Caller) -> Response:
    """The team's keys may call again."""
    return answer(await _set_blocked(body.team_id, False, desk, caller))


async def _set_blocked(team_id: str, blocked: bool, desk: Desk, caller: Access) -> dict[str, Any]:
    async with desk.change(caller) as change:
        before = await governed(change.connection, caller, team_id)
        action = "blocked" if blocked else "unblocked"
        row = await changed(change, before, {"blocked": blocked}, action)
        return await one(change.connection, desk, row)


async def _check_place(change: Change, before: Row, values: dict[str, Any]) -> None:
    """The team's organization, as it is afterwards, allows what is set. Who moves a team governs both places."""
    organization = values.get("organization_id", before["organization_id"])
    moves = organization != before["organization_id"]
    if moves and not (governs(change.access, organization) and governs(change.access, before["organization_id"])):
        raise forbidden("move a team to where it is not the admin")
    if organization is not None:
        await check_organization(change.connection, organization, {**before, **values} if moves else values)
    if moves:
        await teams.keys_follow(change.connection, before["team_id"], organization)
    if moves and organization is not None:
        await _follow(change, before["team_id"], organization)


async def _follow(change: Change, team_id: str, organization: str) -> None:
    """The team's members become members of the organization that it moves to; only a proxy admin brings new ones."""
    for member in await teams.members(change.connection, [team_id]):
        key = (organization, member["user_id"])
        if await tenants.find(change.connection, tenants.ORGANIZATION_MEMBERS, *key) is not None:
            continue
        if not change.access.is_admin:
            raise forbidden(f"bring '{member['user_id']}' into the organization '{organization}'")
        values = {"organization_id": organization, "user_id": member["user_id"], "user_role": "internal_user"}
        await tenants.insert(change.connection, tenants.ORGANIZATION_MEMBERS, values)
        change.touches("user", member["user_id"])
        change.touches("organization", organization)
