"""`/spend/logs`: what the ledger has, row by row or summed up by day, of what the caller may see."""

import asyncio
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.management.fields import Order
from api.management.office import answer
from api.management.spend.bounds import Day, Key, Text, midnight, moment, needed
from api.management.spend.sight import View, Viewer
from ledger import logs
from ledger.reports import Question, Sum, reading, sums
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["spend"])
_NEVER = frozenset({"agent", "mcp", "batch"})  # kinds of LiteLLM's calls that are no rows here
_TRUNCATED = {"x-litellm-spend-logs-truncated": "true"}

Dollars = Annotated[Decimal | None, Field(allow_inf_nan=False, ge=-(10**12), le=10**12)]


class Listing(BaseModel):
    """The query of `/spend/logs`."""

    api_key: Key = None
    user_id: Text = None
    request_id: Text = None
    start_date: Day | None = None
    end_date: Day | None = None
    summarize: bool = True
    limit: Annotated[int, Field(ge=1, le=logs.MOST_ROWS)] = logs.MOST_COUNTED


class Filters(BaseModel):
    """The query of a page of rows."""

    model_config = ConfigDict(protected_namespaces=())

    api_key: Key = None
    user_id: Text = None
    request_id: Text = None
    session_id: Text = None
    team_id: Text = None
    min_spend: Dollars = None
    max_spend: Dollars = None
    start_date: Text = None
    end_date: Text = None
    page: Annotated[int, Field(ge=1, le=10**6)] = 1
    page_size: Annotated[int, Field(ge=1, le=1000)] = 50
    status_filter: Text = None
    cache_hit_filter: Literal["hit", "miss"] | None = None
    span_type: Literal["llm", "agent", "mcp", "batch"] | None = None
    model: Text = None
    model_id: Text = None
    model_group: Text = None
    key_alias: Text = None
    end_user: Text = None
    error_code: Text = None
    error_message: Text = None
    sort_by: Literal["spend", "total_tokens", "startTime", "endTime", "request_duration_ms", "model", "ttft_ms"] = (
        "startTime"
    )
    sort_order: Order = "desc"
    search: Text = None


@ROUTER.get("/spend/logs")
async def listing(view: Viewer, query: Annotated[Listing, Query()]) -> Response:
    """One object per upstream attempt, the newest last; at most `limit` of them, the newest.

    With both days, and unless `summarize` is false, one object per day instead: its spend, by key, user and model.
    `api_key` is a key, its SHA-256 or its id. Days are UTC, both included.
    """
    if query.start_date is not None and query.end_date is not None and query.summarize:
        return await _summary(view, query, *needed(query.start_date, query.end_date))
    which = logs.Which(
        view.sight,
        since=midnight(query.start_date) if query.start_date else None,
        until=midnight(query.end_date + timedelta(days=1)) if query.end_date else None,
        keys=await view.keys(query.api_key),
        user=query.user_id,
        request=query.request_id,
    )
    with view.office.reading() as pool:
        async with reading(pool) as connection:
            rows = await logs.page(connection, which, logs.Page(query.limit), view.bases())
    rows.reverse()
    headers = _TRUNCATED if len(rows) == query.limit else None
    return Response(await asyncio.to_thread(msgspec.json.encode, rows), headers=headers, media_type="application/json")


async def _summary(view: View, query: Listing, since: date, until: date) -> Response:
    keys = await view.keys(query.api_key)
    users = None if query.user_id is None else (query.user_id,)
    with view.office.reading() as pool:
        async with reading(pool) as connection:
            by_key, by_user, by_model = [
                await sums(
                    connection,
                    Question(("day", name), since, until, view.sight, key=keys, user=users, request=query.request_id),
                )
                for name in ("key", "user", "model")
            ]
    return answer(list(_days(by_key, by_user, by_model, until)))


@ROUTER.get("/spend/logs/v2")
async def second(view: Viewer, filters: Annotated[Filters, Query()]) -> Response:
    """A page of rows: {data, total, page, page_size, total_pages, total_is_capped}; the newest first.

    `start_date` and `end_date` are wanted. `total` counts no more than 10,000.
    """
    return await _page(view, filters, await _which(view, filters, anytime=False))


