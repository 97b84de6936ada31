"""`/spend/logs` and its pages: what is listed, in which order, and to whom."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ledger.logs import ORDERS
from ledger.pool import Pool
from ledger.spend import record
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.management.spending import (
    ANN,
    ANNS,
    BOBS,
    BOT,
    CARLS,
    FIRST,
    ROTATED,
    SECOND,
    SECRET,
    SPAN,
    call,
    counter,
    somebody,
    spent,
)
from tests.support.office import Bureau


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The spend routes; seven calls were made."""
    await spent(pool)
    async with counter(pool) as found:
        yield found


ALL = ["a1", "b1", "d1", "a2", "b2", "c1", "d2"]


def attempts(rows: list[dict[str, Any]]) -> list[str]:
    return [row["attempt"] for row in rows]


async def listed(office: Bureau, **query: Any) -> list[str]:
    return attempts((await office.get("/spend/logs/v2", **{**SPAN, **query}))["data"])


async def test_rows_come_the_newest_last_with_litellms_fields(office: Bureau) -> None:
    rows = await office.get("/spend/logs")
    assert attempts(rows) == ALL
    assert (rows[0]["api_key"], rows[0]["spend"], rows[0]["total_tokens"], rows[0]["team_id"]) == (ANN, 0.1, 120, "red")
    assert rows[0]["metadata"]["error_information"] is None
    assert rows[1]["metadata"]["error_information"]["error_code"] == "429"
    assert rows[-1]["spend"] is None
    assert attempts(await office.get("/spend/logs", limit=2)) == ["c1", "d2"]
    assert attempts(await office.get("/spend/logs", start_date=SECOND)) == ["a2", "b2", "c1", "d2"]
    assert attempts(await office.get("/spend/logs", summarize=False, **SPAN)) == ALL
    assert attempts(await office.get("/spend/logs", request_id="req-c1")) == ["c1"]


async def test_a_row_says_from_where_and_to_where_and_what_it_was_given(pool: Pool) -> None:
    given = {"requester_ip_address": "10.1.2.3", "spend_logs_metadata": '{"a": {"b": 1}}', "other": "{1}"}
    caller = Caller(key_hash=ANN)
    events = [call("x", "1", caller, metadata=given, deployment="d"), call("y", "1", caller, deployment="gone", day=1)]
    await record(pool, events)
    async with counter(pool, bases=lambda: {"d": "https://api.example/v1"}) as office:
        first, second = await office.get("/spend/logs")
    assert (first["requester_ip_address"], first["api_base"]) == ("10.1.2.3", "https://api.example/v1")
    assert first["metadata"]["spend_logs_metadata"] == {"a": {"b": 1}}
    assert first["metadata"]["other"] == "{1}"
    assert (second["requester_ip_address"], second["api_base"]) == (None, "")


async def test_a_row_that_is_nested_too_deeply_to_be_written_spoils_no_list(pool: Pool) -> None:
    deep = [f'{{"a": {"[" * levels}{"]" * levels}}}' for levels in (10, 900, 950, 970, 985)]
    events = [call(f"x{n}", "1", Caller(), metadata={"spend_logs_metadata": text}) for n, text in enumerate(deep)]
    await record(pool, events)
    async with counter(pool) as office:
        for rows in (await office.get("/spend/logs"), (await office.get("/spend/logs/v2", **SPAN))["data"]):
            found = {row["attempt"]: row["metadata"]["spend_logs_metadata"] for row in rows}
            assert [found[f"x{n}"] for n in range(1, 5)] == deep[1:]
            assert isinstance(found["x0"], dict)


async def test_an_answer_that_was_cut_says_so(office: Bureau) -> None:
    whole = await office.http.get("/spend/logs")
    cut = await office.http.get("/spend/logs", params={"limit": 2})
    assert "x-litellm-spend-logs-truncated" not in whole.headers
    assert cut.headers["x-litellm-spend-logs-truncated"] == "true"


async def test_a_key_is_found_by_every_name_that_it_has(office: Bureau) -> None:
    for given in (SECRET, ROTATED, ANN, hashlib.sha256(SECRET.encode()).hexdigest()):
        assert attempts(await office.get("/spend/logs", api_key=given)) == ["a1", "a2"]
    assert await office.get("/spend/logs", api_key="sk-none") == []


