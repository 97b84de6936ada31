"""Limits that nobody configured: what each word and each refusal teaches."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.learned import Learned
from schemas.limits import Remaining


def test_nothing_is_limited_before_there_is_a_sign() -> None:
    learned = Learned(0.0)
    for _ in range(1000):
        assert learned.wait(1e6, 0.0) == 0
        learned.take(1e6, 0.0)
    assert (learned.left(0.0), learned.pace()) == (None, 0)


@pytest.mark.parametrize(
    "said", [Remaining(None, 0, 1), Remaining(0, 0, 1), Remaining(-1, -1, 0), Remaining(100, 99, 1)]
)
def test_words_that_tell_of_no_scarcity_limit_nothing(said: Remaining) -> None:
    learned = Learned(0.0)
    learned.told(said, 0.0, 0.0, 0.0)
    assert (learned.wait(1e6, 0.0), learned.left(0.0), learned.pace()) == (0, None, 0)


@pytest.mark.parametrize(
    ("said", "pace"),
    [
        (Remaining(600, 10, None), 10),
        (Remaining(600, 10, 0.0), 10),
        (Remaining(600, 10, 6.0), 10),
        (Remaining(600, 10, 60.0), 10),
        (Remaining(14400, 0, 86400), 14400 / 86400),  # a day's: what is missing comes back by then
        (Remaining(3600, 0, 3600), 1),
        (Remaining(600, 0, 61), 600 / 61),
    ],
    ids=str,
)
def test_a_word_gives_the_pace(said: Remaining, pace: float) -> None:
    learned = Learned(0.0)
    learned.told(said, 0.0, 0.0, 0.0)
    assert learned.pace() == pytest.approx(pace)
    assert learned.left(0.0) == said.left
    assert 1 / pace <= learned.wait(said.left + 1, 0.0) * 1.001 <= 1 / pace + 0.5  # the minute's slots and margin


@pytest.mark.parametrize("reset", [61.0, 3600.0, 86400.0])
def test_a_limit_that_is_whole_again_is_no_limit_of_zero(reset: float) -> None:
    """An hour's or a day's limit, scarce yesterday, of which nothing is used yet today."""
    learned = Learned(0.0)
    learned.told(Remaining(100, 10, reset), 0.0, 0.0, 0.0)
    learned.told(Remaining(100, 100, reset), 0.0, 0.0, 1.0)
    for _ in range(100):
        assert learned.wait(1, 1.0) == 0
        learned.take(1, 1.0)
    assert 0 < learned.wait(1, 1.0) < math.inf


def test_a_word_is_brought_up_to_date() -> None:
    learned = Learned(0.0)
    learned.told(Remaining(600, 100, None), 0.5, 30, 10.0)
    assert learned.left(10.0) == pytest.approx(100 + 0.5 * 10 - 30, abs=5)  # no more than was ever said to be left


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 100),
            st.sampled_from(["told", "take", "refused", "start over"]),
            st.floats(1, 1e5),  # a limit, an amount
            st.floats(0, 1.2),  # what is left of it
            st.none() | st.floats(0, 1e5),  # until it is whole
        ),
        max_size=25,
    ),
    st.floats(1, 1e5),
)
def test_whatever_is_said_a_wait_is_finite_and_true(
    steps: list[tuple[float, str, float, float, float | None]], amount: float
) -> None:
    learned, now = Learned(0.0), 0.0
    for pause, act, number, part, reset in steps:
        now += pause
        if act == "told":
            learned.told(Remaining(round(number), round(number * part), reset), min(pause, 1.0), 0.0, now)
        elif act == "take":
            learned.take(number, now)
        elif act == "refused":
            learned.refused(1.0, now, now)
        else:
            learned.start_over(now)
        wait = learned.wait(amount, now)
        assert 0 <= wait < math.inf
        assert learned.wait(amount, now + wait) <= 1e-6 + wait / 50, "what may pass at once grows with the rate"
        assert learned.pace() >= 0
        now += wait
        if now > 1e7:
            return  # a clock that late is too coarse


def limited(now: float = 0.0) -> Learned:
    """Ten a second, and the second refusal in a while."""
    learned = Learned(now)
    for n in range(100):
        learned.take(1, now + n / 10)
    learned.refused(1, now + 9.9, now + 10)
    assert learned.pace() == 0, "the first may be somebody else's doing"
    learned.refused(1, now + 10, now + 10.01)
    return learned


def test_the_second_refusal_in_a_while_sets_a_rate() -> None:
    assert 7 <= limited().pace() <= 10


def test_two_that_are_far_apart_set_none() -> None:
    learned = Learned(0.0)
    for at in (10.0, 50.0, 90.0):
        learned.refused(1, at, at)
    assert learned.pace() == 0


def test_refusals_of_calls_that_began_before_the_last_fall_say_nothing_new() -> None:
    learned = limited()
    pace = learned.pace()
    for _ in range(50):
        learned.refused(1, 10.0, 10.5)
    assert learned.pace() == pace


def test_a_rate_grows_while_it_is_used() -> None:
    used, idle = limited(), limited()
    pace, now = used.pace(), 11.0
    while now < 40:
        now += used.wait(1, now)
        assert used.wait(1, now) <= 1e-9
        used.take(1, now)
        idle.wait(1, now)
    assert 1.2 * pace <= used.pace() <= 1.4 * pace, "a hundredth per second"
    assert idle.pace() <= 1.05 * pace, "what is not used proves nothing"


def test_who_was_away_has_one_call_in_hand() -> None:
    learned = limited()
    learned.start_over(20.0)
    assert learned.left(20.0) == pytest.approx(1)
