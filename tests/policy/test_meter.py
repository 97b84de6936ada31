"""A limit per minute: never more in any sliding minute, nearly all of it used, and waits that are true."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.bucket import Bucket
from policy.meter import Meter

MINUTE = 60.0
NANOSECOND = 1e-9

LIMITS = st.sampled_from([1.0, 3.0, 7.5, 10.0, 600.0, 1e5, 1e7]) | st.floats(0.3, 1e6)
STARTS = st.sampled_from([0.0, 1000.0]) | st.floats(0, 1e4)
STEPS = st.lists(
    st.tuples(st.floats(0, 70), st.floats(0.001, 1.4), st.booleans()), min_size=1, max_size=60
)  # seconds that pass; the amount as a part of the limit; whether its wait is waited for


Steps = list[tuple[float, float, bool]]


def driven(meter: Meter, limit: float, steps: Steps, now: float) -> tuple[list[tuple[float, float]], float]:
    """What passed, and when, where each amount passes only if it need not wait; and the time after it all."""
    passed = []
    for pause, part, patient in steps:
        now += pause
        amount = part * limit
        if patient:
            now += meter.wait(amount, now)
        if meter.wait(amount, now) <= NANOSECOND:
            meter.take(amount, now)
            passed.append((now, amount))
    return passed, now


def fullest_minute(passed: list[tuple[float, float]], limit: float) -> float:
    """The most of the limit that passed in any 60 s, a single amount that is larger than the limit not counted."""
    inside: deque[tuple[float, float]] = deque()
    most = 0.0
    for at, amount in passed:
        inside.append((at, amount))
        while inside[0][0] < at - MINUTE:
            inside.popleft()
        if len(inside) > 1 or amount <= limit:
            most = max(most, sum(part for _, part in inside))
    return most


@given(LIMITS, STARTS, STEPS)
def test_no_sliding_minute_has_more_than_the_limit(limit: float, start: float, steps: Steps) -> None:
    passed, _ = driven(Meter(limit, start), limit, steps, start)
    assert fullest_minute(passed, limit) <= limit * (1 + 1e-6)


@given(LIMITS, STARTS, STEPS, st.floats(0, 60), st.floats(-2, 2))
def test_words_and_refusals_never_make_a_minute_larger(
    limit: float, start: float, steps: Steps, pause: float, level: float
) -> None:
    meter, half = Meter(limit, start), len(steps) // 2
    before, now = driven(meter, limit, steps[:half], start)
    meter.lower(level * limit, now + pause)
    meter.refused(now + pause)
    after, _ = driven(meter, limit, steps[half:], now + pause)
    assert fullest_minute(before + after, limit) <= limit * (1 + 1e-6)


@given(LIMITS, STARTS, STEPS, st.floats(0.001, 3), st.sampled_from([0.0, 0.25]))
def test_a_wait_is_true(limit: float, start: float, steps: Steps, part: float, keep: float) -> None:
    meter = Meter(limit, start)
    _, now = driven(meter, limit, steps, start)
    amount = part * limit
    wait = meter.wait(amount, now, keep)
    assert 0 <= wait <= 2 * MINUTE + MINUTE * part, "whatever its size it does not wait for ever"
    if wait > 1e-6:
        assert meter.wait(amount, now + 0.9 * wait, keep) > 0
    assert meter.wait(amount, now + wait, keep) <= NANOSECOND


@pytest.mark.parametrize("at", [300.0, 5_000.0, 86_400.0, 1_000_000.0])
@pytest.mark.parametrize("limit", [600.0, 200_000.0, 30_000_000.0])
def test_who_waits_as_told_may_pass_in_the_end(limit: float, at: float) -> None:
    """Clocks have a resolution: a wait that is too short for `at + wait` to be later than `at` would be for ever."""
    meter = Meter(limit, at)
    for n in range(200):
        amount = limit / 1000 * (1 + n / 7)
        for _ in range(4):
            at += meter.wait(amount, at)
        assert meter.wait(amount, at) == 0
        meter.take(amount, at)


def passes(meter: Meter, amount: float, span: float) -> list[float]:
    """The times at which a backlog of equal amounts passes."""
    now, found = 0.0, []
    while now < span:
        now += meter.wait(amount, now)
        while meter.wait(amount, now) <= NANOSECOND:
            meter.take(amount, now)
            found.append(now)
        now += NANOSECOND
    return found


@pytest.mark.parametrize(
    ("limit", "amount"),
    [(1, 1), (3, 1), (7, 1), (10, 1), (11, 1), (60, 1), (600, 1), (6000, 1), (1e5, 700), (1e9, 3e6), (4.5, 0.5)],
)
def test_a_backlog_uses_nearly_all_of_the_limit(limit: float, amount: float) -> None:
    found = passes(Meter(limit, 0.0), amount, 1200.0)
    per_minute = (len(found) - 1) * amount / (found[-1] - found[0]) * MINUTE
    assert 0.97 * limit <= per_minute <= 1.01 * limit


@pytest.mark.parametrize("limit", [1, 3, 10, 60, 600, 1e6])
@pytest.mark.parametrize("part", [0.3, 0.9, 1.0, 1.7])
def test_large_amounts_pass_at_the_limits_pace(limit: float, part: float) -> None:
    """A minute that does not hold two of them holds one; those above the limit pass on credit, which is paid back."""
    amount = part * limit
    found = passes(Meter(limit, 0.0), amount, 1800.0)
    per_minute = (len(found) - 1) * amount / (found[-1] - found[0]) * MINUTE
    fit = int(1 / part) * part if part <= 1 else 1.0
    assert 0.96 * fit * limit <= per_minute <= 1.01 * limit


@pytest.mark.parametrize("limit", [10, 60, 600, 6000])
def test_what_a_backlog_leaves_is_left_in_the_minute_too(limit: float) -> None:
    """A batch backlog keeps a quarter of a bucketful: another call finds room at once, whatever passed before."""
    meter, now = Meter(limit, 0.0), 70.0
    while now < 270.0:
        while meter.wait(1, now, keep=0.25) <= NANOSECOND:
            meter.take(1, now)
        assert meter.wait(1, now) == 0, f"at {now}"
        now += max(meter.wait(1, now, keep=0.25), NANOSECOND)


def test_the_first_minute_begins_as_if_others_had_used_it() -> None:
    meter = Meter(600.0, 100.0)
    assert meter.used(100.0) == pytest.approx(599 / 600)
    assert meter.wait(1, 100.0) == 0, "one call may pass at once"
    meter.take(1, 100.0)
    found = [meter.wait(n, 100.0) for n in (1, 10, 100)]
    assert found == sorted(found)
    assert found[0] >= 0.1
    assert found[2] >= 10


def test_after_a_quiet_minute_no_more_than_a_second_passes_at_once() -> None:
    for limit, burst in [(3.0, 3), (60.0, 10), (600.0, 10), (6000.0, 100)]:
        meter = Meter(limit, 0.0)
        assert meter.left(61.0) == pytest.approx(burst)
        assert meter.used(61.0) == 0
        for _ in range(burst):
            assert meter.wait(1, 61.0) == 0
            meter.take(1, 61.0)
        assert meter.wait(1, 61.0) > 0


def test_starting_over_is_as_good_as_new() -> None:
    meter = Meter(600.0, 0.0)
    for n in range(5):
        meter.take(50, 61.0 + n)
    meter.start_over(100.0)
    new = Meter(600.0, 100.0)
    for amount in (1, 5, 10, 50, 600, 1000):
        assert meter.wait(amount, 100.0) == pytest.approx(new.wait(amount, 100.0))
    assert (meter.used(100.0), meter.left(100.0)) == (new.used(100.0), new.left(100.0))


@given(LIMITS, STEPS, st.floats(0.01, 1), st.floats(0.01, 1))
def test_what_is_given_back_at_once_was_never_taken(limit: float, steps: Steps, taken: float, back: float) -> None:
    meters = [Meter(limit, 0.0), Meter(limit, 0.0)]
    (_, now), _ = [driven(meter, limit, steps, 0.0) for meter in meters]
    meters[0].take(taken * limit, now)
    meters[0].give_back(back * taken * limit, now, now)
    meters[1].take(taken * limit * (1 - back), now)
    for later in (now, now + 10, now + 70):
        assert meters[0].wait(limit / 2, later) == pytest.approx(meters[1].wait(limit / 2, later), abs=1e-5)


def test_what_is_given_back_goes_to_its_own_minute() -> None:
    """Or calls that are estimated too high would fill one minute twice."""
    meter = Meter(600.0, 0.0)
    meter.take(300, 70.0)
    meter.take(10, 100.0)
    meter.give_back(290, 70.0, 110.0)
    assert meter.used(110.0) == pytest.approx(20 / 600)
    assert meter.used(131.5) == pytest.approx(10 / 600), "that minute is over, and what it gave back with it"
    meter.give_back(5, 70.0, 140.0)  # nothing is left to be given back to
    assert meter.used(140.0) == pytest.approx(10 / 600)


def test_what_was_estimated_too_low_is_waited_for_afterwards() -> None:
    meter = Meter(600.0, 0.0)
    assert meter.wait(1, 70.0) == 0
    meter.take(1, 70.0)
    meter.take(300, 80.0)  # the call has used that much more
    assert meter.wait(1, 80.0) == pytest.approx((300 + 1 - 10) / 10)
    assert meter.used(80.0) == pytest.approx(301 / 600)


@given(LIMITS, STEPS, st.floats(-3, 3))
def test_a_word_only_ever_lowers(limit: float, steps: Steps, level: float) -> None:
    told, silent = Meter(limit, 0.0), Meter(limit, 0.0)
    driven(told, limit, steps, 0.0)
    _, now = driven(silent, limit, steps, 0.0)
    told.lower(level * limit, now)
    for amount in (0.01 * limit, limit):
        assert told.wait(amount, now) >= silent.wait(amount, now)
    assert told.left(now) <= max(0.0, level * limit) + 1e-6 * limit
    assert told.wait(min(limit, 1.0), now) <= silent.wait(min(limit, 1.0), now) + 2 * MINUTE, "a wrong word passes"


def test_each_refusal_halves_the_burst_down_to_a_seconds_worth() -> None:
    meter, bursts = Meter(60.0, 0.0), []
    for n in range(6):
        now = 70.0 + 60 * n
        bursts.append(meter.left(now))
        meter.refused(now)
        assert meter.left(now) == 0
        assert meter.wait(1, now) == pytest.approx(1)
    assert bursts == pytest.approx([10, 5, 2.5, 1.25, 1, 1])


@given(st.floats(0.01, 1e5), st.floats(0.1, 1e5), st.lists(st.tuples(st.floats(0, 30), st.floats(-1, 3)), max_size=20))
@settings(max_examples=60)
def test_a_bucket_lets_no_more_through_than_it_was_given(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket, now, passed, credit = Bucket(rate, burst, burst, 0.0), 0.0, 0.0, 0.0
    for pause, part in steps:
        now += pause
        amount = part * burst
        if bucket.wait(amount, now) == 0:
            credit = max(credit, amount - burst)  # what is larger passes when it is full
            bucket.take(amount, now)
            passed += amount
        assert bucket.level <= burst
    assert passed <= (rate * now + burst + max(0.0, credit)) * (1 + 1e-9) + 1e-6


def test_a_clock_that_stands_or_steps_back_gives_a_bucket_nothing() -> None:
    bucket = Bucket(1.0, 10.0, 0.0, 100.0)
    bucket.advance(50.0)
    bucket.advance(100.0)
    assert (bucket.level, bucket.at, bucket.wait(4, 100.0)) == (0.0, 100.0, 4.0)
