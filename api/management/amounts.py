"""The budgets inside a row's JSON as answers show them: money as numbers, windows with their end."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from api.management.office import Office
from policy.periods import window

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


def _numbers(terms: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Decimal(value) if name in _MONEY and value is not None else value for name, value in terms.items()}
