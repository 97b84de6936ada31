"""`/tag/*`: made, changed and forgotten; tags that were only used; and who may."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from api.management import budgets, tags
from ledger.pool import Pool
from ledger.spend import record
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.ledger.events import START, event
from tests.support.audit import audited
from tests.support.office import Bureau, bureau

DAY = 86_400_000_000


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The routes of tags and of budgets."""
    async with bureau(pool, tags.ROUTER, budgets.ROUTER) as found:
        yield found


async def test_a_tag_from_first_to_last(office: Bureau) -> None:
    made = await office.post("/tag/new", name="red", description="Red", max_budget=5, color="r")
    assert made["message"] == "Tag red created successfully"
    tag = made["tag"]
    assert (tag["name"], tag["description"], tag["models"], tag["model_info"]) == ("red", "Red", [], {})
    assert (tag["color"], tag["created_by"]) == ("r", "default_user_id")
    changed = (await office.post("/tag/update", name="red", models=["a"], rpm_limit=3))["tag"]
    assert (changed["description"], changed["models"], changed["color"]) == ("Red", ["a"], "r")
    await office.pool.execute("INSERT INTO totals VALUES ('tag', 'red', '', $1)", Decimal("2.5"))
    info = await office.post("/tag/info", names=["red", "red"])
    assert list(info) == ["red"]
    budget = info["red"]["litellm_budget_table"]
    assert (budget["max_budget"], budget["rpm_limit"], info["red"]["spend"]) == (5, 3, 2.5)
    assert await office.get("/tag/list") == [info["red"]]
    no_limit = (await office.post("/tag/update", name="red", max_budget=None))["tag"]
    assert (no_limit["litellm_budget_table"]["max_budget"], no_limit["litellm_budget_table"]["rpm_limit"]) == (None, 3)
    assert await office.post("/tag/delete", name="red") == {"message": "Tag red deleted successfully"}
    assert await office.get("/tag/list") == []
    assert all("tag:red" in told for told in office.told)
    log = await audited(office.pool, entity="tag")
    assert [entry["action"] for entry in log] == ["deleted", "updated", "updated", "created"]


async def test_a_tag_has_another_budget(office: Bureau) -> None:
    await office.post("/budget/new", budget_id="big", max_budget=1000)
    made = (await office.post("/tag/new", name="red"))["tag"]
    assert made["budget_id"] is None
    changed = (await office.post("/tag/update", name="red", budget_id="big"))["tag"]
    assert changed["litellm_budget_table"]["max_budget"] == 1000
    await office.post("/tag/update", 400, name="red", budget_id="none")
    await office.post("/tag/update", name="red", budget_id="big", max_budget=5)
    assert (await office.post("/budget/info", budgets=["big"]))[0]["max_budget"] == 5
    assert office.told[-1] == {"budget:big", "tag:red"}


async def test_what_is_not_there_is_not_found(office: Bureau) -> None:
    await office.post("/tag/new", name="red")
    await office.post("/tag/new", 400, name="red")
    await office.post("/tag/info", 404, names=["red", "none"])
    await office.post("/tag/update", 404, name="none")
    await office.post("/tag/delete", 404, name="none")


async def test_tags_that_were_only_used(office: Bureau) -> None:
    await record(
        office.pool,
        [
            event("a", caller=Caller(tags=("red", "User-Agent: x", "kind:y")), model="m"),
            event("b", caller=Caller(tags=("red", "blue")), model="n"),
            event("c", caller=Caller(tags=("blue",)), started=START + 2 * DAY, ended=START + 2 * DAY),
        ],
    )
    await office.post("/tag/new", name="red")
    found = {tag["name"]: tag for tag in await office.get("/tag/list")}
    assert set(found) == {"red", "blue", "User-Agent: x", "kind:y"}
    assert (found["blue"]["created_at"], found["blue"]["updated_at"]) == ("2026-09-21", "2026-09-23")
    assert found["blue"]["models"] is None
    later = await office.get("/tag/list", start_date="2026-09-22", end_date="2026-09-24")
    assert [tag["name"] for tag in later] == ["red", "blue"]
    assert await office.get("/tag/distinct") == {
        "results": [{"tag": "blue"}, {"tag": "red"}, {"tag": "User-Agent: x"}],
    }


@pytest.mark.parametrize(
    "days",
    [
        {"start_date": "2026-01-01"},
        {"end_date": "2026-01-01"},
        {"start_date": "2026-01-02", "end_date": "2026-01-01"},
        {"start_date": "soon", "end_date": "2026-01-01"},
    ],
)
async def test_days_that_mean_nothing_are_refused(office: Bureau, days: dict[str, str]) -> None:
    await office.get("/tag/list", 400, **days)


@pytest.mark.parametrize("role", Role)
async def test_who_may(office: Bureau, role: Role) -> None:
    reads = 200 if role in (Role.ADMIN, Role.VIEWER) else 403
    changes = 200 if role is Role.ADMIN else 403
    await office.post("/tag/new", name="red")
    office.access = Access(caller=Caller(key_hash="k", user="u"), role=role)
    await office.get("/tag/list", reads)
    await office.get("/tag/distinct", reads)
    await office.post("/tag/info", reads, names=["red"])
    await office.post("/tag/new", changes, name="blue")
    await office.post("/tag/update", changes, name="red", max_budget=1)
    await office.post("/tag/delete", changes, name="red")
