"""How many calls may be under way where nobody has told us the measure of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.window import Window


def looked_at(window: Window, seconds: float, start: float = 0.0, running: int | None = None) -> int:
    """Its size after so many seconds in which it is all in use, or with so many calls under way."""
    for n in range(1, round(seconds * 10) + 1):
        window.now(window.size if running is None else running, start + n / 10)
    return window.size


def test_it_doubles_in_a_second_while_it_is_all_in_use() -> None:
    assert 30 <= looked_at(Window(16, 0.0), 1.0) <= 48
    assert 16 * 6 <= looked_at(Window(16, 0.0), 3.0) <= 16 * 24


def test_it_stays_as_it_is_while_it_is_not() -> None:
    assert looked_at(Window(16, 0.0), 100.0, running=15) == 16


def test_one_look_in_a_long_time_does_no_more_than_double_it() -> None:
    window = Window(16, 0.0)
    assert window.now(16, 1000.0) == 32


def test_each_success_makes_it_larger() -> None:
    window = Window(16, 0.0)
    for _ in range(10):
        window.succeeded()
    assert window.size == 26


def test_strain_makes_it_smaller_than_what_was_under_way() -> None:
    window = Window(100, 0.0)
    window.strained(50)
    assert window.size == 45
    window.strained(90)
    assert window.size == 40


def test_once_strained_it_grows_slowly() -> None:
    window = Window(100, 0.0)
    window.strained(100)
    assert window.size == 90
    assert 94 <= looked_at(window, 1.0) <= 96
    window.strained(1000)
    size = window.size
    for _ in range(size):
        window.succeeded()
    assert size <= window.size <= size + 1, "one more for all of it"


def test_one_call_may_always_be_under_way() -> None:
    window = Window(4, 0.0)
    for _ in range(50):
        window.strained(1)
    assert window.size == 1
    assert looked_at(window, 60.0) > 1, "and it comes out of that by itself"


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["look", "good", "bad"]), st.integers(0, 100)), max_size=50),
)
def test_it_is_never_below_one_nor_without_bound(first: int, steps: list[tuple[float, str, int]]) -> None:
    window, now = Window(first, 0.0), 0.0
    for pause, act, running in steps:
        now, before = now + pause, window.size
        if act == "look":
            assert before <= window.now(running, now) <= 2 * before + 1
        elif act == "good":
            window.succeeded()
            assert before <= window.size <= before + 1
        else:
            window.strained(running)
            assert window.size <= before
        assert 1 <= window.size <= 65536


@pytest.mark.parametrize("running", [0, 65536])
def test_it_has_a_largest_size(running: int) -> None:
    window = Window(65000, 0.0)
    for n in range(2000):
        window.succeeded()
        window.now(running, float(n))
    assert window.size == 65536
