"""Whether a request can be answered in time: tables, and that more backlog or less time never helps."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.admission import Flow, Outlook, outlook, too_late, window
from policy.standing import NOWHERE, Standing

NOW = 100.0


def of(pace: float, room: float, slowest: float, shut: float) -> Outlook:
    """Of one deployment."""
    return Outlook((Flow(shut, pace),), room, slowest)


OUTLOOKS = st.builds(
    of,
    pace=st.just(0.0) | st.floats(0.01, 1000),
    room=st.floats(0, 100),
    slowest=st.floats(0, 100),
    shut=st.just(0.0) | st.floats(0, 100),
)
BEFORE = st.floats(0, 10_000)
LEFT = st.floats(0.01, 600)


def standing(**changes: Any) -> Standing:
    return Standing(**{"at": NOW, "alive": True, "slots": 10, "room": 4.0, "pace": 5.0} | changes)


@pytest.mark.parametrize(
    ("standings", "askers", "expected"),
    [
        ([], 1, of(0, 0, 0, 0)),
        ([NOWHERE], 1, of(0, 0, 0, 0)),
        ([standing()], 1, of(5, 4, 0, 0)),
        ([standing()], 0, of(5, 4, 0, 0)),
        ([standing()], 4, of(1.25, 1, 0, 0)),
        ([standing(), NOWHERE], 1, of(5, 4, 0, 0)),
        ([standing(), standing(pace=1.0, room=-6.0)], 1, of(6, 4, 0, 0)),
        ([standing(), standing(pace=0.0, slots=7)], 2, of(0, 2 + 3.5, 0, 0)),
        ([standing(slowest=3.0), standing(slowest=9.0)], 1, of(10, 8, 9, 0)),
        ([standing(shut=3.0), standing(shut=9.0)], 1, of(5, 0, 0, 3)),
        ([standing(shut=3.0, slots=0), NOWHERE], 1, of(5, 0, 0, 3)),
    ],
)
def test_the_outlook_is_that_of_all_who_live(standings: list[Standing], askers: int, expected: Outlook) -> None:
    found = outlook(standings, askers, NOW)
    assert (found.pace, found.room, found.slowest, found.shut) == (
        expected.pace,
        expected.room,
        expected.slowest,
        expected.shut,
    )


def test_who_is_shut_helps_when_it_opens() -> None:
    ahead = outlook([standing(pace=10.0, room=0.0), standing(pace=10.0, shut=60.0)], 1, NOW)
    assert ahead.wait(189) == pytest.approx(190 / 9.7)
    assert ahead.wait(10 * 0.97 * 60 + 97 - 1) == pytest.approx(60 + 97 / 19.4)


@pytest.mark.parametrize(
    ("ahead", "before", "wait"),
    [
        (of(0, 0, 0, 0), 1000, 0),
        (of(0, 0, 0, 7), 1000, 7),
        (of(10, 5, 0, 0), 0, 0),
        (of(10, 5, 0, 0), 4, 0),
        (of(10, 5, 0, 0), 5, 0.1),
        (of(10, 0, 0, 0), 99, 10),
        (of(10, 0, 0, 3), 99, 13),
        (of(10, 500, 0, 3), 99, 3),
    ],
)
def test_the_wait_is_for_the_backlog_at_the_pace(ahead: Outlook, before: float, wait: float) -> None:
    assert wait <= ahead.wait(before) <= wait * 1.05


@given(OUTLOOKS, BEFORE, BEFORE)
def test_a_longer_backlog_is_a_longer_wait(ahead: Outlook, before: float, more: float) -> None:
    assert ahead.shut <= ahead.wait(before) <= ahead.wait(before + more)


@pytest.mark.parametrize(
    ("ahead", "least"),
    [(of(0, 0, 0, 0), 1), (of(100, 0, 0, 0), 6), (of(100, 30, 0, 0), 36), (of(0, 30, 9, 9), 31)],
)
def test_the_queue_may_hold_what_has_room_and_a_little_more(ahead: Outlook, least: float) -> None:
    assert window(ahead) == pytest.approx(least)


@given(OUTLOOKS, st.floats(0, 50), st.floats(0, 50))
def test_more_room_or_pace_is_no_smaller_window(ahead: Outlook, room: float, pace: float) -> None:
    larger = of(ahead.pace + pace, ahead.room + room, ahead.slowest, ahead.shut)
    assert 1 <= window(ahead) <= window(larger)


STILL = of(10, 0, 0, 0)


@pytest.mark.parametrize(
    ("ahead", "before", "left", "in_time"),
    [
        (of(10, 5, 100, 0), 0, 0.1, True),  # it can begin now: whether its answer comes in time nobody knows
        (of(0, 0, 100, 0), 5000, 0.1, True),
        (STILL, 90, 10.0, True),
        (STILL, 110, 10.0, False),
        (STILL._replace(slowest=2.0), 60, 10.0, True),
        (STILL._replace(slowest=2.0), 80, 10.0, False),  # eight seconds of waiting, and three of the answer
        (STILL._replace(slowest=60.0), 40, 10.0, True),  # an answer may take half of what is left
        (STILL._replace(slowest=60.0), 60, 10.0, False),
        (of(10, 50, 0, 30.0), 0, 29.0, False),
        (of(10, 50, 0, 30.0), 0, 31.0, True),
        (of(0, 0, 0, 30.0), 0, 29.0, False),
        (of(0.01, 0, 0, 0), 0, 60.0, False),
    ],
)
def test_who_can_be_answered_in_time(ahead: Outlook, before: float, left: float, in_time: bool) -> None:
    assert (too_late(ahead, before, left) == 0) is in_time


@given(OUTLOOKS, BEFORE, LEFT)
def test_after_that_time_it_could_be_taken(ahead: Outlook, before: float, left: float) -> None:
    """When nobody else comes meanwhile."""
    late = too_late(ahead, before, left)
    assert late >= 0
    gone = max(0.0, late - ahead.shut) * ahead.pace * 0.97
    room = ahead.room + max(0.0, gone - before)
    then = of(ahead.pace, room, ahead.slowest, max(0.0, ahead.shut - late))
    assert too_late(then, max(0.0, before - gone), left) <= 1e-6


@given(OUTLOOKS, BEFORE, LEFT)
def test_it_is_not_sent_away_for_much_longer_than_needed(ahead: Outlook, before: float, left: float) -> None:
    assert too_late(ahead, before, left) <= 1.5 * ahead.wait(before)


@given(OUTLOOKS, BEFORE, BEFORE, LEFT, LEFT, st.floats(0, 100))
def test_more_backlog_slower_answers_and_less_time_never_help(
    ahead: Outlook, before: float, more: float, left: float, longer: float, slower: float
) -> None:
    late = too_late(ahead, before, left)
    assert too_late(ahead, before + more, left) >= late - 1e-9
    assert too_late(ahead._replace(slowest=ahead.slowest + slower), before, left) >= late - 1e-9
    assert too_late(of(ahead.pace, ahead.room, ahead.slowest, ahead.shut + slower), before, left) >= late - 1e-9
    assert too_late(ahead, before, left + longer) <= late + 1e-9
