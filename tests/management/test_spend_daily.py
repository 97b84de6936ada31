"""`…/daily/activity`: every day in every way, page by page or at once, to whom it may be shown."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.management.spend import daily
from ledger.pool import Pool
from ledger.spend import record
from schemas.access import Role
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
from tests.support.office import Bureau

METRICS = {
    "spend",
    "prompt_tokens",
    "completion_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "total_tokens",
    "successful_requests",
    "failed_requests",
    "api_requests",
}
PARTS = {"mcp_servers", "models", "model_groups", "providers", "endpoints", "api_keys", "entities"}


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The spend routes; seven calls were made."""
    await spent(pool)
    async with counter(pool) as found:
        yield found


def spends(part: dict[str, Any]) -> dict[str, float]:
    return {name: entry["metrics"]["spend"] for name, entry in part.items()}


async def days(office: Bureau, path: str, **query: Any) -> list[tuple[str, float]]:
    found = await office.get(path, **{**SPAN, **query})
    return [(day["date"], day["metrics"]["spend"]) for day in found["results"]]


async def test_everybodys_activity(office: Bureau) -> None:
    found = await office.get("/user/daily/activity", **SPAN)
    second, first = found["results"]
    assert (first["date"], set(first["metrics"]), set(first["breakdown"])) == (FIRST, METRICS, PARTS)
    assert first["metrics"] == {
        "spend": 3.7,
        "prompt_tokens": 300,
        "completion_tokens": 60,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 0,
        "total_tokens": 360,
        "successful_requests": 2,
        "failed_requests": 1,
        "api_requests": 3,
    }
    parts = second["breakdown"]
    assert spends(parts["model_groups"]) == {"gpt-4o": 2.4, "claude": 0.2}
    assert spends(parts["providers"]) == {"openai": 2.4, "anthropic": 0.2}
    assert spends(parts["endpoints"]) == {"chat/completions": 1.8, "embeddings": 0.8}
    assert spends(parts["entities"]) == {"carl": 1.6, "bob": 0.8, "ann": 0.2, "Unassigned": 0}
    assert spends(parts["api_keys"]) == {"carls": 1.6, "bobs": 0.8, ANN: 0.2, "bot": 0}
    assert spends(parts["models"]["claude-sonnet-4"]["api_key_breakdown"]) == {ANN: 0.2}
    assert parts["entities"]["ann"]["metadata"]["user_email"] == "ann@acme"
    assert parts["api_keys"][ANN]["metadata"] == {
        "key_alias": "laptop", "team_id": "red", "user_id": "ann", "user_email": "ann@acme", "key_exists": True,
    }  # fmt: skip
    assert parts["api_keys"]["carls"]["metadata"]["key_exists"] is False
    metadata = found["metadata"]
    assert (metadata["total_spend"], metadata["total_api_requests"], metadata["total_tokens"]) == (6.3, 7, 840)
    assert (metadata["page"], metadata["total_pages"], metadata["has_more"]) == (1, 1, False)


