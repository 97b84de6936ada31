"""`/tag/summary`, `/tag/dau`, `/tag/wau`, `/tag/mau`: what was used with a tag, and by how many users."""

from collections.abc import Callable
from datetime import UTC
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from api.management.office import answer
from api.management.spend.asking import ask
from api.management.spend.bounds import Day, Text, needed
from api.management.spend.sight import View, Viewer
from ledger.reports import reading
from ledger.tag_users import Periods, Users, tag_users

ROUTER = APIRouter(tags=["spend"])
_SHOWN = 7  # periods


class Tags(BaseModel):
    """Which tags: those of a list, else those whose name contains a text."""

    tag_filter: Text = None
    tag_filters: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=1000)] = []

    @property
    def named(self) -> list[str] | None:
        """The tags of the list."""
        return self.tag_filters or None

    @property
    def part(self) -> str | None:
        """What their names contain."""
        return None if self.tag_filters else self.tag_filter


class Summary(Tags):
    """The query of `/tag/summary`."""

    start_date: Day
    end_date: Day


@ROUTER.get("/tag/summary")
async def summary(view: Viewer, query: Annotated[Summary, Query()]) -> Response:
    """What was used with each tag in some days, and by how many users; the busiest first."""
    since, until = needed(query.start_date, query.end_date)
    found = await ask(view, ("tag",), (since, until), tag=query.named)
    whole = Periods(until, (until - since).days + 1)
    users = {line.tag: line.users for line in await _users(view, whole, query)}
    part = (query.part or "").lower()
    results = [
        {
            "tag": line.tag,
            "unique_users": users.get(line.tag or "", 0),
            "total_requests": line.requests,
            "successful_requests": line.successes,
            "failed_requests": line.failures,
            "total_tokens": line.tokens,
            "total_spend": line.spend,
        }
        for line in found
        if part in (line.tag or "").lower()
    ]
    return answer({"results": sorted(results, key=lambda result: -int(str(result["total_requests"])))})


@ROUTER.get("/tag/dau")
async def daily(view: Viewer, tags: Annotated[Tags, Query()]) -> Response:
    """Users of each tag on each of the last seven days."""
    return await _active(view, tags, 1, lambda _, periods, period: periods.begins(period).isoformat())


@ROUTER.get("/tag/wau")
async def weekly(view: Viewer, tags: Annotated[Tags, Query()]) -> Response:
    """Users of each tag in each of the last seven weeks; the last of them ends today."""
    return await _active(view, tags, 7, _week)


@ROUTER.get("/tag/mau")
async def monthly(view: Viewer, tags: Annotated[Tags, Query()]) -> Response:
    """Users of each tag in each of the last seven times thirty days; the last of them ends today."""
    return await _active(view, tags, 30, _month)


async def _active(view: View, tags: Tags, length: int, named: Callable[[int, Periods, int], str]) -> Response:
    periods = Periods(view.office.now().astimezone(UTC).date(), length, _SHOWN)
    results: list[dict[str, Any]] = [
        {
            "tag": line.tag,
            "active_users": line.users,
            "date": named(_SHOWN - line.period, periods, line.period),
            "period_start": None if length == 1 else periods.begins(line.period),
            "period_end": None if length == 1 else periods.ends(line.period),
        }
        for line in await _users(view, periods, tags)
    ]
    return answer({"results": results})


def _week(number: int, periods: Periods, period: int) -> str:
    begin = periods.begins(period)
    return f"Week {number} ({_MONTHS[begin.month - 1]} {begin.day:02})"


def _month(number: int, periods: Periods, period: int) -> str:
    return f"Month {number} ({_MONTHS[periods.begins(period).month - 1]})"


async def _users(view: View, periods: Periods, tags: Tags) -> list[Users]:
    with view.office.reading() as pool:
        async with reading(pool) as connection:
            return await tag_users(connection, periods, tags.named, tags.part, view.sight)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
