"""How a deployment stands, summed up over its processes, and what of it is still true a moment later."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.standing import NOWHERE, Row, Standing, summed
from schemas.envelope import Serving

NOW = 100.0


def row(slots: int = 10, **changes: Any) -> Row:
    return Row(Serving("q", "d", slots, **changes), NOW)


def test_a_row_is_as_old_as_its_beat() -> None:
    old = Row(Serving("q", "d", 10, room=1, pace=2.0, shut=0.5), NOW - 2, begun=1)
    found = summed([old], NOW)
    assert (found.shut, found.room) == (0, 1 + 2.0 * 1.5)
    assert found.room_now(NOW) == 3


def test_rows_are_summed_up() -> None:
    rows = [
        row(4, in_flight=3, room=1, pace=2.0, latency=1.0, slowest=5.0, shut=3.0, used=0.5),
        row(6, in_flight=2, room=4, pace=3.0, latency=3.0, slowest=4.0, shut=1.0, used=0.25),
    ]
    assert summed(rows, NOW) == Standing(
        NOW, True, processes=2, slots=10, in_flight=5, room=5, pace=5, latency=2, slowest=5, shut=1, used=0.5
    )


def test_nobody_is_nowhere() -> None:
    found = summed([], NOW)
    assert found == Standing(NOW)
    for one in (found, NOWHERE):
        assert (one.alive, one.room_now(NOW), one.shut_now(NOW), one.busy) == (False, 0, 0, 0)


def test_who_has_measured_nothing_does_not_make_the_others_faster() -> None:
    assert summed([row(latency=2.0), row(latency=0.0)], NOW).latency == pytest.approx(2.0)
    assert summed([row(latency=0.0), row(latency=0.0)], NOW).latency == 0


@pytest.mark.parametrize(
    ("standing", "later", "room"),
    [
        ({}, 0, 10),
        ({"alive": False}, 0, 0),
        ({"in_flight": 4}, 0, 6),
        ({"in_flight": 4, "room": 99.0}, 0, 6),  # nothing limits its pace: it has slots, and that is all
        ({"room": 3.0, "pace": 2.0}, 0, 3),
        ({"room": 3.0, "pace": 2.0}, 1.5, 6),
        ({"room": 3.0, "pace": 2.0}, 60, 10),
        ({"room": 3.0, "pace": 2.0, "begun": 2, "handed": 3}, 0, -2),
        ({"room": 3.0, "pace": 2.0, "begun": 2, "handed": 3}, 2.0, 2),
        ({"room": 3.0, "pace": 2.0, "over": 5}, 0, 3),
        ({"in_flight": 10, "pace": 2.0}, 9, 0),
        ({"in_flight": 10, "pace": 2.0, "over": 2}, 9, 2),
        ({"room": 1.0, "pace": 2.0, "shut": 4.0}, 3.9, 0),
        ({"room": 1.0, "pace": 2.0, "shut": 4.0}, 4.5, 2),
        ({"shut": 4.0}, 3.9, 0),
        ({"shut": 4.0}, 4.0, 10),
    ],
)
def test_the_room_that_there_is_by_now(standing: dict[str, Any], later: float, room: float) -> None:
    one = Standing(**{"at": NOW, "alive": True, "slots": 10} | standing)
    assert one.room_now(NOW + later) == pytest.approx(room)


@pytest.mark.parametrize(("shut", "later", "left"), [(0, 0, 0), (4, 0, 4), (4, 1, 3), (4, 4, 0), (4, 50, 0)])
def test_how_long_it_is_shut(shut: float, later: float, left: float) -> None:
    assert Standing(NOW, alive=True, shut=shut).shut_now(NOW + later) == left


def test_busy_is_what_runs_and_what_is_on_its_way() -> None:
    assert Standing(NOW, in_flight=5, begun=4, over=2, handed=3).busy == 10


ROWS = st.lists(
    st.builds(
        row,
        st.integers(0, 100),
        in_flight=st.integers(0, 100),
        room=st.integers(0, 100),
        pace=st.floats(0.1, 50),
        shut=st.floats(0, 20),
    ),
    min_size=1,
    max_size=5,
)


@given(ROWS, st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.floats(0, 30), st.floats(0, 30))
def test_room_comes_with_time_and_goes_with_calls(
    rows: list[Serving], begun: int, over: int, handed: int, later: float, more: float
) -> None:
    still, used = summed(rows, NOW), summed(rows, NOW)
    used.begun, used.over, used.handed = begun + over, over, handed
    for at in (NOW, NOW + later):
        assert used.room_now(at) <= still.room_now(at)
    assert still.room_now(NOW + later + more) >= still.room_now(NOW + later) or still.room_now(NOW + later) <= 0
    assert used.busy - still.busy == begun + handed


def test_who_leaves_a_deployment_to_others_adds_nothing_to_it() -> None:
    found = summed([row(5, room=2, pace=0.5, shut=1.0), row(0, room=1, pace=0.5), row(0, pace=0.5)], NOW)
    assert (found.alive, found.slots, found.room, found.pace, found.shut) == (True, 5, 2, 0.5, 1.0)
    alone = summed([row(0)], NOW)
    assert (alone.alive, alone.room_now(NOW), alone.shut_now(NOW)) == (True, 0, 0)
