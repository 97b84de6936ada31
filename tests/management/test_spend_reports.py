"""`/global/spend*`, `/global/activity*`, `…/spend/report`, `/spend/tags`: sums, and whose they are."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from ledger.pool import Pool
from ledger.spend import record
from schemas.access import Account, Budget, Role, Terms
from schemas.usage import Caller
from tests.management.spending import (
    ANN,
    ANNS,
    BOBS,
    BOT,
    CARLS,
    FIRST,
    SECOND,
    SECRET,
    SPAN,
    call,
    counter,
    somebody,
    spent,
)
from tests.support.office import ADMIN, Bureau


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The spend routes; seven calls were made."""
    await spent(pool)
    async with counter(pool) as found:
        yield found


async def test_everything_that_was_spent(office: Bureau) -> None:
    assert await office.get("/global/spend") == {"spend": 6.3, "max_budget": None}
    budget = Budget(account=Account("proxy", ""), named="Proxy", most=Decimal(50))
    office.access = somebody(ADMIN.caller, role=Role.ADMIN, terms=Terms(budgets=(budget,)))
    assert (await office.get("/global/spend"))["max_budget"] == 50
    await record(office.pool, [call("old", "100", ANNS, day=-40)])
    assert (await office.get("/global/spend"))["spend"] == 6.3


async def test_by_day(office: Bureau) -> None:
    assert await office.get("/global/spend/logs") == [{"date": FIRST, "spend": 3.7}, {"date": SECOND, "spend": 2.6}]
    assert await office.get("/global/spend/logs", api_key=SECRET) == [
        {"date": FIRST, "spend": 0.1, "api_key": ANN},
        {"date": SECOND, "spend": 0.2, "api_key": ANN},
    ]


async def test_by_key(office: Bureau) -> None:
    found = await office.get("/global/spend/keys")
    assert [(row["api_key"], row["key_alias"], row["total_spend"]) for row in found] == [
        ("bot", "bot", 3.2), ("carls", None, 1.6), ("bobs", "phone", 1.2), (ANN, "laptop", 0.3),
    ]  # fmt: skip
    assert len(await office.get("/global/spend/keys", limit=1)) == 1
    await office.get("/global/spend/keys", 400, limit=0)


async def test_by_team(office: Bureau) -> None:
    found = await office.get("/global/spend/teams")
    assert found["daily_spend"] == [
        {"date": FIRST, "Reds": 0.5, "Unassigned": 3.2},
        {"date": SECOND, "blue": 1.6, "Reds": 1.0},
    ]
    assert found["teams"] == ["Reds", "Unassigned", "blue"]
    assert found["total_spend_per_team"][0] == {"team_id": "Unassigned", "total_spend": 3.2}


async def test_by_model_and_provider(office: Bureau) -> None:
    first, second = await office.get("/global/spend/models")
    assert (first["total_spend"], first["total_tokens"]) == (6.1, 720)
    assert second == {"model": "claude-sonnet-4", "total_spend": 0.2, "total_tokens": 120}
    assert await office.get("/global/spend/provider", **SPAN) == [
        {"provider": "openai", "spend": 6.1},
        {"provider": "anthropic", "spend": 0.2},
    ]


async def test_by_customer(office: Bureau) -> None:
    found = await office.post("/global/spend/end_users")
    assert found == [
        {"end_user": "c2", "total_count": 1, "total_spend": 1.6},
        {"end_user": "c1", "total_count": 2, "total_spend": 0.3},
    ]
    one = await office.post("/global/spend/end_users", api_key=SECRET, endTime="2026-09-22T00:00:00Z")
    assert one == [{"end_user": "c1", "total_count": 1, "total_spend": 0.1}]
    assert await office.get("/global/all_end_users") == {"end_users": ["c1", "c2"]}


