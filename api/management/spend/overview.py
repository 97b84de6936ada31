"""`/global/spend*` and `/spend/tags`: what was spent, by day, key, team, model, provider, tag and customer.

Without days of their own they are about the last thirty, as in LiteLLM.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.management.fields import Body
from api.management.office import answer
from api.management.spend.asking import ask
from api.management.spend.bounds import Days, Key, Text, any_time, month, needed, split
from api.management.spend.sight import View, Viewer
from ledger import tenants
from ledger.reports import MOST, Sum

ROUTER = APIRouter(tags=["spend"])
_SHOWN_TEAMS = 10
_SHOWN_CUSTOMERS = 100
_UNASSIGNED = "Unassigned"


class OfTags(Days):
    """The query of `/global/spend/tags`: `tags` with commas between them, or `all-tags`."""

    tags: Text = None


class Customers(Body):
    """The body of `/global/spend/end_users`."""

    api_key: Key = None
    startTime: datetime | None = None
    endTime: datetime | None = None


@ROUTER.get("/global/spend")
async def total(view: Viewer) -> Response:
    """What was spent, and the proxy's own budget, if it has one."""
    found = await ask(view, (), month(view.office.now()))
    budgets = (budget for budget in view.access.terms.budgets if budget.account.kind == "proxy")
    return answer({"spend": _spent(found), "max_budget": next((budget.most for budget in budgets), None)})


@ROUTER.get("/global/spend/logs")
async def by_day(view: Viewer, api_key: Key = None) -> Response:
    """Spend by day: [{date, spend}]; of one key if it is named."""
    keys = await view.keys(api_key)
    by = ("day",) if keys is None else ("day", "key")
    found = await ask(view, by, month(view.office.now()), key=keys)
    lines = [
        {"date": line.day, "spend": line.spend} | ({} if line.key is None else {"api_key": line.key}) for line in found
    ]
    return answer(sorted(lines, key=lambda line: str(line["date"])))


@ROUTER.get("/global/spend/keys")
async def by_key(view: Viewer, limit: Annotated[int, Query(ge=1, le=MOST)] = 1000) -> Response:
    """The dearest keys: [{api_key, key_alias, key_name, total_spend}]."""
    found = await ask(view, ("key",), month(view.office.now()), limit=limit)
    ids = [line.key for line in found if line.key]
    with view.office.reading() as pool:
        rows = await tenants.matching(pool, tenants.KEYS, {"key_id": ids}, limit=limit)
    keys = {row["key_id"]: row for row in rows}
    return answer(
        [
            {
                "api_key": line.key,
                "key_alias": keys.get(line.key or "", {}).get("key_alias"),
                "key_name": keys.get(line.key or "", {}).get("key_name"),
                "total_spend": line.spend,
            }
            for line in found
        ]
    )


@ROUTER.get("/global/spend/teams")
async def by_team(view: Viewer) -> Response:
    """Spend by day and team: {daily_spend: [{date, <team>: spend}], teams, total_spend_per_team}; teams by alias."""
    span = month(view.office.now())
    found = await ask(view, ("day", "team"), span)
    names = await team_names(view, {line.team for line in found if line.team})
    days: dict[Any, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for line in (line for line in found if line.spend):
        days[line.day][names.get(line.team or "", line.team) or _UNASSIGNED] += line.spend
    for line in await ask(view, ("day",), span):  # the daily sums know no calls without a team
        rest = line.spend - sum(days[line.day].values())
        if rest:
            days[line.day][_UNASSIGNED] += rest
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for teams in days.values():
        for name, spend in teams.items():
            totals[name] += spend
    dearest = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    return answer(
        {
            "daily_spend": [{"date": day, **days[day]} for day in sorted(days)],
            "teams": sorted(totals),
            "total_spend_per_team": [{"team_id": name, "total_spend": spend} for name, spend in dearest[:_SHOWN_TEAMS]],
        }
    )


@ROUTER.get("/global/spend/models")
async def by_model(view: Viewer, limit: Annotated[int, Query(ge=1, le=MOST)] = 10) -> Response:
    """The dearest models: [{model, total_spend, total_tokens}]."""
    found = await ask(view, ("model",), month(view.office.now()), limit=limit)
    return answer([{"model": s.model, "total_spend": s.spend, "total_tokens": s.tokens} for s in found if s.model])


@ROUTER.get("/global/spend/provider")
async def by_provider(view: Viewer, days: Annotated[Days, Query()]) -> Response:
    """Spend by provider: [{provider, spend}]."""
    found = await ask(view, ("provider",), needed(days.start_date, days.end_date))
    return answer([{"provider": line.provider or "Unknown", "spend": line.spend} for line in found])


@ROUTER.post("/global/spend/end_users")
async def by_customer(view: Viewer, body: Customers | None = None) -> Response:
    """The hundred dearest customers: [{end_user, total_count, total_spend}]. Times are rounded to whole UTC days."""
    body = body or Customers()
    first, last = month(view.office.now())
    since = _utc(body.startTime).date() if body.startTime else first
    until = (_utc(body.endTime) - timedelta(microseconds=1)).date() if body.endTime else last
    found = await ask(
        view,
        ("customer",),
        needed(since, until),
        key=await view.keys(body.api_key),
        limit=_SHOWN_CUSTOMERS,
    )
    return answer([{"end_user": s.customer, "total_count": s.requests, "total_spend": s.spend} for s in found])


@ROUTER.get("/global/all_end_users")
async def customers(view: Viewer) -> Response:
    """Every customer for whom a call was ever made."""
    found = await ask(view, ("customer",), any_time(None, None))
    return answer({"end_users": sorted(line.customer for line in found if line.customer)})


@ROUTER.get("/global/spend/all_tag_names")
async def tag_names(view: Viewer) -> Response:
    """Every tag that a call ever had."""
    found = await ask(view, ("tag",), any_time(None, None))
    return answer({"tag_names": sorted(line.tag for line in found if line.tag)})


@ROUTER.get("/global/spend/tags")
async def by_tag(view: Viewer, query: Annotated[OfTags, Query()]) -> Response:
    """Spend by tag: {spend_per_tag: [{name, spend, log_count}]}, the dearest first."""
    names = split(query.tags)
    tags = None if names is None or "all-tags" in names else names
    found = await ask(view, ("tag",), needed(query.start_date, query.end_date), tag=tags)
    return answer(
        {"spend_per_tag": [{"name": s.tag, "spend": round(s.spend, 4), "log_count": s.requests} for s in found]}
    )


@ROUTER.get("/spend/tags")
async def tags(view: Viewer, days: Annotated[Days, Query()]) -> Response:
    """Spend by tag: [{individual_request_tag, log_count, total_spend}]; without days of all time."""
    found = await ask(view, ("tag",), any_time(days.start_date, days.end_date))
    return answer([{"individual_request_tag": s.tag, "log_count": s.requests, "total_spend": s.spend} for s in found])


async def team_names(view: View, ids: set[str]) -> dict[str, str]:
    """The aliases of teams, of those that have one."""
    with view.office.reading() as pool:
        rows = await tenants.matching(pool, tenants.TEAMS, {"team_id": sorted(ids)}, limit=MOST)
    return {row["team_id"]: row["team_alias"] for row in rows if row["team_alias"]}


def _utc(at: datetime) -> datetime:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def _spent(lines: list[Sum]) -> Decimal:
    return sum((line.spend for line in lines), Decimal(0))
