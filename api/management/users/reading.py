"""`/user/info`, `/v2/user/info`, `/user/list`, `/user/available_roles`: users as they are."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from api.management.amounts import spent_by_model
from api.management.attachments import shown_keys
from api.management.fields import Name
from api.management.office import Caller, Desk, Office, answer, forbidden, missing
from api.management.profiles import KNOWN_TO_ALL, one, shown
from api.management.sight import sees, shares_team
from api.management.teams import shown as teams_shown
from ledger import pages, tenants, users
from ledger.pool import Pool
from schemas.access import Access, Account, Role
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["users"])
_MOST_TEAMS = 1000

ROLES: Mapping[str, Mapping[str, str]] = {
    Role.ADMIN: {"description": "may do everything", "ui_label": "Admin (All Permissions)"},
    Role.VIEWER: {"description": "sees all keys and all spend", "ui_label": "Admin (View Only)"},
    Role.USER: {
        "description": "sees, makes and removes own keys, sees own spend",
        "ui_label": "Internal User (Create/Delete/View)",
    },
    Role.USER_VIEWER: {"description": "sees own keys and own spend", "ui_label": "Internal User (View Only)"},
}
_LIGHT = (
    "user_id",
    "user_email",
    "user_alias",
    "user_role",
    "spend",
    "total_spend",
    "max_budget",
    "tpm_limit",
    "rpm_limit",
    "models",
    "budget_duration",
    "budget_reset_at",
    "metadata",
    "created_at",
    "updated_at",
    "sso_user_id",
    "teams",
    "object_permission",
    "model_max_budget",
    "model_max_budget_usage",
)
"""What `/v2/user/info` shows."""


@ROUTER.get("/user/available_roles")
async def available_roles(_: Caller) -> Response:
    """The roles that a user can be given."""
    return answer(ROLES)


@ROUTER.get("/user/info")
async def info(request: Request, desk: Desk, caller: Caller, user_id: Name | None = None) -> Response:
    """A user with his keys and teams; without an id the caller's own, and for admins all teams and keys."""
    wanted = _as_sent(request, user_id)
    with desk.reading() as pool:
        if wanted is None and caller.reads_all:
            return answer(await _overview(pool, desk, caller))
        wanted = wanted or caller.caller.user
        if not await sees(pool, caller, wanted):
            raise forbidden(f"see the user '{wanted}'")
        found = await _described(pool, desk, wanted)
        if found is None:
            raise missing("user", wanted)
        teams = await _teams(pool, desk, {"team_id": found["teams"]})
        _without_others(teams, caller, wanted)
        keys = await shown_keys(pool, desk, {"user_id": wanted}, _aliases(teams))
    return answer({"user_id": wanted, "user_info": found, "keys": keys, "teams": teams, "admin_mcp_permissions": None})


@ROUTER.get("/v2/user/info")
async def light(request: Request, desk: Desk, caller: Caller, user_id: Name | None = None) -> Response:
    """A user alone. Who may not see him is told that he is not there; a team's admin sees who its members are."""
    wanted = _as_sent(request, user_id) or caller.caller.user
    if not wanted:
        raise Refused(Kind.INVALID_REQUEST, "This key belongs to no user: user_id is needed.", param="user_id")
    with desk.reading() as pool:
        whole = await sees(pool, caller, wanted)
        visible = whole or await shares_team(pool, caller, wanted)
        found = await _described(pool, desk, wanted) if visible else None
    if found is None:
        raise missing("user", wanted)
    if not whole:
        teams = [team for team in found["teams"] if team in caller.admin_of_teams]
        found = {name: found[name] for name in KNOWN_TO_ALL} | {"teams": teams}
    return answer({name: found.get(name) for name in _LIGHT})


