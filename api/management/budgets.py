"""`/budget/*`: budgets that several keys, customers, members, organizations or tags may have the terms of."""

import secrets
from typing import Any

from fastapi import APIRouter, Response

from api.management import amounts
from api.management.fields import Body, Name, WithTerms, emptied
from api.management.office import Caller, Desk, Office, answer, missing
from ledger import tenants
from policy.periods import window

ROUTER = APIRouter(tags=["budgets"])
_MOST = 10_000


class NewBudget(WithTerms):
    """The body of `/budget/new`; `/budget/update` changes the fields that are given."""

    budget_id: Name | None = None
    allowed_models: list[Name] | None = None


class BudgetIds(Body):
    """The body of `/budget/info`."""

    budgets: list[Name]


class BudgetId(Body):
    """The body of `/budget/delete`."""

    id: Name


@ROUTER.post("/budget/new")
async def new(body: NewBudget, desk: Desk, caller: Caller) -> Response:
    """A new budget; the row."""
    who = caller.caller.user
    values = {**_columns(body), "created_by": who, "updated_by": who}
    values["budget_id"] = body.budget_id or secrets.token_hex(16)
    async with desk.change(caller) as change:
        row = await tenants.insert(change.connection, tenants.BUDGETS, values)
        await change.record("created", "budget", row["budget_id"], None, row)
    return answer(shown(row, desk))


@ROUTER.post("/budget/update")
async def update(body: NewBudget, desk: Desk, caller: Caller) -> Response:
    """Change the fields that are given; the row."""
    values = {**_columns(body), "updated_by": caller.caller.user}
    values.pop("budget_id", None)
    async with desk.change(caller) as change:
        before = await tenants.find(change.connection, tenants.BUDGETS, body.budget_id, lock=True)
        if before is None:
            raise missing("budget", body.budget_id)
        values["extra"] = before["extra"] | body.unknown()
        row = await tenants.change(change.connection, tenants.BUDGETS, [body.budget_id], values)
        assert row is not None
        await change.record("updated", "budget", row["budget_id"], before, row)
    return answer(shown(row, desk))


@ROUTER.post("/budget/info")
async def info(body: BudgetIds, desk: Desk, _: Caller) -> Response:
    """The budgets with these ids."""
    with desk.reading() as pool:
        rows = await tenants.matching(pool, tenants.BUDGETS, {"budget_id": body.budgets}, limit=_MOST)
    return answer([shown(row, desk) for row in rows])


@ROUTER.get("/budget/list")
async def listing(desk: Desk, _: Caller) -> Response:
    """All budgets."""
    with desk.reading() as pool:
        rows = await tenants.matching(pool, tenants.BUDGETS, {}, order=["created_at"], limit=_MOST)
    return answer([shown(row, desk) for row in rows])


@ROUTER.get("/budget/settings")
async def settings(budget_id: Name, desk: Desk, _: Caller) -> Response:
    """What can be set on a budget, and what is."""
    with desk.reading() as pool:
        row = await tenants.find(pool, tenants.BUDGETS, budget_id)
    if row is None:
        raise missing("budget", budget_id)
    return answer(
        [
            {
                "field_name": name,
                "field_type": kind,
                "field_description": "",
                "field_value": row[name],
                "stored_in_db": row[name] is not None,
                "field_default_value": None,
                "premium_field": False,
            }
            for name, kind in _SETTINGS.items()
        ]
    )


@ROUTER.post("/budget/delete")
async def delete(body: BudgetId, desk: Desk, caller: Caller) -> Response:
    """Remove a budget: whoever had it is limited by it no more. The row that it was."""
    async with desk.change(caller) as change:
        row = await tenants.remove(change.connection, tenants.BUDGETS, body.id)
        if row is None:
            raise missing("budget", body.id)
        await change.record("deleted", "budget", body.id, row, None)
    return answer(shown(row, desk))


_SETTINGS = {
    "max_budget": "Float",
    "soft_budget": "Float",
    "budget_duration": "String",
    "max_parallel_requests": "Integer",
    "rpm_limit": "Integer",
    "tpm_limit": "Integer",
    "tpd_limit": "Integer",
    "model_max_budget": "Dictionary",
}


def shown(row: tenants.Row, office: Office) -> dict[str, Any]:
    """A budget as LiteLLM shows it."""
    period = row["budget_duration"]
    reset = window(period, office.now(), office.zone)[1] if period else None
    return {
        **row["extra"],
        **{name: row[name] for name in row if name != "extra"},
        "model_max_budget": amounts.of_models(row["model_max_budget"]),
        "budget_reset_at": reset,
    }


def _columns(body: NewBudget) -> dict[str, Any]:
    values = emptied(body.given())
    if body.unknown():
        values["extra"] = body.unknown()
    return values
