"""`/budget/*`: what is set is found again, changed in part, and gone when it is deleted."""

from collections.abc import AsyncIterator

import pytest

from api.management import budgets
from ledger.pool import Pool
from tests.support.audit import audited
from tests.support.office import Bureau, bureau


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The budget routes."""
    async with bureau(pool, budgets.ROUTER) as found:
        yield found


async def test_a_budget_from_first_to_last(office: Bureau) -> None:
    made = await office.post("/budget/new", budget_id="b", max_budget=12.5, budget_duration="1d", color="red")
    assert (made["budget_id"], made["max_budget"], made["color"]) == ("b", 12.5, "red")
    assert made["budget_reset_at"].endswith("T00:00:00Z")
    changed = await office.post("/budget/update", budget_id="b", rpm_limit=5)
    assert (changed["max_budget"], changed["rpm_limit"], changed["color"]) == (12.5, 5, "red")
    assert [row["budget_id"] for row in await office.post("/budget/info", budgets=["b", "none"])] == ["b"]
    assert [row["budget_id"] for row in await office.get("/budget/list")] == ["b"]
    shown = {row["field_name"]: row["field_value"] for row in await office.get("/budget/settings", budget_id="b")}
    assert shown["rpm_limit"] == 5
    await office.post("/budget/delete", id="b")
    assert await office.get("/budget/list") == []
    assert office.told == [frozenset({"budget:b"})] * 3
    log = await audited(office.pool, entity="budget")
    assert [entry["action"] for entry in log] == ["deleted", "updated", "created"]
    assert log[1]["before"]["rpm_limit"] is None
    assert log[1]["after"]["rpm_limit"] == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_budget", -1),
        ("max_budget", True),
        ("max_budget", "NaN"),
        ("max_budget", "Infinity"),
        ("budget_duration", "soon"),
        ("budget_duration", "0d"),
        ("rpm_limit", 1.5),
        ("rpm_limit", -1),
        ("budget_id", ""),
        ("budget_id", "a\0b"),
        ("model_max_budget", {"gpt": {"budget_limit": "NaN"}}),
        ("color", "a\0b"),
    ],
)
async def test_a_value_that_means_nothing_is_refused(office: Bureau, field: str, value: object) -> None:
    await office.post("/budget/new", 400, **{field: value})
    assert await office.get("/budget/list") == []
    assert office.told == []


async def test_what_is_there_is_not_made_again_and_what_is_not_is_not_changed(office: Bureau) -> None:
    await office.post("/budget/new", budget_id="b")
    await office.post("/budget/new", 400, budget_id="b")
    await office.post("/budget/update", 404, budget_id="none", rpm_limit=1)
    await office.post("/budget/delete", 404, id="none")
    await office.get("/budget/settings", 404, budget_id="none")


async def test_models_have_budgets_in_either_form(office: Bureau) -> None:
    given = {"a": 5, "b": {"budget_limit": 2.5, "time_period": "1d"}}
    made = await office.post("/budget/new", budget_id="b", model_max_budget=given)
    assert {model: float(one["budget_limit"]) for model, one in made["model_max_budget"].items()} == {"a": 5, "b": 2.5}
