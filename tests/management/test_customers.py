"""`/customer/*` and `/end_user/*`: made, changed, blocked and forgotten; their budgets; and who may."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from api.management import budgets, customers
from ledger.pool import Pool
from ledger.spend import record
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.ledger.events import event
from tests.support.audit import audited
from tests.support.office import Bureau, bureau


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The routes of customers and of budgets."""
    async with bureau(pool, customers.ROUTER, budgets.ROUTER) as found:
        yield found


async def has_spent(pool: Pool, customer: str, dollars: str) -> None:
    """Put something into a customer's total, as accounting does."""
    await pool.execute(
        "INSERT INTO totals VALUES ('customer', $1, '', $2) ON CONFLICT (kind, id, scope) DO UPDATE SET spend = $2",
        customer,
        Decimal(dollars),
    )


@pytest.mark.parametrize("name", ["customer", "end_user"])
async def test_a_customer_from_first_to_last(office: Bureau, name: str) -> None:
    made = await office.post(
        f"/{name}/new", user_id="ann", alias="Ann", max_budget=5, budget_duration="1d", default_model="m", color="red"
    )
    assert made["litellm_budget_table"]["max_budget"] == 5
    assert made["litellm_budget_table"]["budget_reset_at"].endswith("T00:00:00Z")
    assert {field: made[field] for field in ("user_id", "alias", "blocked", "spend", "models", "color")} == {
        "user_id": "ann",
        "alias": "Ann",
        "blocked": False,
        "spend": 0,
        "models": [],
        "color": "red",
    }
    assert made["default_model"] == "m"
    assert made["allowed_model_region"] is None
    changed = await office.post(f"/{name}/update", user_id="ann", max_budget=7, models=["a"], alias=None)
    assert changed["budget_id"] == made["budget_id"]
    assert changed["litellm_budget_table"]["max_budget"] == 7
    assert changed["litellm_budget_table"]["budget_duration"] == "1d"
    assert (changed["alias"], changed["models"], changed["color"]) == ("Ann", ["a"], "red")
    assert await office.get(f"/{name}/info", end_user_id="ann") == changed
    assert await office.get(f"/{name}/list") == [changed]
    gone = await office.post(f"/{name}/delete", user_ids=["ann"])
    assert gone["deleted_customers"] == 1
    assert await office.get(f"/{name}/list") == []
    assert [told for told in office.told if "customer:ann" in told] == office.told
    assert len(office.told) == 3
    log = await audited(office.pool, entity="customer")
    assert [entry["action"] for entry in log] == ["deleted", "updated", "created"]


async def test_a_named_budget_is_linked_and_shared(office: Bureau) -> None:
    await office.post("/budget/new", budget_id="free", max_budget=1)
    for customer in ("ann", "bob"):
        await office.post("/customer/new", user_id=customer, budget_id="free")
    await office.post("/budget/new", budget_id="paid", max_budget=100)
    changed = await office.post("/customer/update", user_id="ann", budget_id="paid")
    assert changed["litellm_budget_table"]["max_budget"] == 100
    bob = await office.get("/customer/info", end_user_id="bob")
    assert bob["litellm_budget_table"]["max_budget"] == 1
    await office.post("/budget/delete", id="free")
    bob = await office.get("/customer/info", end_user_id="bob")
    assert bob["litellm_budget_table"] is None
    anew = await office.post("/customer/update", user_id="bob", max_budget=2)
    assert anew["budget_id"] != "free"
    assert anew["litellm_budget_table"]["max_budget"] == 2


async def test_a_budget_is_either_named_or_described(office: Bureau) -> None:
    await office.post("/budget/new", budget_id="free", max_budget=1)
    await office.post("/customer/new", 400, user_id="ann", budget_id="free", max_budget=2)
    await office.post("/customer/new", 400, user_id="ann", budget_id="none")
    assert await office.get("/customer/list") == []
    made = await office.post("/customer/new", user_id="ann")
    assert (made["budget_id"], made["litellm_budget_table"]) == (None, None)
    assert len(await office.get("/budget/list")) == 1


async def test_a_budget_of_nothing_is_one(office: Bureau) -> None:
    made = await office.post("/customer/new", user_id="ann", max_budget=0)
    assert made["litellm_budget_table"]["max_budget"] == 0
    await office.post("/customer/new", user_id="bob", max_budget=3)
    changed = await office.post("/customer/update", user_id="bob", max_budget=0)
    assert changed["litellm_budget_table"]["max_budget"] == 0


async def test_the_blocked_are_made_if_they_are_not_there(office: Bureau) -> None:
    await office.post("/customer/new", user_id="ann", alias="Ann")
    blocked = await office.post("/customer/block", user_ids=["ann", "eve", "eve"])
    assert [(row["user_id"], row["alias"], row["blocked"]) for row in blocked["blocked_users"]] == [
        ("ann", "Ann", True),
        ("eve", None, True),
    ]
    assert office.told[-1] == {"customer:ann", "customer:eve"}
    assert await office.post("/customer/unblock", user_ids=["ann", "nobody"]) == {"blocked_users": ["eve"]}
    assert office.told[-1] == {"customer:ann"}
    assert (await office.get("/customer/info", end_user_id="ann"))["blocked"] is False


async def test_who_has_called_is_a_customer(office: Bureau) -> None:
    await record(office.pool, [event(caller=Caller(key_hash="k", end_user="zoe"))])
    await has_spent(office.pool, "zoe", "1.25")
    await office.post("/customer/new", user_id="ann")
    assert [(row["user_id"], row["spend"]) for row in await office.get("/customer/list")] == [("ann", 0), ("zoe", 1.25)]
    assert [row["user_id"] for row in await office.get("/customer/list", page=2, page_size=1)] == ["zoe"]
    zoe = await office.get("/customer/info", end_user_id="zoe")
    assert (zoe["total_spend"], zoe["blocked"], zoe["models"]) == (1.25, False, [])
    changed = await office.post("/customer/update", user_id="zoe", max_budget=1)
    assert (changed["spend"], changed["litellm_budget_table"]["max_budget"]) == (1.25, 1)


async def test_what_is_not_there_is_not_found(office: Bureau) -> None:
    await office.post("/customer/new", user_id="ann")
    await office.post("/customer/new", 400, user_id="ann")
    await office.get("/customer/info", 404, end_user_id="none")
    await office.post("/customer/update", 404, user_id="none", alias="x")
    await office.post("/customer/delete", 404, user_ids=["ann", "none"])
    assert [row["user_id"] for row in await office.get("/customer/list")] == ["ann"]


async def test_what_was_spent_cannot_be_said(office: Bureau) -> None:
    await office.post("/customer/new", 400, user_id="ann", spend=3)
    await office.post("/customer/new", user_id="ann", spend=0)


@pytest.mark.parametrize("role", Role)
async def test_who_may(office: Bureau, role: Role) -> None:
    reads = 200 if role in (Role.ADMIN, Role.VIEWER) else 403
    changes = 200 if role is Role.ADMIN else 403
    await office.post("/customer/new", user_id="ann")
    office.access = Access(caller=Caller(key_hash="k", user="u"), role=role)
    await office.get("/customer/list", reads)
    await office.get("/customer/info", reads, end_user_id="ann")
    await office.post("/customer/new", changes, user_id="bob")
    await office.post("/customer/update", changes, user_id="ann", alias="x")
    await office.post("/customer/block", changes, user_ids=["ann"])
    await office.post("/customer/unblock", changes, user_ids=["ann"])
    await office.post("/customer/delete", changes, user_ids=["ann"])
