"""`/team/info`, `/team/list`, `/v2/team/list`, `/team/available`, `/team/{team_id}/members/me`: teams as they are."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from api.management.amounts import spent_by_model
from api.management.attachments import MOST, shown_keys
from api.management.fields import Name
from api.management.linked_budgets import linked
from api.management.metadata import OWNED
from api.management.office import Caller, Desk, Office, answer, forbidden, missing
from api.management.rules import ForTeams, ForUsers, TeamRules
from api.management.teams.rights import governs
from api.management.teams.shown import memberships, one, shown
from ledger import pages, teams, tenants
from ledger.pool import Asked
from ledger.tenants import Row
from ledger.terms import raised, terms_of
from schemas.access import Access, Account
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["teams"])
_MOST_TEAMS = 1000
_NO_ORGANIZATION = "default_organization"


@ROUTER.get("/team/info")
async def info(
    desk: Desk,
    caller: Caller,
    rules: ForTeams,
    team_id: Name,
    key_limit: Annotated[int | None, Query(gt=0, le=MOST)] = None,
) -> Response:
    """A team, its members and its keys. A plain member sees his own membership and his own keys."""
    with desk.reading() as pool:
        row = await tenants.find(pool, tenants.TEAMS, team_id)
        if row is None:
            raise missing("team", team_id)
        if not caller.reads_team(team_id, row["organization_id"]):
            raise forbidden(f"see the team '{team_id}'")
        everything = caller.reads_all or caller.manages_team(team_id, row["organization_id"])
        mine = None if everything else caller.caller.user
        where = {"team_id": team_id} if everything else _own_keys(team_id, caller)
        found = {
            "team_id": team_id,
            "team_info": await _described(pool, desk, row, caller, rules),
            "keys": await shown_keys(pool, desk, where, {team_id: row["team_alias"]}, key_limit or MOST),
            "team_memberships": _sourced(
                await memberships(pool, desk, await teams.members(pool, [team_id], mine)), row["metadata"].get(OWNED)
            ),
        }
    return answer(found)


@ROUTER.get("/team/list")
async def listing(
    desk: Desk, caller: Caller, user_id: Name | None = None, organization_id: Name | None = None
) -> Response:
    """Teams with their members and keys, by alias: the first 1000, `/v2/team/list` has pages."""
    organization = "" if organization_id == _NO_ORGANIZATION else organization_id
    part = pages.Slice(_MOST_TEAMS, by="team_alias", descending=False)
    with desk.reading() as pool:
        wanted = _visible(caller, user_id, teams.Wanted(organization=organization, member=user_id))
        rows = await tenants.in_order(pool, tenants.TEAMS, (await teams.find(pool, wanted, part)).ids)
        found = await shown(pool, desk, rows)
        places = await memberships(pool, desk, await teams.members(pool, [row["team_id"] for row in rows], user_id))
        aliases = {row["team_id"]: row["team_alias"] for row in rows}
        managed = [row["team_id"] for row in rows if _sees_keys(caller, row)]
        keys = await shown_keys(pool, desk, {"team_id": managed}, aliases, limit=10 * MOST)
    for team in found:
        team["team_memberships"] = [
            place for place in places if place["team_id"] == team["team_id"] and _sees_member(caller, team, place)
        ]
        team["keys"] = [key for key in keys if key["team_id"] == team["team_id"]]
    return answer(found)


class TeamQuery(BaseModel):
    """The query of `/v2/team/list`."""

    user_id: Name | None = None
    organization_id: Name | None = None
    team_id: Name | None = None
    team_alias: Name | None = None
    search: Name | None = None
    page: int = Field(1, ge=1, le=10**6)
    page_size: int = Field(10, ge=1, le=100)
    sort_by: Literal["team_id", "team_alias", "created_at"] | None = None
    sort_order: Literal["asc", "desc"] = "asc"
    status: Literal["deleted"] | None = None

    def part(self) -> pages.Slice:
        """The page; without an order the newest teams are first."""
        descending = self.sort_by is None or self.sort_order == "desc"
        return pages.Slice(self.page_size, (self.page - 1) * self.page_size, self.sort_by or "created_at", descending)


@ROUTER.get("/v2/team/list")
async def page_of(desk: Desk, caller: Caller, asked: Annotated[TeamQuery, Query()]) -> Response:
    """A page of teams. Deleted ones are not kept (the audit log has them): with `status` there are none."""
    filters = teams.Wanted(asked.team_id, asked.team_alias, asked.search, asked.organization_id, asked.user_id)
    wanted = _visible(caller, asked.user_id, filters)
    with desk.reading() as pool:
        total, ids = (0, []) if asked.status else await teams.find(pool, wanted, asked.part())
        found = await shown(pool, desk, await tenants.in_order(pool, tenants.TEAMS, ids))
        keys = await teams.key_counts(pool, ids)
        places = await _own_places(pool, desk, caller, ids)
    for team in found:
        team["caller_membership"] = places.get(team["team_id"])
        team["members_count"] = len(team["members"])
        team["keys_count"] = keys.get(team["team_id"], 0)
    page = {"page": asked.page, "page_size": asked.page_size, "total_pages": -(-total // asked.page_size)}
    return answer({"teams": found, "total": total, **page})


@ROUTER.get("/team/available")
async def available(desk: Desk, caller: Caller, rules: ForUsers) -> Response:
    """Teams that the caller may join by himself, less those that he is in."""
    with desk.reading() as pool:
        ids = sorted(rules.available_teams - caller.teams)
        rows = await tenants.matching(pool, tenants.TEAMS, {"team_id": ids}, limit=_MOST_TEAMS)
        found = await shown(pool, desk, rows)
    for team in found:  # who has not joined yet learns nothing of the people
        team.update(admins=[], members=[], members_with_roles=[])
    return answer(found)


@ROUTER.get("/team/{team_id}/members/me")
async def me(team_id: Name, desk: Desk, caller: Caller) -> Response:
    """The caller's own place in a team."""
    user_id = caller.caller.user
    if not user_id:
        raise Refused(Kind.INVALID_REQUEST, "This key belongs to no user.")
    with desk.reading() as pool:
        team = await tenants.find(pool, tenants.TEAMS, team_id)
        people = [] if team is None else await teams.members(pool, [team_id], user_id)
        if team is None or not people:
            raise Refused(Kind.NOT_FOUND, f"'{user_id}' is not a member of the team '{team_id}'.", param="team_id")
        places = await memberships(pool, desk, people)
    return answer({**places[0], "team_alias": team["team_alias"]})


