"""Numbers, spans of time and moments as providers write them."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import inf

_LONGEST = 64  # characters of a span or a moment; looking for numbers in much more would be slow
_EPOCH = 1e9  # from here on a number is no span (it would be 30 years) but Unix time
_MILLISECONDS = 1e11  # from here on it is Unix time in milliseconds
_REMEMBERED = 256  # texts: all answers of one second have the same date, and many the same span

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd]|[uµμn]s)")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}


def number(text: str) -> float | None:
    """A finite number that is not negative; None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < inf else None


@lru_cache(_REMEMBERED)
def span(text: str) -> float | None:
    """Seconds of "6m0s", "20ms", "2m59.56s" (Go's `Duration.String`, and days); None for anything else."""
    if not 0 < len(text) <= _LONGEST:
        return None
    total, read = 0.0, 0
    for amount, unit in _PART.findall(text):
        total += float(amount) * _SECONDS[unit]
        read += len(amount) + len(unit)
    return total if read == len(text) else None


def until(text: str, date: str) -> float | None:
    """Seconds until what `text` says; None for anything else, 0 for what is past.

    It may be a span, a number of seconds, or a moment: RFC 3339, an HTTP date, Unix time in seconds or milliseconds.
    A moment is read against `date`, the answer's own, so that no clock is needed and none can be wrong.
    """
    if text[-1:] in _SECONDS:
        return span(text)
    seconds = number(text)
    if seconds is None:
        then = _moment(text)
    elif seconds < _EPOCH:
        return seconds
    else:
        then = seconds if seconds < _MILLISECONDS else seconds / 1000
    now = _moment(date)
    return None if then is None or now is None else max(0.0, then - now)


@lru_cache(_REMEMBERED)
def _moment(text: str) -> float | None:
    if not 0 < len(text) <= _LONGEST:
        return None
    try:
        found = datetime.fromisoformat(text) if text[0].isdigit() else parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):  # the e-mail parser raises what it happens upon
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
