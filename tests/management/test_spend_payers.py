"""`/spend/keys`, `/spend/users`, the global reset, users of tags, `/spend/calculate`."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from api.management.spend import calculation
from ledger.balances import spent as standing
from ledger.pool import Pool
from ledger.prices import PriceBook
from schemas.access import Account, Role
from schemas.catalog import Catalog
from schemas.config import Config, Deployment, PriceOverride
from tests.management.spending import ANN, ANNS, BOT, FIRST, SECOND, SPAN, counter, somebody, spent
from tests.support.audit import audited
from tests.support.office import Bureau

OURS = Deployment(
    id="d", group="ours", provider="openai", model="x", price=PriceOverride(input=Decimal("0.5"), output=Decimal(1))
)


def estimate(body: bytes) -> int:
    return len(body)


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The spend routes; seven calls were made."""
    await spent(pool)
    catalog = Catalog(Config(deployments=(OURS,)))
    async with counter(pool, calculation.routes(lambda: catalog, PriceBook(), estimate)) as found:
        yield found


async def test_keys_the_dearest_first(office: Bureau) -> None:
    keys = await office.get("/spend/keys")
    assert [(key["token"], key["spend"]) for key in keys] == [("bot", 3.2), ("bobs", 1.2), (ANN, 0.3)]
    assert [key["token"] for key in await office.get("/spend/keys", limit=1, offset=1)] == ["bobs"]
    office.access = somebody(ANNS, role=Role.USER)
    assert [key["token"] for key in await office.get("/spend/keys")] == [ANN]
    office.access = somebody(BOT)
    assert await office.get("/spend/keys") == []


async def test_users_the_dearest_first(office: Bureau) -> None:
    assert [(user["user_id"], user["spend"]) for user in await office.get("/spend/users")] == [
        ("bob", 1.2), ("ann", 0.3),
    ]  # fmt: skip
    assert [user["user_id"] for user in await office.get("/spend/users", user_id="ann")] == ["ann"]
    assert await office.get("/spend/users", user_id="none") == []
    office.access = somebody(ANNS, role=Role.USER)
    assert [user["user_id"] for user in await office.get("/spend/users")] == ["ann"]
    await office.get("/spend/users", 403, user_id="bob")
    office.access = somebody(BOT)
    assert await office.get("/spend/users") == []


async def test_a_reset_keeps_the_logs(office: Bureau) -> None:
    add = """INSERT INTO balances (kind, id, scope, period, began, ends, spent, alerted) VALUES
        ('key', 'bobs', '', '1d', now() - interval '1 hour', now() + interval '1 hour', 5, true),
        ('key', 'bobs', '', '1d', now() - interval '2 hours', now() - interval '1 hour', 7, true),
        ('user', 'bob', '', '1d', now() - interval '1 hour', now() + interval '1 hour', 9, true)"""
    await office.pool.execute(add)
    accounts = [(Account("key", "bobs"), "1d"), (Account("team", "red"), ""), (Account("user", "bob"), "1d")]
    assert await office.post("/global/spend/reset") == {
        "message": "Spend for all API Keys and Teams reset successfully", "status": "success",
    }  # fmt: skip
    found = await standing(office.pool, accounts)
    key, team, user = (found[account] for account, _ in accounts)
    assert (key, team, user) == ((0, 0), (0, 0), (9, Decimal("1.2")))
    rows = await office.pool.fetch("SELECT spent, alerted FROM balances ORDER BY spent")
    assert [tuple(row) for row in rows] == [(0, False), (7, True), (9, True)]
    assert len(await office.get("/spend/logs")) == 7
    assert (await office.get("/global/spend"))["spend"] == 6.3
    (entry,) = await audited(office.pool, entity="spend")
    assert (entry["action"], entry["entity_id"], entry["after"]["payers"]) == ("reset", "global", 6)
    assert office.told == [frozenset({"spend:global"})]