async def test_by_tag(office: Bureau) -> None:
    assert await office.get("/global/spend/tags", **SPAN) == {
        "spend_per_tag": [{"name": "x", "spend": 1.5, "log_count": 4}, {"name": "y", "spend": 0.3, "log_count": 2}]
    }
    one = await office.get("/global/spend/tags", tags="y,z", start_date=SECOND, end_date=SECOND)
    assert one == {"spend_per_tag": [{"name": "y", "spend": 0.2, "log_count": 1}]}
    everything = await office.get("/global/spend/tags", tags="all-tags", **SPAN)
    assert len(everything["spend_per_tag"]) == 2
    assert await office.get("/global/spend/all_tag_names") == {"tag_names": ["x", "y"]}
    assert (await office.get("/spend/tags"))[0] == {"individual_request_tag": "x", "log_count": 4, "total_spend": 1.5}


async def test_calls_and_tokens(office: Bureau) -> None:
    assert await office.get("/global/activity", **SPAN) == {
        "daily_data": [
            {"date": "Sep 21", "api_requests": 3, "total_tokens": 360},
            {"date": "Sep 22", "api_requests": 4, "total_tokens": 480},
        ],
        "sum_api_requests": 7,
        "sum_total_tokens": 840,
    }
    groups = await office.get("/global/activity/model", **SPAN)
    assert [(group["model"], group["sum_api_requests"]) for group in groups] == [("gpt-4o", 6), ("claude", 1)]
    refused = {"daily_data": [{"date": "Sep 21", "num_rate_limit_exceptions": 1}], "sum_num_rate_limit_exceptions": 1}
    assert await office.get("/global/activity/exceptions", model_group="gpt-4o", **SPAN) == refused
    (deployment,) = await office.get("/global/activity/exceptions/deployment", model_group="gpt-4o", **SPAN)
    assert deployment == {"api_base": "d1", **refused}
    assert (await office.get("/global/activity/exceptions", model_group="claude", **SPAN))["daily_data"] == []


async def test_a_report_by_key(office: Bureau) -> None:
    found = await office.get("/global/spend/report", group_by="api_key", **SPAN)
    assert [(row["api_key"], row["total_cost"]) for row in found] == [
        ("bot", 3.2), ("carls", 1.6), ("bobs", 1.2), (ANN, 0.3),
    ]  # fmt: skip
    (mine,) = await office.get("/global/spend/report", api_key=SECRET, **SPAN)
    assert mine == await _only(office, "/key/spend/report", api_key=SECRET)
    assert mine == await _only(office, "/user/spend/report", internal_user_id="ann")
    assert (mine["total_input_tokens"], mine["total_output_tokens"]) == (200, 40)
    assert {line["model"]: line["total_cost"] for line in mine["model_details"]} == {
        "claude-sonnet-4": 0.2, "gpt-4o-2024-11-20": 0.1,
    }  # fmt: skip
    assert [row["api_key"] for row in await office.get("/global/spend/report", internal_user_id="bob", **SPAN)] == [
        "bobs"
    ]


async def _only(office: Bureau, path: str, **query: Any) -> Any:
    (row,) = await office.get(path, **query, **SPAN)
    return row


async def test_a_report_by_team_and_customer(office: Bureau) -> None:
    first, second = await office.get("/global/spend/report", **SPAN)
    assert first["group_by_day"] == f"{FIRST}T00:00:00+00:00"
    assert {team["team_name"]: team["total_spend"] for team in first["teams"]} == {"Reds": 0.5, "Unassigned Team": 3.2}
    assert {team["team_name"] for team in second["teams"]} == {"Reds", "blue", "Unassigned Team"}
    reds = next(team for team in first["teams"] if team["team_name"] == "Reds")
    assert {"model": "gpt-4o-2024-11-20", "api_key": "bobs", "spend": 0.4, "total_tokens": 120} in reds["metadata"]
    days = await office.get("/global/spend/report", group_by="customer", **SPAN)
    assert {one["customer"] for one in days[1]["customers"]} == {"", "c1", "c2"}
    both = await office.get("/global/spend/report", team_id="red", customer_id="c1", **SPAN)
    assert [(day["teams_customers"][0]["team_name"], day["teams_customers"][0]["total_spend"]) for day in both] == [
        ("Reds", 0.1), ("Reds", 0.2),
    ]  # fmt: skip


