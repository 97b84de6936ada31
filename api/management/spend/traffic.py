"""`/global/activity*`: calls and tokens by day, by model, and how many calls a provider refused for its rate limits."""

from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.management.office import answer
from api.management.spend.asking import ask
from api.management.spend.bounds import Days, needed
from api.management.spend.sight import Viewer
from ledger.reports import Sum

ROUTER = APIRouter(tags=["spend"])
_TOO_MANY = 429
_SHOWN = 10


class OfGroup(Days):
    """The query of `/global/activity/exceptions`."""

    model_group: Annotated[str, Query(max_length=1000)]


@ROUTER.get("/global/activity")
async def activity(view: Viewer, days: Annotated[Days, Query()]) -> Response:
    """{daily_data: [{date, api_requests, total_tokens}], sum_api_requests, sum_total_tokens}."""
    return answer(_used(await ask(view, ("day",), needed(days.start_date, days.end_date))))


@ROUTER.get("/global/activity/model")
async def by_model(view: Viewer, days: Annotated[Days, Query()]) -> Response:
    """The same for each of the ten busiest model groups, with its name as `model`."""
    found = await ask(view, ("day", "group"), needed(days.start_date, days.end_date))
    groups: dict[str, list[Sum]] = {}
    for line in found:
        groups.setdefault(line.group or "", []).append(line)
    lines = [{"model": group, **_used(one)} for group, one in groups.items()]
    return answer(sorted(lines, key=lambda line: -line["sum_api_requests"])[:_SHOWN])


@ROUTER.get("/global/activity/exceptions")
async def exceptions(view: Viewer, query: Annotated[OfGroup, Query()]) -> Response:
    """Calls of a model group that its providers answered with 429: {daily_data, sum_num_rate_limit_exceptions}."""
    span = needed(query.start_date, query.end_date)
    return answer(_refused(await ask(view, ("day",), span, group=query.model_group, http_status=_TOO_MANY)))


@ROUTER.get("/global/activity/exceptions/deployment")
async def exceptions_by_deployment(view: Viewer, query: Annotated[OfGroup, Query()]) -> Response:
    """The same for each of the ten most refused deployments, whose id is its `api_base`."""
    span = needed(query.start_date, query.end_date)
    found = await ask(view, ("day", "deployment"), span, group=query.model_group, http_status=_TOO_MANY)
    deployments: dict[str, list[Sum]] = {}
    for line in found:
        deployments.setdefault(line.deployment or "", []).append(line)
    lines = [{"api_base": deployment, **_refused(one)} for deployment, one in deployments.items()]
    return answer(sorted(lines, key=lambda line: -line["sum_num_rate_limit_exceptions"])[:_SHOWN])


def _used(lines: list[Sum]) -> dict[str, Any]:
    return {
        "daily_data": [
            {"date": _shown(line.day), "api_requests": line.requests, "total_tokens": line.tokens}
            for line in _in_order(lines)
        ],
        "sum_api_requests": sum(line.requests for line in lines),
        "sum_total_tokens": sum(line.tokens for line in lines),
    }


def _refused(lines: list[Sum]) -> dict[str, Any]:
    return {
        "daily_data": [
            {"date": _shown(line.day), "num_rate_limit_exceptions": line.requests} for line in _in_order(lines)
        ],
        "sum_num_rate_limit_exceptions": sum(line.requests for line in lines),
    }


def _in_order(lines: list[Sum]) -> Iterable[Sum]:
    return sorted(lines, key=lambda line: line.day or date.min)


def _shown(day: date | None) -> str:
    """`Jan 22`, in English wherever this runs."""
    assert day is not None
    return f"{_MONTHS[day.month - 1]} {day.day:02}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
