"""Lines of activity in LiteLLM's form: days with their metrics, and a breakdown of each."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from ledger.activity import UNASSIGNED, Line, Used

Names = Mapping[str, Mapping[str, Any]]
"""What is shown beside an id, by id."""

_PARTS = ("mcp_servers", "models", "model_groups", "providers", "endpoints", "api_keys", "entities")
_NONE = Used(Decimal(0), 0, 0, 0, 0, 0, 0, 0)
_NO_KEY = {"key_alias": None, "team_id": None, "user_id": None, "user_email": None, "key_exists": False}
_NO_NAMES: Mapping[str, Any] = {}


class Metrics(msgspec.Struct, frozen=True, gc=False):
    """The fields that LiteLLM has for what is counted here."""

    spend: Decimal
    prompt_tokens: int
    completion_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    total_tokens: int
    successful_requests: int
    failed_requests: int
    api_requests: int


class _Key(msgspec.Struct, frozen=True, gc=False):
    metrics: Metrics
    metadata: Mapping[str, Any]


class _Name(msgspec.Struct, frozen=True, gc=False):
    metrics: Metrics
    metadata: Mapping[str, Any]
    api_key_breakdown: dict[str, _Key]


def days_shown(lines: Sequence[Line], keys: Names, entities: Names) -> list[dict[str, Any]]:
    """`results`: the newest day first, ready for msgspec. A key's part of a name is shown where the name is."""
    days: dict[date, dict[str, Any]] = {}
    for line in lines:
        if line.key is None:
            day = days.get(line.day) or days.setdefault(line.day, _day(line.day))
            if line.part:
                name = line.name or UNASSIGNED
                day["breakdown"][line.part][name] = _Name(metrics(line), entities.get(name, _NO_NAMES), {})
            else:
                day["metrics"] = metrics(line)
    for line in lines:
        if line.key is not None and line.day in days:
            breakdown = days[line.day]["breakdown"]
            if not line.part:
                breakdown["api_keys"][line.key] = _Key(metrics(line), keys.get(line.key, _NO_KEY))
            elif (named := breakdown[line.part].get(line.name or UNASSIGNED)) is not None:
                named.api_key_breakdown[line.key] = _Key(metrics(line), keys.get(line.key, _NO_KEY))
    return [days[day] for day in sorted(days, reverse=True)]


def totals(lines: Iterable[Line]) -> dict[str, Any]:
    """`metadata`: the sums of the days that are shown."""
    found = _NONE
    for line in lines:
        if not line.part and line.key is None:
            found = Used._make(a + b for a, b in zip(found, line.used, strict=True))  # type: ignore[operator]
    shown = msgspec.structs.asdict(metrics(found))
    return {name if name.startswith("total_") else f"total_{name}": value for name, value in shown.items()}


def metrics(used: Line | Used) -> Metrics:
    """A sum in LiteLLM's form."""
    return Metrics(
        used.spend,
        used.prompt,
        used.completion,
        used.cached,
        used.cache_write,
        used.prompt + used.completion,
        used.successes,
        used.failures,
        used.requests,
    )


def _day(day: date) -> dict[str, Any]:
    return {"date": day, "metrics": metrics(_NONE), "breakdown": {part: {} for part in _PARTS}}
