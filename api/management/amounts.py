"""The budgets inside a row's JSON as answers show them: money as numbers, windows with their end, what was spent."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from api.management.office import Office
from ledger.balances import spent
from ledger.pool import Asked
from policy.periods import window
from schemas.access import Account

_MONEY = ("budget_limit", "max_budget")


def of_models(budgets: Mapping[str, Any]) -> dict[str, Any]:
    """A `model_max_budget`."""
    return {model: _numbers(terms) for model, terms in budgets.items()}


def of_windows(limits: Iterable[Mapping[str, Any]] | None, office: Office) -> list[dict[str, Any]] | None:
    """A `budget_limits`; None when there is none."""
    now = office.now()
    found = [
        {**_numbers(limit), "reset_at": window(limit["budget_duration"], now, office.zone)[1]} for limit in limits or ()
    ]
    return found or None


async def spent_by_model(on: Asked, payer: Account, budgets: Mapping[str, Any]) -> dict[str, Any]:
    """How much of each model's budget is spent."""
    periods = {model: terms.get("time_period") or terms.get("budget_duration") for model, terms in budgets.items()}
    asked = {model: (payer.on(model), period or "") for model, period in periods.items()}
    spends = await spent(on, list(asked.values())) if asked else {}
    return {
        model: {
            "current_spend": spends[account].window,
            "budget_limit": _limit(budgets[model]),
            "time_period": period or None,
        }
        for model, (account, period) in asked.items()
    }


def _limit(terms: Mapping[str, Any]) -> Decimal | None:
    found = terms.get("budget_limit", terms.get("max_budget"))
    return None if found is None else Decimal(found)


def _numbers(terms: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Decimal(value) if name in _MONEY and value is not None else value for name, value in terms.items()}