@ROUTER.get("/spend/logs/ui")
async def shown(view: Viewer, filters: Annotated[Filters, Query()]) -> Response:
    """As `/spend/logs/v2`; a `request_id` is found at any time."""
    return await _page(view, filters, await _which(view, filters, anytime=filters.request_id is not None))


@ROUTER.get("/spend/logs/session/ui")
async def session(
    view: Viewer,
    session_id: Annotated[str, Query(max_length=1000)],
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Response:
    """A page of a session's rows, as of `/spend/logs/v2`."""
    which = logs.Which(view.sight, session=session_id)
    return await _page(view, Filters(page=page, page_size=page_size), which)


@ROUTER.get("/spend/logs/ui/{request_id}")
async def payload(view: Viewer, request_id: str) -> Response:
    """What was asked and answered, which is never kept: null, or nulls when there is such a request."""
    with view.office.reading() as pool:
        async with reading(pool) as connection:
            found = await logs.count(connection, logs.Which(view.sight, request=request_id))
    return answer({"messages": None, "response": None, "proxy_server_request": None} if found else None)


async def _which(view: View, filters: Filters, *, anytime: bool) -> logs.Which:
    if not anytime and not (filters.start_date and filters.end_date):
        raise Refused(Kind.INVALID_REQUEST, "Start date and end date are required", param="start_date")
    timed = not anytime and filters.start_date and filters.end_date
    return logs.Which(
        view.sight,
        since=moment(filters.start_date) if timed and filters.start_date else None,
        until=moment(filters.end_date, end=True) if timed and filters.end_date else None,
        keys=await view.keys(filters.api_key),
        user=filters.user_id,
        team=filters.team_id,
        request=filters.request_id,
        session=filters.session_id,
        model=filters.model,
        deployment=filters.model_id,
        group=filters.model_group,
        key_alias=filters.key_alias,
        end_user=filters.end_user,
        status=filters.status_filter,
        error=filters.error_code,
        error_text=filters.error_message,
        least=filters.min_spend,
        most=filters.max_spend,
        search=filters.search,
        search_keys=await view.keys(filters.search) or (),
    )


async def _page(view: View, filters: Filters, which: logs.Which) -> Response:
    part = logs.Page(
        filters.page_size, (filters.page - 1) * filters.page_size, filters.sort_by, filters.sort_order == "asc"
    )
    rows: list[dict[str, Any]] = []
    total = 0
    if filters.cache_hit_filter != "hit" and filters.span_type not in _NEVER:
        with view.office.reading() as pool:
            async with reading(pool) as connection:
                total = await logs.count(connection, which)
                rows = await logs.page(connection, which, part, view.bases())
    counted = min(total, logs.MOST_COUNTED)
    body = {
        "data": rows,
        "total": counted,
        "page": filters.page,
        "page_size": filters.page_size,
        "total_pages": -(-counted // filters.page_size),
        "total_is_capped": total > counted,
    }
    return Response(await asyncio.to_thread(msgspec.json.encode, body), media_type="application/json")


def _days(by_key: list[Sum], by_user: list[Sum], by_model: list[Sum], until: date) -> Iterable[dict[str, Any]]:
    """LiteLLM's summary: a day's keys are fields of it; the days after the last one are there, and empty."""
    keys, users, models = _by_day(by_key, "key"), _by_day(by_user, "user"), _by_day(by_model, "model")
    for day in sorted(models):
        spend = sum(models[day].values(), Decimal(0))
        payers = users.get(day, {})
        nobody = spend - sum(payers.values(), Decimal(0))  # the daily sums know no calls without a user
        shown = {**payers, "": nobody} if nobody else payers
        yield {**keys.get(day, {}), "startTime": day, "spend": spend, "users": shown, "models": models[day]}
    last = max(models, default=until)
    for ahead in range(1, (until - last).days + 1):
        yield {"startTime": last + timedelta(days=ahead), "spend": 0, "users": {}, "models": {}}


def _by_day(lines: list[Sum], name: str) -> dict[date, dict[str, Decimal]]:
    found: dict[date, dict[str, Decimal]] = {}
    for line in lines:
        assert line.day is not None
        found.setdefault(line.day, {})[getattr(line, name)] = line.spend
    return found
