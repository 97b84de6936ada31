"""Days and times as query parameters: which part of the spend a report is about."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from schemas.failures import Kind, Refused

LONGEST = 400
"""Days of a report that is not paginated."""
_FIRST, _LAST = date(1970, 1, 1), date(9000, 1, 1)


def _day(value: Any) -> Any:
    """Only `YYYY-MM-DD`: pydantic would take a number for seconds since 1970."""
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, date) or (isinstance(value, str) and found.isoformat() != value):
        raise ValueError("a date is wanted: YYYY-MM-DD")
    return found


def _within(day: date) -> date:
    if not _FIRST <= day <= _LAST:
        raise ValueError("a day of our time is wanted")
    return day


Day = Annotated[date, BeforeValidator(_day), AfterValidator(_within)]
"""A day of UTC."""
Text = Annotated[str | None, Field(max_length=1000)]
"""An id to look for."""
Key = Annotated[str | None, Field(max_length=1000)]
"""A key, its SHA-256, or its id."""
Ids = Annotated[str | None, Field(max_length=20_000)]
"""Ids with commas between them."""


class Days(BaseModel):
    """The query of a report about some days, both included."""

    start_date: Day | None = None
    end_date: Day | None = None


def needed(start: date | None, end: date | None, longest: int = LONGEST) -> tuple[date, date]:
    """Both days, in order. Raises `Refused`."""
    if start is None or end is None:
        raise Refused(Kind.INVALID_REQUEST, "Please provide start_date and end_date.", param="start_date")
    if end < start:
        raise Refused(Kind.INVALID_REQUEST, "end_date must be on or after start_date.", param="end_date")
    if (end - start).days > longest:
        raise Refused(Kind.INVALID_REQUEST, f"Date range must be at most {longest} days.", param="end_date")
    return start, end


def month(now: datetime) -> tuple[date, date]:
    """LiteLLM's default: today and the thirty days before."""
    today = now.astimezone(UTC).date()
    return today - timedelta(days=30), today


def any_time(start: date | None, end: date | None) -> tuple[date, date]:
    """What is not given is no bound."""
    return start or _FIRST, end or _LAST


def moment(text: str, *, end: bool = False) -> datetime:
    """`YYYY-MM-DD HH:MM:SS` or `YYYY-MM-DD`, UTC; at the end of a range the moment after it. Raises `Refused`."""
    text = text.strip()
    try:
        if len(text) == len("YYYY-MM-DD"):
            day = _within(_day(text))
            return midnight(day + timedelta(days=1) if end else day)
        found = datetime.strptime(text.replace("T", " ").removesuffix("Z"), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        _within(found.date())
    except ValueError:
        shown = "'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'"
        param = "end_date" if end else "start_date"
        raise Refused(Kind.INVALID_REQUEST, f"Invalid date format. Expected: {shown}", param=param) from None
    return found + timedelta(seconds=1) if end else found


def midnight(day: date) -> datetime:
    """When a day begins."""
    return datetime.combine(day, time.min, UTC)


def split(ids: str | None) -> list[str] | None:
    """The ids of a list with commas; None when there are none."""
    found = [one.strip() for one in (ids or "").split(",") if one.strip()]
    return found or None
