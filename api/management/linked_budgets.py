"""The terms of whatever names a row of `budgets` by `budget_id`: keys, members, organizations, customers, tags."""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from api.management import budgets
from api.management.fields import Name, WithTerms, emptied
from api.management.office import Change, Office
from ledger import tenants
from ledger.balances import Spent, spent
from ledger.pool import Asked
from schemas.access import Account
from schemas.failures import Kind, Refused

MOST_SHOWN = 1000
"""Entities in one answer; more are on further pages."""
MOST_NAMED = 1000
"""Entities that one call may name."""


class WithBudget(WithTerms):
    """A body that names a budget, or has the fields of one."""

    budget_id: Name | None = None
    allowed_models: list[Name] | None = None

    def terms(self) -> dict[str, Any]:
        """The columns of the budget that the client has sent, null included, without `budget_id`."""
        return {name: value for name, value in self.given().items() if name in TERMS}

    def own(self) -> dict[str, Any]:
        """The other declared fields that the client has sent, null included."""
        return {name: value for name, value in self.given().items() if name not in TERMS and name != "budget_id"}


TERMS = frozenset(WithBudget.model_fields) - {"budget_id"}
"""The columns of a budget that clients set."""


async def settle(
    change: Change, terms: Mapping[str, Any], chosen: str | None, present: str | None, *, always: bool = False
) -> str | None:
    """The id of the budget that an entity has from now on.

    Terms change the budget that it has, or make one (`always`: even without terms). Another budget is `chosen`
    without terms. Raises `Refused(INVALID_REQUEST)` when terms come with another budget, or when there is none such.
    """
    meant = any(value not in (None, [], {}) for value in terms.values())
    if chosen is not None and chosen != present:
        if meant:
            said = "Give either the 'budget_id' of another budget or a budget's own fields, not both."
            raise Refused(Kind.INVALID_REQUEST, said, param="budget_id")
        if await tenants.find(change.connection, tenants.BUDGETS, chosen) is None:
            raise Refused(Kind.INVALID_REQUEST, f"There is no budget '{chosen}'.", param="budget_id")
        return chosen
    if present is not None and await _changed(change, present, terms):
        return present
    return await _made(change, terms) if meant or always else None


async def _changed(change: Change, budget: str, terms: Mapping[str, Any]) -> bool:
    """Whether there is this budget; then it has these terms."""
    before = await tenants.find(change.connection, tenants.BUDGETS, budget, lock=True)
    if before is None:
        return False
    if terms:
        values = {**emptied(terms), "updated_by": change.access.caller.user}
        after = await tenants.change(change.connection, tenants.BUDGETS, [budget], values)
        await change.record("updated", "budget", budget, before, after)
    return True


async def _made(change: Change, terms: Mapping[str, Any]) -> str:
    who = change.access.caller.user
    budget = secrets.token_hex(16)
    values = {**emptied(terms), "budget_id": budget, "created_by": who, "updated_by": who}
    row = await tenants.insert(change.connection, tenants.BUDGETS, values)
    await change.record("created", "budget", budget, None, row)
    return budget


async def standings(on: Asked, office: Office, kind: str, owned: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
    """`litellm_budget_table`, `spend` and `total_spend` of entities by id; `owned` says which budget each has.

    `kind` is that of their accounts.
    """
    rows = await by_id(on, owned.values())
    asked = [(Account(kind, id), period_of(rows.get(budget or ""))) for id, budget in owned.items()]
    sums = await spent(on, asked)
    return {id: _standing(rows.get(budget or ""), sums[Account(kind, id)], office) for id, budget in owned.items()}


async def by_id(on: Asked, ids: Iterable[str | None]) -> dict[str, tenants.Row]:
    """The budgets with these ids; None among them is nothing."""
    wanted = sorted({id for id in ids if id is not None})
    if not wanted:
        return {}
    rows = await tenants.matching(on, tenants.BUDGETS, {"budget_id": wanted}, limit=len(wanted))
    return {row["budget_id"]: row for row in rows}


def period_of(budget: tenants.Row | None) -> str:
    """How long the budget's window is; "" is for ever, or there is none."""
    return (budget["budget_duration"] if budget else None) or ""


def linked(budget: tenants.Row | None, office: Office) -> dict[str, Any] | None:
    """A `litellm_budget_table`."""
    return None if budget is None else budgets.shown(budget, office)


def _standing(budget: tenants.Row | None, sums: Spent, office: Office) -> dict[str, Any]:
    return {"litellm_budget_table": linked(budget, office), "spend": sums.window, "total_spend": sums.total}
