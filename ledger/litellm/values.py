"""Values of LiteLLM's columns as ours: what is odd there is made to fit, or said."""

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

Say = Callable[[str], None]
"""Takes what is to be known of the row at hand, a sentence without its subject and without any secret."""

_MOST = Decimal(10**12)
_COUNTS = 2**63 - 1
_SECRET_ENDS = ("key", "secret", "token", "password", "credentials", "service_account")
_SEALED_THERE = "litellm_enc::"


@dataclass(frozen=True, slots=True)
class Calendar:
    """The moment of the import, and `policy.periods.window`, which raises `ValueError` for what is no duration."""

    now: datetime
    window: Callable[[str, datetime], tuple[datetime, datetime]]

    def period(self, value: Any, say: Say) -> str | None:
        """A duration that means something here; None is all time."""
        if not (text := name(value)):
            return None
        try:
            self.window(text, self.now)
        except ValueError:
            say(f"budget_duration '{text[:40]}' is no duration: the budget is for all time")
            return None
        return text


def name(value: Any) -> str | None:
    """A text; "" is none."""
    return value if isinstance(value, str) and value else None


def names(value: Any) -> list[str]:
    """An array of texts."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def money(value: Any) -> Decimal | None:
    """US dollars. Infinity, which is no limit there, is none here either."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if not math.isfinite(value):
        return None
    return min(max(Decimal(repr(value)) if isinstance(value, float) else Decimal(value), Decimal(0)), _MOST)


def spent(value: Any) -> Decimal:
    """US dollars that were spent; none for what is no number."""
    return money(value) or Decimal(0)


def count(value: Any) -> int | None:
    """A limit."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        return None
    return min(max(int(value), 0), _COUNTS)


def moment(value: Any) -> datetime | None:
    """A time: Prisma keeps UTC without saying so."""
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def listed(value: Any) -> list[Any]:
    """A JSON array, also one that was encoded twice; what is none is empty."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.loads(value, parse_float=Decimal)
    return value if isinstance(value, list) else []


def fields(value: Any, say: Say, column: str = "metadata") -> dict[str, Any]:
    """A JSON object, also one that was encoded twice. What is none is kept as `litellm` in one."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.loads(value, parse_float=Decimal)
    if isinstance(value, dict):
        return value
    if value in (None, "", [], ()):
        return {}
    say(f"{column} was no JSON object: it is kept under 'litellm'")
    return {"litellm": value}


def metadata(value: Any, say: Say) -> dict[str, Any]:
    """The metadata without what callbacks prove themselves by, which would stand there open."""
    found = fields(value, say)
    logging = found.get("logging")
    parts = [*(logging if isinstance(logging, list) else []), found.get("callback_settings")]
    if not any(_secrets(part) for part in parts):
        return found
    say("the credentials of its callbacks are left behind: set them again")
    cleaned = dict(found)
    if isinstance(logging, list):
        cleaned["logging"] = [_without(part) for part in logging]
    if "callback_settings" in cleaned:
        cleaned["callback_settings"] = _without(cleaned["callback_settings"])
    return cleaned


def model_budgets(value: Any, calendar: Calendar, say: Say) -> dict[str, Any]:
    """`model_max_budget`: by model {budget_limit, time_period}, or a plain number of dollars."""
    found = {}
    for model, terms in fields(value, say, "model_max_budget").items():
        given = terms if isinstance(terms, Mapping) else {"budget_limit": terms}
        limit = money(given.get("budget_limit", given.get("max_budget")))
        if limit is None:
            say(f"the budget for the model '{model[:100]}' says no amount and is left out")
            continue
        period = calendar.period(given.get("time_period", given.get("budget_duration")), say)
        found[model] = {"budget_limit": limit, **({} if period is None else {"time_period": period})}
    return found


def windows(value: Any, calendar: Calendar, say: Say) -> list[dict[str, Any]]:
    """`budget_limits`: several budgets at once, each [{budget_duration, max_budget}]."""
    found = []
    for one in listed(value):
        limit = money(one.get("max_budget")) if isinstance(one, Mapping) else None
        period = calendar.period(one.get("budget_duration"), say) if isinstance(one, Mapping) else None
        if limit is None or period is None:
            say("one of its budget_limits says no amount or no duration and is left out")
        else:
            found.append({"budget_duration": period, "max_budget": format(limit, "f")})
    return found


def present(**given: Any) -> dict[str, Any]:
    """Those that say something: neither None nor empty."""
    return {name: value for name, value in given.items() if value not in (None, "", [], {})}


def secret(name: str) -> bool:
    """Whether a field of this name holds credentials."""
    return name.lower().endswith(_SECRET_ENDS)


def _secrets(part: Any) -> set[str]:
    variables = part.get("callback_vars") if isinstance(part, Mapping) else None
    if not isinstance(variables, Mapping):
        return set()
    return {
        name
        for name, value in variables.items()
        if isinstance(value, str)
        and not value.startswith("os.environ/")
        and (secret(name) or value.startswith(_SEALED_THERE))
    }


def _without(part: Any) -> Any:
    hidden = _secrets(part)
    if not hidden:
        return part
    left = {name: value for name, value in part["callback_vars"].items() if name not in hidden}
    return {**part, "callback_vars": left}
