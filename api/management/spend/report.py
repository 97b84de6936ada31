"""`…/spend/report`: what was spent in some days by team, customer or key, with each model's part of it."""

import asyncio
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Response

from api.management.office import answer, forbidden
from api.management.spend.asking import ask
from api.management.spend.bounds import Days, Key, Text, needed
from api.management.spend.overview import team_names
from api.management.spend.sight import Viewer, only
from ledger.reports import Question, Sum, reading, sums
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["spend"])
_LONGEST = 366
_NO_TEAM = "Unassigned Team"


class Report(Days):
    """The query of `/global/spend/report`. The first of the ids that is given decides, before `group_by`."""

    group_by: Literal["team", "customer", "api_key"] = "team"
    api_key: Key = None
    internal_user_id: Text = None
    team_id: Text = None
    customer_id: Text = None


class OfKey(Days):
    """The query of `/key/spend/report`."""

    api_key: Key = None


class OfUser(Days):
    """The query of `/user/spend/report`."""

    internal_user_id: Text = None


class OfTeam(Days):
    """The query of `/team/spend/report`."""

    team_id: Text = None


class OfOrganization(Days):
    """The query of `/organization/spend/report`."""

    organization_id: Text = None


@ROUTER.get("/global/spend/report")
async def everybody(view: Viewer, query: Annotated[Report, Query()]) -> Response:
    """By key: [{api_key, total_cost, total_input_tokens, total_output_tokens, model_details}].

    By team or customer and day: [{group_by_day, teams: [{team_name, total_spend, metadata}]}] (`customers`,
    `teams_customers`), where `metadata` has {model, api_key, spend, total_tokens}.
    """
    span = needed(query.start_date, query.end_date, _LONGEST)
    keys = await view.keys(query.api_key)
    if keys is not None or query.internal_user_id is not None:
        users = None if keys is not None or query.internal_user_id is None else [query.internal_user_id]
        return answer(_by_key(await ask(view, ("key", "model"), span, key=keys, user=users)))
    if query.group_by == "api_key":
        return answer(_by_key(await ask(view, ("key", "model"), span)))
    by: tuple[str, ...] = ("team",) if query.group_by == "team" else ("customer",)
    teams = customers = None
    if query.team_id is not None and query.customer_id is not None:
        by, teams, customers = ("team", "customer"), [query.team_id], [query.customer_id]
    elif by == ("team",) and query.team_id is not None:
        teams = [query.team_id]
    found = await ask(view, ("day", *by, "model", "key"), span, team=teams, customer=customers)
    names = await team_names(view, {line.team for line in found if line.team})
    part = "_".join(f"{name}s" for name in by)
    return await asyncio.to_thread(lambda: answer(_by_day(found, part, lambda line: _payer(line, names))))


@ROUTER.get("/key/spend/report")
async def of_key(view: Viewer, query: Annotated[OfKey, Query()]) -> Response:
    """The calling key's spend by model; an admin may name another key."""
    span = needed(query.start_date, query.end_date, _LONGEST)
    mine = view.access.caller.key_hash
    keys = await view.keys(query.api_key) or [mine]
    if mine not in keys and not view.access.reads_all:
        raise forbidden("view spend for an api_key other than its own")
    wanted = keys if view.access.reads_all else [mine]
    return await _answered(view, Question(("key", "model"), *span, key=wanted))


@ROUTER.get("/user/spend/report")
async def of_user(view: Viewer, query: Annotated[OfUser, Query()]) -> Response:
    """The calling user's spend by key and model; an admin may name another user."""
    span = needed(query.start_date, query.end_date, _LONGEST)
    user = only(query.internal_user_id, view.access.caller.user, view.access, "internal_user_id")
    return await _answered(view, Question(("key", "model"), *span, user=[_given(user, "internal_user_id")]))


@ROUTER.get("/team/spend/report")
async def of_team(view: Viewer, query: Annotated[OfTeam, Query()]) -> Response:
    """The spend of the calling key's team by key and model; an admin may name another team, a team's admin his."""
    span = needed(query.start_date, query.end_date, _LONGEST)
    access = view.access
    team = query.team_id or access.caller.team
    if not (access.reads_all or team == access.caller.team or team in access.admin_of_teams):
        raise forbidden("view spend for a team_id other than its own")
    return await _answered(view, Question(("key", "model"), *span, team=[_given(team, "team_id")]))


@ROUTER.get("/organization/spend/report")
async def of_organization(view: Viewer, query: Annotated[OfOrganization, Query()]) -> Response:
    """An organization's spend by key, model and team, for its admins and the proxy's."""
    span = needed(query.start_date, query.end_date, _LONGEST)
    access = view.access
    organization = _given(query.organization_id or access.caller.organization, "organization_id")
    if not access.reads_all and organization not in access.admin_of_organizations:
        raise forbidden("view the spend of this organization")
    return await _answered(view, Question(("key", "team", "model"), *span, organization=[organization]))


async def _answered(view: Viewer, question: Question) -> Response:
    """The report of what the route has found the caller to be allowed to see."""
    with view.office.reading() as pool:
        async with reading(pool) as connection:
            return answer(_by_key(await sums(connection, question)))


def _given(id: str, name: str) -> str:
    if not id:
        raise Refused(
            Kind.INVALID_REQUEST, f"No {name} associated with this API key; pass a {name} query param", param=name
        )
    return id


def _by_key(lines: list[Sum]) -> list[dict[str, Any]]:
    keys: dict[str, list[Sum]] = {}
    for line in lines:
        keys.setdefault(line.key or "", []).append(line)
    found: list[dict[str, Any]] = [
        {"api_key": key, **_cost(models), "model_details": [_model(line) for line in models]}
        for key, models in keys.items()
    ]
    return sorted(found, key=lambda item: -item["total_cost"])


def _model(line: Sum) -> dict[str, Any]:
    team = {} if line.team is None else {"team_id": line.team}
    return {**team, "model": line.model, **_cost([line])}


def _cost(lines: list[Sum]) -> dict[str, Any]:
    return {
        "total_cost": sum((line.spend for line in lines), Decimal(0)),
        "total_input_tokens": sum(line.prompt for line in lines),
        "total_output_tokens": sum(line.completion for line in lines),
    }


def _payer(line: Sum, names: dict[str, str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    if line.team is not None:
        found["team_name"] = names.get(line.team, line.team) or _NO_TEAM
    if line.customer is not None:
        found["customer"] = line.customer
    return found


class _Used(msgspec.Struct, frozen=True, gc=False):
    """Flat and out of the garbage collector's sight: a report has a hundred thousand of them."""

    model: str | None
    api_key: str | None
    spend: Decimal
    total_tokens: int


def _by_day(lines: list[Sum], part: str, payer: Callable[[Sum], dict[str, str | None]]) -> list[dict[str, Any]]:
    days: dict[date, dict[tuple[Any, ...], dict[str, Any]]] = {}
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in lines:
        assert line.day is not None
        place = (line.day, line.team, line.customer)
        if (entry := known.get(place)) is None:
            who = payer(line)
            first: dict[str, Any] = {**who, "total_spend": Decimal(0), "metadata": []}
            entry = known[place] = days.setdefault(line.day, {}).setdefault(tuple(who.values()), first)
        entry["total_spend"] += line.spend
        entry["metadata"].append(_Used(line.model, line.key, line.spend, line.tokens))
    return [{"group_by_day": f"{day}T00:00:00+00:00", part: list(days[day].values())} for day in sorted(days)]