async def test_reports_of_teams_and_organizations(office: Bureau) -> None:
    team = await office.get("/team/spend/report", team_id="red", **SPAN)
    assert [(row["api_key"], row["total_cost"]) for row in team] == [("bobs", 1.2), (ANN, 0.3)]
    organization = await office.get("/organization/spend/report", organization_id="acme", **SPAN)
    assert [row["total_cost"] for row in organization] == [1.2, 0.3]
    assert organization[0]["model_details"][0]["team_id"] == "red"


UNBOUNDED: list[dict[str, str]] = [
    {},
    {"start_date": FIRST},
    {"start_date": SECOND, "end_date": FIRST},
    {"start_date": "1726000000", "end_date": SECOND},
    {"start_date": "2020-01-01", "end_date": SECOND},
]


async def test_days_are_wanted_and_bounded(office: Bureau) -> None:
    for path in ("/global/spend/report", "/key/spend/report", "/global/activity", "/global/spend/provider"):
        for days in UNBOUNDED:
            await office.get(path, 400, **days)


async def test_everybody_reports_his_own(office: Bureau) -> None:
    office.access = somebody(ANNS, role=Role.USER)
    assert (await _only(office, "/key/spend/report"))["total_cost"] == 0.3
    assert (await _only(office, "/key/spend/report", api_key=SECRET))["total_cost"] == 0.3
    await office.get("/key/spend/report", 403, api_key="bobs", **SPAN)
    assert (await _only(office, "/user/spend/report"))["api_key"] == ANN
    await office.get("/user/spend/report", 403, internal_user_id="bob", **SPAN)
    assert len(await office.get("/team/spend/report", **SPAN)) == 2
    await office.get("/team/spend/report", 403, team_id="blue", **SPAN)
    await office.get("/organization/spend/report", 403, **SPAN)
    office.access = somebody(BOT)
    await office.get("/user/spend/report", 400, **SPAN)
    await office.get("/team/spend/report", 400, **SPAN)
    assert (await _only(office, "/key/spend/report"))["total_cost"] == 3.2
    office.access = somebody(CARLS, role=Role.ORG_ADMIN, admin_of_organizations=frozenset({"acme"}))
    assert len(await office.get("/organization/spend/report", organization_id="acme", **SPAN)) == 2


async def test_global_reports_show_a_user_his_own(office: Bureau) -> None:
    office.access = somebody(BOBS, role=Role.USER)
    assert (await office.get("/global/spend"))["spend"] == 1.2
    assert [day["spend"] for day in await office.get("/global/spend/logs")] == [0.4, 0.8]
    assert [row["api_key"] for row in await office.get("/global/spend/keys")] == ["bobs"]
    assert (await office.get("/global/spend/teams"))["teams"] == ["Reds"]
    assert await office.get("/global/spend/all_tag_names") == {"tag_names": ["x"]}
    assert (await office.get("/spend/tags"))[0]["total_spend"] == 1.2
    assert (await office.get("/global/activity", **SPAN))["sum_api_requests"] == 2
    assert [row["api_key"] for row in await office.get("/global/spend/report", group_by="api_key", **SPAN)] == ["bobs"]
    assert await office.get("/global/spend/report", group_by="api_key", api_key=SECRET, **SPAN) == []


async def test_a_report_without_end_is_refused(office: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.reports.MOST", 3)
    answer = await office.get("/global/spend/report", 400, group_by="api_key", **SPAN)
    assert "more than 3 lines" in answer["error"]["message"]
    assert len(await office.get("/global/spend/keys", limit=3)) == 3


async def test_rows_and_daily_sums_agree(office: Bureau) -> None:
    """Who sees a part gets it from the rows, who sees all from the daily sums: all of it is the same."""
    everything = somebody(
        Caller(key_hash="bot", user="carl"),
        role=Role.USER,
        admin_of_teams=frozenset({"red"}),
    )
    for path in ("/global/spend", "/global/spend/logs", "/global/spend/keys", "/global/spend/teams", "/spend/tags"):
        office.access = ADMIN
        whole = await office.get(path)
        office.access = everything
        assert await office.get(path) == whole