async def test_pages_are_whole_days(office: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await office.get("/user/daily/activity", page_size=1, **SPAN)
    assert [day["date"] for day in first["results"]] == [SECOND]
    assert (first["metadata"]["total_spend"], first["metadata"]["has_more"]) == (2.6, True)
    last = await office.get("/user/daily/activity", page_size=1, page=2, **SPAN)
    assert ([day["date"] for day in last["results"]], last["metadata"]["has_more"]) == ([FIRST], False)
    after = await office.get("/user/daily/activity", page_size=1, page=3, **SPAN)
    assert (after["results"], after["metadata"]["total_pages"], after["metadata"]["total_spend"]) == ([], 2, 0)
    monkeypatch.setattr(daily, "_FULL", 4)
    assert (await office.get("/user/daily/activity", **SPAN))["metadata"]["total_pages"] == 2
    assert len((await office.get("/user/daily/activity/aggregated", **SPAN))["results"]) == 2


async def test_one_user(office: Bureau) -> None:
    assert await days(office, "/user/daily/activity", user_id="ann") == [(SECOND, 0.2), (FIRST, 0.1)]
    found = await office.get("/user/daily/activity/aggregated", user_id="ann", **SPAN)
    assert spends(found["results"][0]["breakdown"]["api_keys"]) == {ANN: 0.2}
    assert found["metadata"]["total_api_keys"] == 1
    assert await days(office, "/user/daily/activity", user_id="nobody") == []


@pytest.mark.parametrize("path", ["/user/daily/activity", "/user/daily/activity/aggregated"])
async def test_filters(office: Bureau, path: str) -> None:
    assert await days(office, path, api_key=SECRET) == [(SECOND, 0.2), (FIRST, 0.1)]
    assert await days(office, path, model="claude") == [(SECOND, 0.2)]
    assert await days(office, path, model="claude-sonnet-4") == [(SECOND, 0.2)]
    assert await days(office, path, api_key="bobs", model="gpt-4o") == [(SECOND, 0.8), (FIRST, 0.4)]
    assert await days(office, path, end_date=FIRST) == [(FIRST, 3.7)]
    await office.get(path, 400)
    await office.get(path, 400, start_date="x", end_date=FIRST)
    await office.get(path, 400, start_date=SECOND, end_date=FIRST)


async def test_a_key_has_the_same_lines_by_rows_and_by_sums(office: Bureau) -> None:
    everything = await office.get("/user/daily/activity/aggregated", **SPAN)
    office.access = somebody(CARLS, role=Role.VIEWER)
    team = await office.get("/team/daily/activity/aggregated", **SPAN)
    assert spends(team["results"][0]["breakdown"]["entities"]) == {"blue": 1.6, "red": 1.0}
    by_rows = await office.get("/user/daily/activity/aggregated", api_key="bot", **SPAN)
    for one, other in zip(everything["results"], by_rows["results"], strict=True):
        assert other["breakdown"]["api_keys"]["bot"] == one["breakdown"]["api_keys"]["bot"]
        assert spends(other["breakdown"]["entities"]) == {
            "Unassigned": one["breakdown"]["api_keys"]["bot"]["metrics"]["spend"]
        }


async def test_the_day_that_is_today_elsewhere(office: Bureau) -> None:
    await record(office.pool, [call("today", "5", ANNS, day=2)])
    query = {"include_current_utc_day": True, "start_date": SECOND, "end_date": SECOND}
    assert len(await days(office, "/user/daily/activity", timezone=13 * 60, **query)) == 2
    assert len(await days(office, "/user/daily/activity", timezone=0, **query)) == 1
    assert len(await days(office, "/user/daily/activity", timezone=13 * 60, start_date=SECOND)) == 1


async def test_teams(office: Bureau) -> None:
    found = await office.get("/team/daily/activity", **SPAN)
    second = found["results"][0]
    assert spends(second["breakdown"]["entities"]) == {"blue": 1.6, "red": 1.0}
    assert second["breakdown"]["entities"]["red"]["metadata"] == {"team_alias": "Reds"}
    assert spends(second["breakdown"]["entities"]["red"]["api_key_breakdown"]) == {"bobs": 0.8, ANN: 0.2}
    assert spends(second["breakdown"]["endpoints"]) == {"chat/completions": 1.8, "embeddings": 0.8}
    assert await days(office, "/team/daily/activity", team_ids="blue") == [(SECOND, 1.6)]
    assert await days(office, "/team/daily/activity", exclude_team_ids="blue") == [(SECOND, 1.0), (FIRST, 0.5)]
    assert await days(office, "/team/daily/activity", team_ids="red,blue", api_key="bobs") == [
        (SECOND, 0.8), (FIRST, 0.4),
    ]  # fmt: skip


async def test_a_member_sees_his_own_in_his_team(office: Bureau) -> None:
    path = "/team/daily/activity"
    member = {"role": Role.USER, "teams": frozenset({"red"})}
    office.access = somebody(ANNS, **member)
    assert await days(office, path) == await days(office, path, team_ids="red") == [(SECOND, 0.2), (FIRST, 0.1)]
    await office.get(path, 404, team_ids="blue", **SPAN)
    await office.get(path, 404, team_ids="red,blue", **SPAN)
    office.access = somebody(ANNS, **member, member_rights=frozenset({path}))
    assert await days(office, path) == [(SECOND, 1.0), (FIRST, 0.5)]
    office.access = somebody(ANNS, **member, admin_of_teams=frozenset({"red"}))
    assert await days(office, path) == [(SECOND, 1.0), (FIRST, 0.5)]
    office.access = somebody(ANNS, role=Role.USER, teams=frozenset({"red", "blue"}), admin_of_teams=frozenset({"red"}))
    assert await days(office, path) == [(SECOND, 0.2), (FIRST, 0.1)], "blue is not his"
    assert await days(office, path, team_ids="red") == [(SECOND, 1.0), (FIRST, 0.5)]
    office.access = somebody(CARLS, role=Role.ORG_ADMIN, admin_of_organizations=frozenset({"acme"}))
    assert await days(office, path, team_ids="red") == [(SECOND, 1.0), (FIRST, 0.5)]
    office.access = somebody(BOT)
    assert await days(office, path) == []


async def test_who_pays_by_team(office: Bureau) -> None:
    found = await office.get("/team/spend/by_user", team_ids="red", **SPAN)
    assert (found["start_date"], found["end_date"]) == (FIRST, SECOND)
    assert found["results"][0] == {
        "team_id": "red", "team_alias": "Reds", "user_id": "bob", "user_email": "bob@acme", "user_alias": None,
        "spend": 1.2, "prompt_tokens": 200, "completion_tokens": 40, "total_tokens": 240,
        "api_requests": 2, "successful_requests": 1, "failed_requests": 1,
    }  # fmt: skip
    assert [row["user_id"] for row in found["results"]] == ["bob", "ann"]
    await office.get("/team/spend/by_user", 400, **SPAN)
    office.access = somebody(ANNS, role=Role.USER, teams=frozenset({"red"}))
    mine = await office.get("/team/spend/by_user", team_ids="red", **SPAN)
    assert [row["user_id"] for row in mine["results"]] == ["ann"]


async def test_users_see_themselves(office: Bureau) -> None:
    office.access = somebody(ANNS, role=Role.USER)
    assert await days(office, "/user/daily/activity") == [(SECOND, 0.2), (FIRST, 0.1)]
    await office.get("/user/daily/activity", 403, user_id="bob", **SPAN)
    assert await days(office, "/user/daily/activity", api_key="bobs") == []
    office.access = somebody(BOT)
    assert await days(office, "/user/daily/activity") == [(SECOND, 0), (FIRST, 3.2)]


async def test_organizations(office: Bureau) -> None:
    path = "/organization/daily/activity"
    found = await office.get(path, **SPAN)
    assert found["results"][0]["breakdown"]["entities"]["acme"]["metadata"] == {"organization_alias": "Acme"}
    assert await days(office, path + "/aggregated") == [(SECOND, 1.0), (FIRST, 0.5)]
    office.access = somebody(CARLS, role=Role.ORG_ADMIN, admin_of_organizations=frozenset({"acme"}))
    assert await days(office, path) == [(SECOND, 1.0), (FIRST, 0.5)]
    await office.get(path, 403, organization_ids="other", **SPAN)
    office.access = somebody(BOBS, role=Role.USER)
    assert await days(office, path) == []
    await office.get(path, 403, organization_ids="acme", **SPAN)


async def test_customers(office: Bureau) -> None:
    for path in ("/customer/daily/activity", "/end_user/daily/activity", "/customer/daily/activity/aggregated"):
        assert await days(office, path) == [(SECOND, 1.8), (FIRST, 0.1)]
        assert await days(office, path, end_user_ids="c2") == [(SECOND, 1.6)]
    office.access = somebody(ANNS, role=Role.USER)
    await office.get("/customer/daily/activity", 403, **SPAN)


async def test_tags(office: Bureau) -> None:
    path = "/tag/daily/activity"
    found = await office.get(path, **SPAN)
    assert spends(found["results"][0]["breakdown"]["entities"]) == {"x": 1.0, "y": 0.2}
    assert spends(found["results"][0]["breakdown"]["entities"]["x"]["api_key_breakdown"]) == {"bobs": 0.8, ANN: 0.2}
    assert await days(office, path, tags="y") == [(SECOND, 0.2), (FIRST, 0.1)]
    office.access = somebody(BOBS, role=Role.USER)
    assert await days(office, path, tags="x") == [(SECOND, 0.8), (FIRST, 0.4)]
    assert await days(office, path, tags="y") == []


async def test_the_dearest_keys_have_lines(office: Bureau) -> None:
    found = await office.get("/team/daily/activity/aggregated", api_key_limit=1, **SPAN)
    assert (found["metadata"]["api_key_limit"], found["metadata"]["total_api_keys"]) == (1, 3)
    assert spends(found["results"][0]["breakdown"]["api_keys"]) == {"carls": 1.6}
    assert found["results"][1]["breakdown"]["api_keys"] == {}
    assert found["metadata"]["total_spend"] == 3.1


async def test_what_rows_no_longer_tell_the_sums_still_do(office: Bureau) -> None:
    await office.pool.execute("DELETE FROM spend_logs")
    found = await office.get("/team/daily/activity", **SPAN)
    assert found["metadata"]["total_spend"] == 3.1
    assert found["results"][0]["breakdown"]["api_keys"] == {}
