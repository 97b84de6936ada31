"""`…/daily/activity`: what was used day by day, with each day's models, providers, endpoints, keys and payers."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.management.spend import scopes
from api.management.spend.bounds import Day, Ids, Key, Text, needed
from api.management.spend.metrics import days_shown, totals
from api.management.spend.scopes import Asked
from api.management.spend.sight import View, Viewer
from ledger.activity import Line, days, lines
from ledger.reports import reading

ROUTER = APIRouter(tags=["spend"])
_FULL = 150_000
"""Attempts of a page: it ends with the day that brings it there, so that it takes a fraction of a second."""
_LONGEST = 4000


class Range(BaseModel):
    """What all these queries have."""

    model_config = ConfigDict(protected_namespaces=())

    start_date: Day | None = None
    end_date: Day | None = None
    model: Text = None
    api_key: Key = None
    timezone: Annotated[int | None, Field(ge=-24 * 60, le=24 * 60)] = None
    include_current_utc_day: bool = False
    page: Annotated[int, Field(ge=1, le=10**6)] = 1
    page_size: Annotated[int, Field(ge=1, le=1000)] = 50
    api_key_limit: Annotated[int, Field(ge=1, le=1000)] = 100

    def asked(self, ids: str | None = None, excluded: str | None = None) -> Asked:
        """The part of it that says whose activity it is."""
        return Asked(ids, excluded, self.model, self.api_key, self.api_key_limit)


class OfUser(Range):
    """The query for users."""

    user_id: Text = None


class OfTeams(Range):
    """The query for teams."""

    team_ids: Ids = None
    exclude_team_ids: Ids = None


class OfOrganizations(Range):
    """The query for organizations."""

    organization_ids: Ids = None
    exclude_organization_ids: Ids = None


class OfCustomers(Range):
    """The query for customers."""

    end_user_ids: Ids = None
    exclude_end_user_ids: Ids = None


class OfTags(Range):
    """The query for tags."""

    tags: Ids = None


@ROUTER.get("/user/daily/activity")
async def of_user(view: Viewer, query: Annotated[OfUser, Query()]) -> Response:
    """A user's activity, page by page; an admin's without `user_id` is everybody's."""
    return await _paged(view, query, await scopes.of_user(view, query.asked(query.user_id)))


@ROUTER.get("/user/daily/activity/aggregated")
async def of_user_at_once(view: Viewer, query: Annotated[OfUser, Query()]) -> Response:
    """The same, all days in one answer; everybody's has no part for each user."""
    whose = await scopes.of_user(view, query.asked(query.user_id))
    return await _at_once(view, query, replace(whose, scope=replace(whose.scope, users=False)))


@ROUTER.get("/team/daily/activity")
async def of_teams(view: Viewer, query: Annotated[OfTeams, Query()]) -> Response:
    """Activity of teams, page by page: all of it for who administers them, a member's own for others."""
    return await _paged(view, query, await scopes.of_teams(view, query.asked(query.team_ids, query.exclude_team_ids)))


@ROUTER.get("/team/daily/activity/aggregated")
async def of_teams_at_once(view: Viewer, query: Annotated[OfTeams, Query()]) -> Response:
    """The same, all days in one answer."""
    return await _at_once(view, query, await scopes.of_teams(view, query.asked(query.team_ids, query.exclude_team_ids)))


@ROUTER.get("/organization/daily/activity")
async def of_organizations(view: Viewer, query: Annotated[OfOrganizations, Query()]) -> Response:
    """Activity of organizations, page by page, for their admins."""
    asked = query.asked(query.organization_ids, query.exclude_organization_ids)
    return await _paged(view, query, await scopes.of_organizations(view, asked))


@ROUTER.get("/organization/daily/activity/aggregated")
async def of_organizations_at_once(view: Viewer, query: Annotated[OfOrganizations, Query()]) -> Response:
    """The same, all days in one answer."""
    asked = query.asked(query.organization_ids, query.exclude_organization_ids)
    return await _at_once(view, query, await scopes.of_organizations(view, asked))


