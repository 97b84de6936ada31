"""Lines of activity in LiteLLM's form: days with their metrics, and a breakdown of each."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from ledger.activity import UNASSIGNED, Line, Used

Names = Mapping[str, Mapping[str, Any]]
"""What is shown beside an id, by id."""

_PARTS = ("mcp_servers", "models", "model_groups", "providers", "endpoints", "api_keys", "entities")
_NONE = Used(Decimal(0), 0, 0, 0, 0, 0, 0, 0)
_NO_KEY = {"key_alias": None, "team_id": None, "user_id": None, "user_email": None, "key_exists": False}


def days_shown(lines: Sequence[Line], keys: Names, entities: Names) -> list[dict[str, Any]]:
    """`results`: the newest day first. A key's part of a name is shown where the name is."""
    days: dict[date, dict[str, Any]] = {}
    for line in lines:
        if line.key is None:
            day = days.setdefault(line.day, _day(line.day))
            if line.part:
                name = line.name or UNASSIGNED
                day["breakdown"][line.part][name] = _named(metrics(line.used), entities.get(name, {}))
            else:
                day["metrics"] = metrics(line.used)
    for line in lines:
        if line.key is not None and line.day in days:
            breakdown = days[line.day]["breakdown"]
            shown = {"metrics": metrics(line.used), "metadata": keys.get(line.key, _NO_KEY)}
            if not line.part:
                breakdown["api_keys"][line.key] = shown
            elif (name := line.name or UNASSIGNED) in breakdown[line.part]:
                breakdown[line.part][name]["api_key_breakdown"][line.key] = shown
    return [days[day] for day in sorted(days, reverse=True)]


def totals(lines: Iterable[Line]) -> dict[str, Any]:
    """`metadata`: the sums of the days that are shown."""
    found = _NONE
    for line in lines:
        if not line.part and line.key is None:
            found = Used._make(a + b for a, b in zip(found, line.used, strict=True))  # type: ignore[operator]
    return {name if name.startswith("total_") else f"total_{name}": value for name, value in metrics(found).items()}


def metrics(used: Used) -> dict[str, Any]:
    """The fields that LiteLLM has for what is counted here."""
    return {
        "spend": used.spend,
        "prompt_tokens": used.prompt,
        "completion_tokens": used.completion,
        "cache_read_input_tokens": used.cached,
        "cache_creation_input_tokens": used.cache_write,
        "total_tokens": used.prompt + used.completion,
        "successful_requests": used.successes,
        "failed_requests": used.failures,
        "api_requests": used.requests,
    }


def _day(day: date) -> dict[str, Any]:
    return {"date": day, "metrics": metrics(_NONE), "breakdown": {part: {} for part in _PARTS}}


def _named(shown: dict[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"metrics": shown, "metadata": metadata, "api_key_breakdown": {}}
