"""A team's models, and what its members may do with its keys."""

from fastapi import APIRouter, Response

from api.management.fields import Name
from api.management.office import Caller, Desk, answer, forbidden
from api.management.teams.bodies import ManyPermissions, TeamModels, TeamPermissions
from api.management.teams.changing import changed
from api.management.teams.rights import ALL_MODELS, NO_MODELS, absent_team, check_organization, governed, managed
from api.management.teams.shown import one
from ledger import tenants
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["teams"])
_MOST_TEAMS = 10_000

ALWAYS = ("/key/info", "/key/health")
"""What every member may do with the team's keys."""
PERMISSIONS = (
    "/key/generate",
    "/key/update",
    "/key/delete",
    "/key/regenerate",
    "/key/service-account/generate",
    "/key/{key_id}/regenerate",
    "/key/block",
    "/key/unblock",
    "/key/bulk_update",
    "/team/key/bulk_update",
    "/key/{key_id}/reset_spend",
    "/key/access_group_assignment",
    "/auto_router/manage",
    *ALWAYS,
    "/key/list",
    "/key/aliases",
    "/team/daily/activity",
    "/team/daily/activity/aggregated",
    "/spend/logs",
    "/spend/logs/v2",
)
"""What a team can let its members do: LiteLLM's list."""


@ROUTER.post("/team/model/add")
async def add_models(body: TeamModels, desk: Desk, caller: Caller) -> Response:
    """The team may use these models too. One that may use all keeps that."""
    async with desk.change(caller) as change:
        before = await governed(change.connection, caller, body.team_id)
        if before["organization_id"] is not None:
            await check_organization(change.connection, before["organization_id"], {"models": body.models})
        present = [model for model in before["models"] or [ALL_MODELS] if model != NO_MODELS]
        row = await changed(change, before, {"models": list(dict.fromkeys([*present, *body.models]))})
        found = await one(change.connection, desk, row)
    return answer(found)


@ROUTER.post("/team/model/delete")
async def remove_models(body: TeamModels, desk: Desk, caller: Caller) -> Response:
    """The team may not use these models any more. One that loses its last may use none, not all."""
    async with desk.change(caller) as change:
        before = await governed(change.connection, caller, body.team_id)
        left = [model for model in before["models"] if model not in body.models]
        if before["models"] and not left:
            left = [NO_MODELS]
        row = await changed(change, before, {"models": left})
        found = await one(change.connection, desk, row)
    return answer(found)


@ROUTER.get("/team/permissions_list")
async def permissions(team_id: Name, desk: Desk, caller: Caller) -> Response:
    """What the team's members may do with its keys, and what they could be allowed."""
    with desk.reading() as pool:
        row = await tenants.find(pool, tenants.TEAMS, team_id)
    if row is None and caller.reads_all:
        raise absent_team(team_id)
    if row is None or not (caller.reads_all or caller.manages_team(team_id, row["organization_id"])):
        raise forbidden(f"see the permissions of the team '{team_id}'")
    allowed = row["extra"].get("team_member_permissions")
    return answer(
        {
            "team_id": team_id,
            "team_member_permissions": list(ALWAYS) if allowed is None else allowed,
            "all_available_permissions": PERMISSIONS,
        }
    )


@ROUTER.post("/team/permissions_update")
async def update_permissions(body: TeamPermissions, desk: Desk, caller: Caller) -> Response:
    """The team's members may do this with its keys, and nothing else."""
    _check_permissions(body.team_member_permissions)
    async with desk.change(caller) as change:
        before = await managed(change.connection, caller, body.team_id, lock=True)
        extra = {**before["extra"], "team_member_permissions": body.team_member_permissions}
        found = await one(change.connection, desk, await changed(change, before, {"extra": extra}))
    return answer(found)


@ROUTER.post("/team/permissions_bulk_update")
async def add_permissions(body: ManyPermissions, desk: Desk, caller: Caller) -> Response:
    """Let the members of many teams do more; a proxy admin's. How many teams that changed."""
    if not caller.is_admin:
        raise forbidden("change the permissions of many teams")
    _check_permissions(body.permissions)
    where = {} if body.apply_to_all_teams else {"team_id": body.team_ids or []}
    number = 0
    async with desk.change(caller) as change:
        rows = await tenants.matching(change.connection, tenants.TEAMS, where, limit=_MOST_TEAMS + 1)
        if len(rows) > _MOST_TEAMS:
            raise Refused(Kind.INVALID_REQUEST, f"There are more than {_MOST_TEAMS} teams: name some by team_ids.")
        if absent := set(body.team_ids or []) - {row["team_id"] for row in rows}:
            raise absent_team(min(absent))
        for row in rows:
            before = await managed(change.connection, caller, row["team_id"], lock=True)
            present = before["extra"].get("team_member_permissions") or []
            if set(body.permissions) - set(present):
                merged = sorted({*present, *body.permissions})
                await changed(change, before, {"extra": {**before["extra"], "team_member_permissions": merged}})
                number += 1
    said = {"message": "Team permissions updated successfully", "teams_updated": number}
    return answer({**said, "permissions_appended": body.permissions})


def _check_permissions(permissions: list[str]) -> None:
    if unknown := sorted(set(permissions) - set(PERMISSIONS)):
        raise Refused(Kind.INVALID_REQUEST, f"There is no permission '{unknown[0]}'.", param="permissions")
