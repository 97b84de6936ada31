"""Whether a key's new terms are stricter than the old ones: its owner may make them so, its admins alone the contrary.

The same measure bounds what a key may give to another that it makes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from api.management.fields import Json
from api.management.keys.bodies import KeyTerms
from ledger.tenants import Row
from policy.periods import duration
from schemas.failures import Kind, Refused

AMOUNTS = ("rpm_limit", "tpm_limit", "tpd_limit", "max_parallel_requests")
_OF_BUDGET = ("max_budget", "budget_duration", *AMOUNTS)
_LIMITS = (
    "model_rpm_limit",
    "model_tpm_limit",
    "model_itpm_limit",
    "model_otpm_limit",
    "tag_rpm_limit",
    "mcp_rpm_limit",
)
_GROWING = ("tags", "guardrails", "policies", "enforced_params")
"""Lists in the metadata that bind a key the more, the longer they are."""
_CUSTOMERS = "end_user_budget_id"
"""The budget of customers who have none of their own."""
_ALL = frozenset({"*", "all-team-models", "all-proxy-models"})

Within = Callable[[Sequence[str], str], bool]
"""Whether a list of models has one."""


def effective(row: Row, budget: Row | None) -> Row:
    """The key with the terms of the budget that it is linked to, where it has none of its own."""
    if budget is None:
        return row
    terms = {name: budget[name] if row[name] is None else row[name] for name in _OF_BUDGET}
    lists = {
        "models": row["models"] or budget["allowed_models"],
        "model_max_budget": row["model_max_budget"] or budget["model_max_budget"],
    }
    return {**row, **terms, **lists}


def kept(metadata: Json, stored: Mapping[str, Any]) -> Json:
    """With what binds the key and was left out of its new metadata: that says nothing of it."""
    return {name: stored[name] for name in (*_LIMITS, *_GROWING) if name in stored} | metadata


def loosened(before: Row, after: Row, within: Within) -> str | None:
    """The first field in which `after` allows more than `before`; None when there is none."""
    more = {name: _above(before[name], after[name]) for name in (*AMOUNTS, "expires")}
    more["models"] = _more_models(before["models"], after["models"], within)
    more["allowed_routes"] = bool(before["allowed_routes"]) and not _among(
        after["allowed_routes"], before["allowed_routes"]
    )
    for name in ("organization_id", "team_id"):
        more[name] = before[name] is not None and after[name] != before[name]
    more["blocked"] = before["blocked"] and not after["blocked"]
    for name in (*_LIMITS, *_GROWING):
        more[name] = _unbound(before["metadata"].get(name), after["metadata"].get(name))
    return next((name for name, is_more in more.items() if is_more), None)


def said(body: KeyTerms) -> frozenset[str]:
    """What a request for a key says itself, before defaults are filled in."""
    named = {name for name in body.model_fields_set if getattr(body, name, None)}
    return frozenset(named | set(body.metadata or ()))


def hand_on(values: dict[str, Any], said: frozenset[str], own: Row, within: Within) -> None:
    """Bound a new key's columns by those of the key that asks (`own`, see `effective`): what is unsaid is inherited.

    Raises `Refused(INVALID_REQUEST)` for what is said and is more.
    """
    metadata = dict(values["metadata"])
    if own["max_budget"] is not None:
        if values.get("max_budget") is None and "budget_duration" not in said:
            values["budget_duration"] = own["budget_duration"]
        _bound(values, said, "budget_duration", own, _shorter(values.get("budget_duration"), own["budget_duration"]))
    for name in ("max_budget", *AMOUNTS):
        _bound(values, said, name, own, _above(own[name], values.get(name)))
    for name in ("model_max_budget", "budget_limits"):
        _bound(values, said, name, own, bool(own[name]) and values.get(name) != own[name])
    _bound(values, said, "models", own, _more_models(own["models"], values.get("models") or (), within))
    for name in (*_LIMITS, *_GROWING):
        _bound(metadata, said, name, own["metadata"], _unbound(own["metadata"].get(name), metadata.get(name)))
    if _CUSTOMERS in own["metadata"]:  # only a proxy admin says another
        metadata[_CUSTOMERS] = own["metadata"][_CUSTOMERS]
    values["metadata"] = metadata


def _bound(values: dict[str, Any], said: frozenset[str], name: str, own: Mapping[str, Any], more: bool) -> None:
    if more and name in said:
        raise Refused(Kind.INVALID_REQUEST, f"{name} is more than the key has that asks for it.", param=name)
    if more:
        values[name] = own[name]


def _above(most: Any, value: Any) -> bool:
    return most is not None and (value is None or value > most)


def _shorter(period: str | None, own: str | None) -> bool:
    """Whether a budget of this period begins anew more often."""
    return bool(period) and (not own or duration(str(period)).seconds < duration(own).seconds)


def _among(some: Sequence[str], every: Sequence[str]) -> bool:
    return bool(some) and set(some) <= set(every)


def _more_models(before: Sequence[str], after: Sequence[str], within: Within) -> bool:
    if not before or _ALL & set(before):
        return False
    return not after or any(model in _ALL or not within(before, model) for model in after)


def _unbound(before: Any, after: Any) -> bool:
    """Whether limits by name have become higher or fewer, or a list shorter. What is neither binds nothing."""
    if isinstance(before, list):
        return not isinstance(after, list) or any(one not in after for one in before)
    if isinstance(before, dict):
        return not isinstance(after, dict) or any(_above(most, after.get(name)) for name, most in before.items())
    return False