async def test_only_an_admin_resets(office: Bureau) -> None:
    for role in (Role.VIEWER, Role.ORG_ADMIN, Role.USER, Role.NONE):
        office.access = somebody(ANNS, role=role)
        await office.post("/global/spend/reset", 403)
    assert office.told == []
    assert await office.pool.fetchval("SELECT count(*) FROM totals WHERE kind = 'key' AND spend > 0") == 4


async def test_users_of_tags(office: Bureau) -> None:
    assert (await office.get("/tag/dau"))["results"] == [
        {"tag": "x", "active_users": 2, "date": SECOND, "period_start": None, "period_end": None},
        {"tag": "y", "active_users": 1, "date": SECOND, "period_start": None, "period_end": None},
        {"tag": "x", "active_users": 2, "date": FIRST, "period_start": None, "period_end": None},
        {"tag": "y", "active_users": 1, "date": FIRST, "period_start": None, "period_end": None},
    ]
    week = {"active_users": 2, "date": "Week 7 (Sep 17)", "period_start": "2026-09-17", "period_end": "2026-09-23"}
    assert (await office.get("/tag/wau", tag_filter="X"))["results"] == [{"tag": "x", **week}]
    month = {"active_users": 1, "date": "Month 7 (Aug)", "period_start": "2026-08-25", "period_end": "2026-09-23"}
    assert (await office.get("/tag/mau", tag_filters=["y", "z"]))["results"] == [{"tag": "y", **month}]
    first, second = (await office.get("/tag/summary", **SPAN))["results"]
    assert first == {
        "tag": "x", "unique_users": 2, "total_requests": 4, "successful_requests": 3, "failed_requests": 1,
        "total_tokens": 480, "total_spend": 1.5,
    }  # fmt: skip
    assert (second["tag"], second["unique_users"]) == ("y", 1)
    assert [row["tag"] for row in (await office.get("/tag/summary", tag_filter="Y", **SPAN))["results"]] == ["y"]
    office.access = somebody(ANNS, role=Role.USER)
    assert (await office.get("/tag/summary", tag_filters=["x"], **SPAN))["results"][0]["unique_users"] == 1
    await office.get("/tag/summary", 400, start_date=FIRST)


async def cost(office: Bureau, **body: Any) -> float:
    found: float = (await office.post("/spend/calculate", **body))["cost"]
    return found


async def test_what_a_call_would_cost(office: Bureau) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    size = len('{"messages": [{"role": "user", "content": "Hello"}]}')
    assert await cost(office, model="ours", messages=messages) == size / 2
    listed = await cost(office, model="gpt-4o", messages=messages)
    assert listed == await cost(office, model="openai/gpt-4o", messages=messages)
    assert 0 < listed < 0.001


async def test_half_a_character_costs_something(office: Bureau) -> None:
    headers = {"content-type": "application/json"}
    bodies = (
        (b'{"model": "ours", "messages": ["\\ud800"]}', 200),
        (b'{"completion_response": {"model": "x\\ud800", "usage": {}}}', 400),
    )
    for body, status in bodies:
        assert (await office.http.post("/spend/calculate", content=body, headers=headers)).status_code == status


async def test_what_an_answer_has_cost(office: Bureau) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "completion_tokens_details": None}
    assert await cost(office, completion_response={"model": "ours", "usage": usage}) == 8
    response = {"model": "gpt-3.5-turbo-0125", "usage": {"prompt_tokens": 9, "completion_tokens": 12}}
    assert await cost(office, completion_response=response) == pytest.approx(9 * 0.5e-6 + 12 * 1.5e-6)


UNPRICED: list[dict[str, Any]] = [
    {},
    {"model": "ours"},
    {"model": "a-model-that-nobody-has", "messages": []},
    {"completion_response": {}},
    {"completion_response": {"model": "ours"}},
    {"completion_response": {"model": "ours", "usage": {"prompt_tokens": -1}}},
    {"completion_response": {"model": "ours", "usage": {"prompt_tokens": "1"}}},
    {"model": 5, "messages": []},
]


async def test_what_has_no_price_is_refused(office: Bureau) -> None:
    for body in UNPRICED:
        await office.post("/spend/calculate", 400, **body)
