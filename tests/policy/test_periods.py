"""Durations, and windows that follow the calendar: each moment is in one, and the next begins where it ends."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.periods import FOREVER, after, duration, window

WEDNESDAY = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
PERIODS = ["30s", "15m", "1h", "24h", "1d", "3d", "7d", "2w", "30d", "1mo", "3mo", "1y", "daily", "weekly", "monthly"]


@pytest.mark.parametrize(
    ("period", "began", "ends"),
    [
        ("1d", "2026-11-25T00:00", "2026-11-26T00:00"),
        ("daily", "2026-11-25T00:00", "2026-11-26T00:00"),
        ("24h", "2026-11-25T00:00", "2026-11-26T00:00"),
        ("7d", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("30d", "2026-11-01T00:00", "2026-12-01T00:00"),
        ("1mo", "2026-11-01T00:00", "2026-12-01T00:00"),
        ("3mo", "2026-10-01T00:00", "2027-01-01T00:00"),
        ("1y", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("1h", "2026-11-25T23:00", "2026-11-26T00:00"),
        ("15m", "2026-11-25T23:30", "2026-11-25T23:45"),
    ],
)
def test_windows_begin_where_people_expect(period: str, began: str, ends: str) -> None:
    assert window(period, WEDNESDAY) == tuple(datetime.fromisoformat(f"{at}:00+00:00") for at in (began, ends))


def test_midnight_is_where_the_calendar_is_read() -> None:
    began, ends = window("1d", WEDNESDAY, BERLIN)
    assert (began, ends) == (datetime(2026, 11, 25, 23, tzinfo=UTC), datetime(2026, 11, 26, 23, tzinfo=UTC))
    began, ends = window("1d", datetime(2026, 3, 29, 12, tzinfo=UTC), BERLIN)
    assert ends - began == timedelta(hours=23)


def test_no_period_is_all_time() -> None:
    assert window("", WEDNESDAY) == FOREVER


@given(
    st.sampled_from(PERIODS),
    st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
    st.sampled_from([UTC, BERLIN, ZoneInfo("Asia/Kolkata"), ZoneInfo("America/New_York")]),
)
def test_every_moment_is_in_one_window(period: str, now: datetime, zone: ZoneInfo) -> None:
    began, ends = window(period, now, zone)
    assert began <= now < ends or ends - began < timedelta(hours=2)  # an hour that the clocks show twice
    assert window(period, began, zone)[0] == began
    if duration(period).seconds >= 86400:
        assert window(period, ends, zone)[0] == ends


@pytest.mark.parametrize("text", ["", "d", "0d", "-1d", "1.5d", "1 fortnight", "1D D", "999999y", "١d", "soon"])
def test_what_is_no_duration_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "then"),
    [("30s", "2026-01-31T00:00:30"), ("2w", "2026-02-14T00:00:00"), ("1mo", "2026-02-28T00:00:00"),
     ("13mo", "2027-02-28T00:00:00"), ("1y", "2027-01-31T00:00:00")],
)  # fmt: skip
def test_moments_to_come(text: str, then: str) -> None:
    assert after(datetime(2026, 1, 31, tzinfo=UTC), text) == datetime.fromisoformat(f"{then}+00:00")