async def _own_places(on: Asked, office: Office, caller: Access, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By team what the caller has spent in it and may spend now; of those that he is a member of."""
    user = caller.caller.user
    places = await memberships(on, office, await teams.members(on, ids, user)) if user and ids else []
    return {place["team_id"]: _own_place(place, office) for place in places}


def _own_place(place: dict[str, Any], office: Office) -> dict[str, Any]:
    terms = place["litellm_budget_table"] or {}
    found = raised(terms_of(Account("member", place["team_id"], place["user_id"]), "", terms), terms).budgets
    most = found[0].at(office.now().timestamp()).most if found else None
    ends = None if most is None else terms["budget_reset_at"]
    return {"spend": place["spend"], "max_budget": most, "budget_reset_at": ends}


def _visible(caller: Access, user_id: str | None, wanted: teams.Wanted) -> teams.Wanted:
    """The teams of `wanted` that the caller may see: his own and his organizations'. Raises `Refused(FORBIDDEN)`."""
    if caller.reads_all:
        return wanted
    organizations, me = caller.admin_of_organizations, caller.caller.user
    if user_id not in (None, me) and not organizations:
        raise forbidden("see the teams of other users")
    return teams.Wanted(
        wanted.team_id,
        wanted.alias,
        wanted.search,
        wanted.organization,
        wanted.member,
        within=sorted(organizations),
        visitor=me,
        own=caller.caller.team,
    )


def _sees_keys(caller: Access, row: Row) -> bool:
    return caller.reads_all or caller.manages_team(row["team_id"], row["organization_id"])


def _sees_member(caller: Access, team: Row, place: Row) -> bool:
    return _sees_keys(caller, team) or place["user_id"] == caller.caller.user


def _own_keys(team_id: str, caller: Access) -> dict[str, Any]:
    """What names the caller's keys of a team: his user's, or the one key that belongs to no user."""
    mine = caller.caller.user
    return {"team_id": team_id, **({"user_id": mine} if mine else {"key_id": caller.caller.key_hash})}


def _sourced(places: list[dict[str, Any]], default: str | None) -> list[dict[str, Any]]:
    """With where a member's budget comes from."""
    for place in places:
        if place["litellm_budget_table"] is None:
            place["budget_source"] = "none"
        else:
            place["budget_source"] = "team_default" if place["budget_id"] == default else "custom"
    return places


async def _described(on: Asked, desk: Office, row: Row, caller: Access, rules: TeamRules) -> dict[str, Any]:
    """The team with its members' default budget, its organization's models, and what the caller may change."""
    manages = caller.manages_team(row["team_id"], row["organization_id"])
    organization = None
    if manages and row["organization_id"] is not None:
        organization = await tenants.find(on, tenants.ORGANIZATIONS, row["organization_id"])
    default = row["metadata"].get(OWNED)
    terms = None if default is None else await tenants.find(on, tenants.BUDGETS, default)
    return {
        **await one(on, desk, row),
        "team_member_budget_table": linked(terms, desk),
        "organization_models": None if organization is None else organization["models"],
        "model_max_budget_usage": await spent_by_model(on, Account("team", row["team_id"]), row["model_max_budget"]),
        "caller_edit_access": _editing(caller, row, manages, rules),
    }


def _editing(caller: Access, row: Row, manages: bool, rules: TeamRules) -> dict[str, Any]:
    if governs(caller, row["organization_id"]):
        return {"kind": "unrestricted"}
    if not manages:
        return {"kind": "none"}
    if not rules.editable:
        return {"kind": "team_admin_disabled"}
    return {"kind": "team_admin", "editable_fields": sorted(rules.editable)}
