"""A key as LiteLLM shows it, with what it has spent; and what of it the audit log keeps."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from api.management.office import Office
from ledger import tenants
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
    wanted = sorted({row["budget_id"] for row in rows if row["budget_id"]})
    found = await tenants.matching(on, tenants.BUDGETS, {"budget_id": wanted}, limit=len(wanted)) if wanted else []
    budgets = {budget["budget_id"]: budget for budget in found}
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
    models = {
        model: terms.get("time_period") or terms.get("budget_duration")
        for model, terms in row["model_max_budget"].items()
    }
    if models:
        accounts = {model: Account("key_model", row["key_id"], model) for model in models}
        spends = await spent(on, [(accounts[model], period) for model, period in models.items()])
        found["model_max_budget_usage"] = {
            model: {
                "current_spend": spends[accounts[model]].window,
                "budget_limit": _number(row["model_max_budget"][model].get("budget_limit")),
                "time_period": period,
            }
            for model, period in models.items()
        }
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


def audited(row: Row) -> Row:
    """The row without the credentials that `metadata.logging` may hold."""
    logging = row["metadata"].get("logging")
    if logging is None:
        return row
    masked = [
        {name: "..." if name == "callback_vars" else value for name, value in one.items()}
        for one in (logging if isinstance(logging, list) else ())
        if isinstance(one, dict)
    ]
    return row | {"metadata": row["metadata"] | {"logging": masked}}


def _account(row: Row) -> Account:
    return Account("key", row["key_id"])


def _key(row: Row, office: Office, budget: Row | None, spends: Spent) -> dict[str, Any]:
    now, period = office.now(), period_of(row, budget)
    limits = [
        {
            **one,
            "max_budget": _number(one["max_budget"]),
            "reset_at": window(one["budget_duration"], now, office.zone)[1],
        }
        for one in row["budget_limits"]
    ]
    models = {
        model: {
            name: _number(value) if name in ("budget_limit", "max_budget") else value for name, value in one.items()
        }
        for model, one in row["model_max_budget"].items()
    }
    return {
        **_BLANK,
        **row["extra"],
        **{name: value for name, value in row.items() if name not in _HIDDEN},
        "token": row["key_id"],
        "org_id": row["organization_id"],
        "spend": spends.window,
        "total_spend": spends.total,
        "budget_limits": limits or None,
        "model_max_budget": models,
        "budget_reset_at": window(period, now, office.zone)[1] if period else None,
        "litellm_budget_table": budget,
    }


def _number(value: Any) -> Decimal | None:
    return None if value is None else Decimal(value)