@ROUTER.get("/customer/daily/activity")
@ROUTER.get("/end_user/daily/activity")
async def of_customers(view: Viewer, query: Annotated[OfCustomers, Query()]) -> Response:
    """Activity of customers, page by page, for admins."""
    asked = query.asked(query.end_user_ids, query.exclude_end_user_ids)
    return await _paged(view, query, await scopes.of_customers(view, asked))


@ROUTER.get("/customer/daily/activity/aggregated")
@ROUTER.get("/end_user/daily/activity/aggregated")
async def of_customers_at_once(view: Viewer, query: Annotated[OfCustomers, Query()]) -> Response:
    """The same, all days in one answer."""
    asked = query.asked(query.end_user_ids, query.exclude_end_user_ids)
    return await _at_once(view, query, await scopes.of_customers(view, asked))


@ROUTER.get("/tag/daily/activity")
async def of_tags(view: Viewer, query: Annotated[OfTags, Query()]) -> Response:
    """Activity with tags, page by page; of a call with two tags it is in both."""
    return await _paged(view, query, await scopes.of_tags(view, query.asked(query.tags)))


@ROUTER.get("/tag/daily/activity/aggregated")
async def of_tags_at_once(view: Viewer, query: Annotated[OfTags, Query()]) -> Response:
    """The same, all days in one answer."""
    return await _at_once(view, query, await scopes.of_tags(view, query.asked(query.tags)))


async def _paged(view: View, query: Range, whose: scopes.Whose) -> Response:
    """A page is whole days: at most `page_size`, and fewer where they are full."""
    since, until = _span(view, query, _LONGEST)
    with view.office.reading() as pool:
        async with reading(pool) as connection:
            pages = _pages(await days(connection, whose.scope, since, until), query.page_size)
            wanted = pages[query.page - 1] if query.page <= len(pages) else []
            found = await lines(connection, whose.scope, wanted[-1], wanted[0]) if wanted else None
    place = {"page": query.page, "total_pages": len(pages), "has_more": query.page < len(pages)}
    return await _answer(view, whose, found.lines if found else [], place)


async def _at_once(view: View, query: Range, whose: scopes.Whose) -> Response:
    since, until = _span(view, query)
    with view.office.reading() as pool:
        async with reading(pool) as connection:
            found = await lines(connection, whose.scope, since, until)
    place = {"page": 1, "total_pages": 1, "has_more": False}
    return await _answer(
        view, whose, found.lines, {**place, "api_key_limit": query.api_key_limit, "total_api_keys": found.keys}
    )


def _span(view: View, query: Range, longest: int | None = None) -> tuple[date, date]:
    since, until = needed(query.start_date, query.end_date, *(() if longest is None else (longest,)))
    if query.timezone is not None and query.include_current_utc_day:
        until = scopes.with_today(view.office.now(), query.timezone, until)
    return since, until


def _pages(found: Sequence[tuple[date, int]], size: int) -> list[list[date]]:
    pages: list[list[date]] = []
    attempts = _FULL
    for day, count in found:
        if attempts >= _FULL or len(pages[-1]) >= size:
            pages.append([])
            attempts = 0
        pages[-1].append(day)
        attempts += count
    return pages


async def _answer(view: View, whose: scopes.Whose, found: Iterable[Line], place: Mapping[str, Any]) -> Response:
    found = list(found)
    keys = await scopes.key_names(view, {line.key for line in found if line.key})
    entities = await whose.names({line.name for line in found if line.part == "entities" and line.name})

    def encoded() -> bytes:
        results = days_shown(found, keys, entities)
        return _ENCODER.encode({"results": results, "metadata": {**totals(found), **place}})

    return Response(await asyncio.to_thread(encoded), media_type="application/json")


_ENCODER = msgspec.json.Encoder(decimal_format="number")