async def test_both_days_make_a_summary(office: Bureau) -> None:
    days = await office.get("/spend/logs", start_date=FIRST, end_date="2026-09-23")
    assert [(day["startTime"], day["spend"]) for day in days] == [(FIRST, 3.7), (SECOND, 2.6), ("2026-09-23", 0)]
    assert days[0]["users"] == {"ann": 0.1, "bob": 0.4, "": 3.2}
    assert days[1]["models"]["claude-sonnet-4"] == 0.2
    assert (days[1][ANN], days[1]["bobs"]) == (0.2, 0.8)
    assert await office.get("/spend/logs", start_date="2020-01-01", end_date="2020-01-02") == []
    (mine,) = await office.get("/spend/logs", start_date=FIRST, end_date=FIRST, user_id="ann")
    assert mine["spend"] == 0.1


async def test_pages_are_the_newest_first(office: Bureau) -> None:
    first = await office.get("/spend/logs/v2", page_size=3, **SPAN)
    assert attempts(first["data"]) == ["d2", "c1", "b2"]
    assert {name: first[name] for name in first if name != "data"} == {
        "total": 7, "page": 1, "page_size": 3, "total_pages": 3, "total_is_capped": False,
    }  # fmt: skip
    assert attempts((await office.get("/spend/logs/v2", page_size=3, page=3, **SPAN))["data"]) == ["a1"]
    assert await listed(office, page=9) == []


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"api_key": SECRET}, ["a2", "a1"]),
    ({"user_id": "bob"}, ["b2", "b1"]),
    ({"team_id": "blue"}, ["c1"]),
    ({"request_id": "req-a1"}, ["a1"]),
    ({"model": "claude-sonnet-4"}, ["a2"]),
    ({"model_group": "claude"}, ["a2"]),
    ({"model_id": "nowhere"}, []),
    ({"key_alias": "apto"}, ["a2", "a1"]),
    ({"key_alias": "%"}, []),
    ({"end_user": "c2"}, ["c1"]),
    ({"status_filter": "failure"}, ["d2", "b1"]),
    ({"status_filter": "success"}, ["c1", "b2", "a2", "d1", "a1"]),
    ({"status_filter": "cancelled"}, ["d2"]),
    ({"error_code": "429"}, ["b1"]),
    ({"error_message": "rate_limit"}, ["b1"]),
    ({"min_spend": 0.8}, ["c1", "b2", "d1"]),
    ({"max_spend": 0.1}, ["a1"]),
    ({"search": "bob"}, ["b2", "b1"]),
    ({"search": "req-d1"}, ["d1"]),
    ({"search": SECRET}, ["a2", "a1"]),
    ({"cache_hit_filter": "hit"}, []),
    ({"cache_hit_filter": "miss", "user_id": "bob"}, ["b2", "b1"]),
    ({"span_type": "mcp"}, []),
    ({"start_date": f"{SECOND} 14:13:20", "end_date": f"{SECOND} 14:13:20"}, ["d2", "c1", "b2", "a2"]),
    ({"start_date": f"{SECOND} 14:13:21"}, []),
    ({"end_date": f"{FIRST} 23:59:59"}, ["d1", "b1", "a1"]),
    ({"sort_by": "spend", "user_id": "bob", "sort_order": "ASC"}, ["b1", "b2"]),
    ({"sort_by": "spend", "page_size": 2}, ["d1", "c1"]),
    ({"sort_by": "startTime", "sort_order": "asc", "page_size": 1}, ["a1"]),
]


async def test_filters_and_orders(office: Bureau) -> None:
    assert [(query, await listed(office, **query)) for query, _ in FILTERS] == FILTERS


async def test_every_order_finds_all(office: Bureau) -> None:
    for order in ORDERS:
        assert sorted(await listed(office, sort_by=order)) == sorted(ALL)


