"""Durations as LiteLLM writes them (`30s`, `24h`, `7d`, `1mo`, `monthly`), and the calendar windows of budgets.

A window of one day begins at midnight, of seven days on Monday, of thirty days and of a month on the first; other
numbers of seconds, minutes, hours and days divide time since 1970 (in the zone's wall time) evenly.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

_FORM = re.compile(r"\s*([0-9]{1,6})\s*(s|m|h|d|w|mo|y)\s*", re.ASCII)
_WORDS = {"hourly": "1h", "daily": "1d", "weekly": "7d", "monthly": "1mo", "yearly": "1y"}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "mo": 30 * 86400, "y": 365 * 86400}
_EPOCH = datetime(1970, 1, 1)
_MONDAY = datetime(1970, 1, 5)
FOREVER = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


class Duration(NamedTuple):
    """A number of units: s, m, h, d, w, mo (month), y."""

    number: int
    unit: str

    @property
    def seconds(self) -> int:
        """About: a month has thirty days here."""
        return self.number * _SECONDS[self.unit]


def duration(text: str) -> Duration:
    """What a text means. Raises `ValueError`."""
    found = _FORM.fullmatch(_WORDS.get(text.strip().lower(), text.lower()))
    if found is None or int(found[1]) == 0:
        raise ValueError("a duration such as 30s, 15m, 24h, 7d or 1mo is wanted")
    result = Duration(int(found[1]), found[2])
    if result.seconds > 100 * _SECONDS["y"]:
        raise ValueError("a duration of at most 100 years is wanted")
    return result


def after(now: datetime, text: str) -> datetime:
    """The moment that lies this duration after now; months and years are the calendar's."""
    count, unit = duration(text)
    if unit in ("mo", "y"):
        return _months_later(now, count * (12 if unit == "y" else 1))
    return now + timedelta(seconds=count * _SECONDS[unit])


def window(text: str, now: datetime, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    """The window that now lies in: its beginning (included) and its end, both in UTC. "" is all time."""
    if not text:
        return FOREVER
    count, unit = duration(text)
    wall = now.astimezone(zone).replace(tzinfo=None)
    if unit in ("mo", "y") or (unit == "d" and count == 30):
        months = count if unit == "mo" else 12 * count if unit == "y" else 1
        elapsed = (wall.year - 1970) * 12 + wall.month - 1
        first = elapsed - elapsed % months
        return _of(_month(first), zone), _of(_month(first + months), zone)
    length = timedelta(seconds=count * _SECONDS[unit])
    start = _MONDAY if length.days and length.days % 7 == 0 else _EPOCH
    begin = start + (wall - start) // length * length
    return _of(begin, zone), _of(begin + length, zone)


def _month(number: int) -> datetime:
    """The first of the month that is so many after January 1970."""
    return datetime(1970 + number // 12, number % 12 + 1, 1)


def _of(wall: datetime, zone: tzinfo) -> datetime:
    return wall.replace(tzinfo=zone).astimezone(UTC)


def _months_later(now: datetime, months: int) -> datetime:
    number = now.year * 12 + now.month - 1 + months
    year, month = divmod(number, 12)
    first = now.replace(year=year, month=month + 1, day=1)
    following = first.replace(year=year + (month == 11), month=(month + 1) % 12 + 1)
    return first.replace(day=min(now.day, (following - first).days))
