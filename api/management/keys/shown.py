"""A key as LiteLLM shows it, with what it has spent."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from api.management import amounts
from api.management.linked_budgets import by_id
from api.management.metadata import masked
from api.management.office import Office
from ledger.balances import Spent, spent
from ledger.pool import Asked
from ledger.tenants import Row
from policy.periods import window
from schemas.access import Account

_BLANK: dict[str, Any] = {
    "config": {},
    "permissions": {},
    "router_settings": {},
    "allowed_cache_controls": [],
    "budget_fallbacks": {},
    "model_spend": {},
    "soft_budget_cooldown": False,
    "agent_id": None,
    "project_id": None,
    "object_permission": None,
    "object_permission_id": None,
    "access_group_ids": [],
    "last_active": None,
}
"""Fields that LiteLLM's clients find on every key."""

_HIDDEN = ("key_id", "extra", "service")


async def shown(on: Asked, office: Office, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """These keys, each with `token`, `spend`, `total_spend`, `budget_reset_at` and the row of its budget."""
    budgets = await by_id(on, [row["budget_id"] for row in rows])
    accounts = [(_account(row), period_of(row, budgets.get(row["budget_id"]))) for row in rows]
    spends = await spent(on, accounts) if accounts else {}
    return [
        _key(row, office, budgets.get(row["budget_id"]), spends[account])
        for row, (account, _) in zip(rows, accounts, strict=True)
    ]


def period_of(row: Row, budget: Row | None) -> str:
    """How long the window of a key's budget is: its own, or that of the budget it is linked to; "" is for ever."""
    return row["budget_duration"] or (budget["budget_duration"] if budget else None) or ""


async def usage(on: Asked, row: Row) -> dict[str, Any]:
    """What the key has spent in each of its further budgets: those of models, and those of other windows."""
    found: dict[str, Any] = {}
    if row["model_max_budget"]:
        found["model_max_budget_usage"] = await amounts.spent_by_model(
            on, Account("key", row["key_id"]), row["model_max_budget"]
        )
    if row["budget_limits"]:
        windows = [one["budget_duration"] for one in row["budget_limits"]]
        one_each = [await spent(on, [(_account(row), period)]) for period in windows]
        found["budget_limits_usage"] = {
            period: {"current_spend": spends[_account(row)].window}
            for period, spends in zip(windows, one_each, strict=True)
        }
    return found


def status(row: Mapping[str, Any], now: datetime) -> str:
    """active, expired or revoked."""
    if row["blocked"]:
        return "revoked"
    return "expired" if row["expires"] is not None and row["expires"] < now else "active"


def _account(row: Row) -> Account:
    return Account("key", row["key_id"])


def _key(row: Row, office: Office, budget: Row | None, spends: Spent) -> dict[str, Any]:
    period = period_of(row, budget)
    return {
        **_BLANK,
        **row["extra"],
        **{name: value for name, value in row.items() if name not in _HIDDEN},
        "token": row["key_id"],
        "org_id": row["organization_id"],
        "metadata": masked(row["metadata"]),
        "spend": spends.window,
        "total_spend": spends.total,
        "budget_limits": amounts.of_windows(row["budget_limits"], office),
        "model_max_budget": amounts.of_models(row["model_max_budget"]),
        "budget_reset_at": window(period, office.now(), office.zone)[1] if period else None,
        "litellm_budget_table": budget,
    }