MEANINGLESS: list[dict[str, Any]] = [
    {"start_date": None},
    {"start_date": "yesterday"},
    {"end_date": "2026-09-22 25:00:00"},
    {"start_date": "20260921"},
    {"sort_by": "cost; DROP TABLE spend_logs"},
    {"sort_order": "up"},
    {"cache_hit_filter": "maybe"},
    {"span_type": "none"},
    {"page": 0},
    {"page_size": 1001},
    {"min_spend": "NaN"},
    {"user_id": "a\0b"},
]


async def test_what_means_nothing_is_refused(office: Bureau) -> None:
    for query in MEANINGLESS:
        given = {name: value for name, value in {**SPAN, **query}.items() if value is not None}
        await office.get("/spend/logs/v2", 400, **given)


async def test_the_interface_finds_a_request_at_any_time(office: Bureau) -> None:
    assert attempts((await office.get("/spend/logs/ui", request_id="req-a1"))["data"]) == ["a1"]
    await office.get("/spend/logs/ui", 400)
    await office.get("/spend/logs/v2", 400, request_id="req-a1")


async def test_bodies_are_not_kept(office: Bureau) -> None:
    nothing = {"messages": None, "response": None, "proxy_server_request": None}
    assert await office.get("/spend/logs/ui/req-a1") == nothing
    assert await office.get("/spend/logs/ui/none") is None
    office.access = somebody(CARLS, role=Role.USER)
    assert await office.get("/spend/logs/ui/req-a1") is None


async def test_a_session_has_its_rows(office: Bureau) -> None:
    await office.pool.execute("UPDATE spend_logs SET metadata = '{\"session_id\": \"s\"}' WHERE user_id = 'bob'")
    found = await office.get("/spend/logs/session/ui", session_id="s")
    assert (attempts(found["data"]), found["total"]) == (["b2", "b1"], 2)
    assert await listed(office, session_id="s") == ["b2", "b1"]
    office.access = somebody(CARLS, role=Role.USER)
    assert (await office.get("/spend/logs/session/ui", session_id="s"))["total"] == 0


LEADS_ACME = somebody(CARLS, role=Role.ORG_ADMIN, admin_of_organizations=frozenset({"acme"}))
SIGHTS: list[tuple[Access, list[str]]] = [
    (somebody(CARLS, role=Role.VIEWER), ALL),
    (somebody(ANNS, role=Role.USER), ["a1", "a2"]),
    (somebody(ANNS, role=Role.USER_VIEWER), ["a1", "a2"]),
    (somebody(BOT), ["d1", "d2"]),
    (somebody(BOBS, role=Role.USER, admin_of_teams=frozenset({"red"})), ["a1", "b1", "a2", "b2"]),
    (somebody(BOBS, role=Role.USER, member_rights=frozenset({"/spend/logs"})), ["a1", "b1", "a2", "b2"]),
    (somebody(BOBS, role=Role.USER, member_rights=frozenset({"/key/generate"})), ["b1", "b2"]),
    (LEADS_ACME, ["a1", "b1", "a2", "b2", "c1"]),
]


async def test_everybody_sees_his_own(office: Bureau) -> None:
    spends = {"a1": 0.1, "a2": 0.2, "b1": 0.4, "b2": 0.8, "c1": 1.6, "d1": 3.2, "d2": 0}
    for access, found in SIGHTS:
        office.access = access
        assert attempts(await office.get("/spend/logs")) == found
        assert sorted(await listed(office)) == sorted(found)
        summary = await office.get("/spend/logs", **SPAN)
        assert sum(day["spend"] for day in summary) == pytest.approx(sum(spends[attempt] for attempt in found))


async def test_a_users_other_key_is_his_own(office: Bureau) -> None:
    await office.pool.execute("UPDATE virtual_keys SET user_id = 'carl' WHERE key_id = 'bot'")
    office.access = somebody(CARLS, role=Role.USER)
    assert attempts(await office.get("/spend/logs")) == ["d1", "c1", "d2"]


async def test_naming_somebody_else_shows_nothing(office: Bureau) -> None:
    office.access = somebody(ANNS, role=Role.USER)
    assert await office.get("/spend/logs", user_id="bob") == []
    assert await office.get("/spend/logs", api_key="bobs") == []
    assert await office.get("/spend/logs", request_id="req-c1") == []
    assert await listed(office, team_id="blue") == []
    assert await listed(office, search="bob") == []