class UserQuery(BaseModel):
    """The query of `/user/list`; lists are separated by commas."""

    role: Name | None = None
    user_ids: str | None = Field(None, max_length=20_000)
    sso_user_ids: str | None = Field(None, max_length=20_000)
    user_email: Name | None = None
    search: Name | None = None
    team: Name | None = None
    organization_ids: str | None = Field(None, max_length=20_000)
    page: int = Field(1, ge=1, le=10**6)
    page_size: int = Field(25, ge=1, le=100)
    sort_by: Literal["user_id", "user_email", "user_alias", "user_role", "created_at", "spend"] | None = None
    sort_order: Literal["asc", "desc"] = "asc"

    def part(self) -> pages.Slice:
        """The page; without an order the newest users are first."""
        descending = self.sort_by is None or self.sort_order == "desc"
        return pages.Slice(self.page_size, (self.page - 1) * self.page_size, self.sort_by or "created_at", descending)

    def wanted(self, organizations: list[str] | None) -> users.Wanted:
        """The filter. A single id may be a part of one."""
        ids = _separated(self.user_ids)
        part = ids[0] if ids is not None and len(ids) == 1 else None
        return users.Wanted(
            self.role,
            None if part is not None else ids,
            part,
            self.user_email,
            self.search,
            _separated(self.sso_user_ids),
            self.team,
            organizations,
        )


@ROUTER.get("/user/list")
async def listing(desk: Desk, caller: Caller, asked: Annotated[UserQuery, Query()]) -> Response:
    """A page of users. An organization's admin sees those of his organizations."""
    wanted = asked.wanted(_organizations(caller, _separated(asked.organization_ids)))
    with desk.reading() as pool:
        total, ids = await users.find(pool, wanted, asked.part())
        found = await shown(pool, desk, await tenants.in_order(pool, tenants.USERS, ids))
        counts = await users.key_counts(pool, ids)
    for user in found:
        user["key_count"] = counts.get(user["user_id"], 0)
    page = {"page": asked.page, "page_size": asked.page_size, "total_pages": -(-total // asked.page_size)}
    return answer({"users": found, "total": total, **page})


def _organizations(caller: Access, asked: list[str] | None) -> list[str] | None:
    """The organizations whose users are listed; None is everybody. Raises `Refused(FORBIDDEN)`."""
    if caller.reads_all:
        return asked
    allowed = caller.admin_of_organizations
    found = sorted(allowed if asked is None else allowed & set(asked))
    if not found:
        raise forbidden("list users")
    return found


def _separated(text: str | None) -> list[str] | None:
    """The parts of a list; a text without any is no filter."""
    return [part.strip() for part in (text or "").split(",") if part.strip()] or None


def _as_sent(request: Request, user_id: str | None) -> str | None:
    """A `+` that was sent is a plus, not a space: it is common in ids that are emails."""
    if user_id is None or " " not in user_id:
        return user_id
    for part in request.url.query.split("&"):
        name, _, value = part.partition("=")
        if name == "user_id" and "\0" not in (plain := unquote(value)):
            return plain
    return user_id


async def _described(pool: Pool, desk: Office, user_id: str) -> dict[str, Any] | None:
    row = await tenants.find(pool, tenants.USERS, user_id) if user_id else None
    if row is None:
        return None
    usage = await spent_by_model(pool, Account("user", user_id), row["model_max_budget"])
    return {**await one(pool, desk, row), "model_max_budget_usage": usage or None}


async def _teams(pool: Pool, desk: Office, where: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = await tenants.matching(pool, tenants.TEAMS, where, order=["team_alias"], limit=_MOST_TEAMS)
    return await teams_shown.shown(pool, desk, rows)


def _aliases(teams: list[dict[str, Any]]) -> dict[str, str | None]:
    return {team["team_id"]: team["team_alias"] for team in teams}


def _without_others(teams: list[dict[str, Any]], caller: Access, user_id: str) -> None:
    """Whoever may not see a team learns of it no more than that the user is in it."""
    for team in teams:
        if not caller.reads_team(team["team_id"], team["organization_id"]):
            mine = [person for person in team["members_with_roles"] if person["user_id"] == user_id]
            shown_of_it = {name: team[name] for name in ("team_id", "team_alias")}
            team.clear()
            team.update(shown_of_it, members_with_roles=mine)


async def _overview(pool: Pool, desk: Office, caller: Access) -> dict[str, Any]:
    """What an admin sees who asks for nobody: the first 1000 teams and keys."""
    teams = await _teams(pool, desk, {})
    return {
        "user_id": caller.caller.user or None,
        "user_info": await _described(pool, desk, caller.caller.user),
        "keys": await shown_keys(pool, desk, {}, _aliases(teams)),
        "teams": teams,
        "admin_mcp_permissions": None,
    }
