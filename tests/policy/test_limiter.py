"""All limits of one deployment in one process: what counts against which, and what the provider's word changes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.allowance import Allowance
from policy.limiter import Cost, Limiter
from schemas.config import Limits
from schemas.limits import NOTHING, Remaining, Told

FREE = Cost()
LATER = 70.0  # when the minute that was not seen is forgotten
COSTS = st.builds(Cost, st.integers(0, 3000), st.integers(0, 3000))


def begun(limiter: Limiter, cost: Cost, now: float, most: int = 10_000) -> int:
    """How many such calls begin at once."""
    for n in range(most):
        if limiter.wait(cost, now) > 0:
            return n
        limiter.take(cost, now)
    return most


@pytest.mark.parametrize(
    ("limits", "cost", "expected"),
    [
        (Limits(rpm=600), Cost(100, 100), 10),
        (Limits(tpm=60_000), Cost(60, 40), 10),
        (Limits(itpm=60_000), Cost(100, 5000), 10),
        (Limits(otpm=60_000), Cost(5000, 100), 10),
        (Limits(rpm=600, tpm=60_000), Cost(100, 100), 5),
        (Limits(rpm=600, otpm=60_000), Cost(1000, 10), 10),
        (Limits(itpm=60_000, otpm=6_000), Cost(100, 20), 5),
        (Limits(tpm=60_000), FREE, 10_000),
        (Limits(), Cost(100, 100), 10_000),
        (Limits(parallel=1), FREE, 10_000),  # slots are the valve's business
    ],
    ids=str,
)
def test_what_may_pass_at_once(limits: Limits, cost: Cost, expected: int) -> None:
    assert begun(Limiter(limits, 0.0), cost, LATER) == expected


@pytest.mark.parametrize(
    ("limits", "requests", "tokens"),
    [
        (Limits(rpm=1), True, False),
        (Limits(tpm=1), False, True),
        (Limits(itpm=1), False, True),
        (Limits(rpm=1, otpm=1), True, True),
        (Limits(rpd=1), False, False),
        (Limits(tpd=1), False, True),
        (Limits(), False, False),
    ],
    ids=str,
)
def test_what_is_counted(limits: Limits, requests: bool, tokens: bool) -> None:
    limiter = Limiter(limits, 0.0)
    assert (limiter.counts_requests, limiter.counts_tokens) == (requests, tokens)


@given(
    st.sampled_from([Limits(rpm=600), Limits(tpm=1e5), Limits(rpm=90, itpm=5e4, otpm=2e4)]), COSTS, st.integers(1, 6)
)
def test_room_is_what_can_begin(limits: Limits, cost: Cost, copies: int) -> None:
    limiter = Limiter(limits, 0.0)
    limiter.share(copies)
    room = limiter.room(cost, LATER)
    if math.isfinite(room):
        assert begun(limiter, cost, LATER) == int(room + 1e-6)
    else:
        assert begun(limiter, cost, LATER, most=100) == 100


@given(st.floats(1, 5000), st.integers(1, 50), st.floats(0, 1), st.integers(1, 5))
def test_keep_leaves_a_part_of_what_may_pass_at_once(rpm: float, calls: int, keep: float, copies: int) -> None:
    limiter = Limiter(Limits(rpm=rpm), 0.0)
    limiter.share(copies)
    full = limiter.room(FREE, LATER)
    for _ in range(calls):
        if limiter.wait(FREE, LATER, keep) == 0:
            limiter.take(FREE, LATER)
    if full * (1 - keep) >= 1:  # else one may begin when all is there, or none ever could
        assert limiter.room(FREE, LATER) >= keep * full - 1e-6


def said(name: str, left: float) -> Told:
    """The provider's word on one of its limits."""
    return Told(**{name: Remaining(1e5, left, 60.0)})


@pytest.mark.parametrize(
    ("limits", "name", "lowers"),
    [
        (Limits(rpm=6000), "requests", True),
        (Limits(rpm=6000), "tokens", False),
        (Limits(tpm=1e5), "tokens", True),
        (Limits(tpm=1e5), "input", False),
        (Limits(itpm=1e5), "input", True),
        (Limits(itpm=1e5), "output", False),
        (Limits(otpm=1e5), "output", True),
        (Limits(otpm=1e5), "requests", False),
    ],
    ids=str,
)
def test_a_word_lowers_the_limit_that_it_is_about(limits: Limits, name: str, lowers: bool) -> None:
    limiter = Limiter(limits, 0.0)
    cost = Cost(10, 10)
    mark = limiter.take(cost, LATER)
    assert limiter.room(cost, LATER) > 1
    limiter.told(said(name, 0), mark, LATER)
    assert (limiter.wait(cost, LATER) > 0) is lowers
    limiter.told(said(name, 1e5), mark, LATER)
    assert (limiter.wait(cost, LATER) > 0) is lowers, "a word never raises what is configured"


@given(
    st.sampled_from([Limits(rpm=60), Limits(rpm=6000, tpm=1e6), Limits(itpm=1e5, otpm=1e4)]),
    st.lists(st.tuples(st.floats(0, 5), COSTS), min_size=1, max_size=20),
    st.sampled_from(["requests", "tokens", "input", "output"]),
    st.floats(-10, 1e6),
    st.floats(0, 20),
    COSTS,
)
def test_no_word_lets_a_call_begin_earlier(
    limits: Limits, calls: list[tuple[float, Cost]], name: str, left: float, age: float, cost: Cost
) -> None:
    told, silent, now = Limiter(limits, 0.0), Limiter(limits, 0.0), 0.0
    for pause, taken in calls:
        now += pause
        mark, _ = told.take(taken, now), silent.take(taken, now)
    now += age
    told.told(said(name, left), mark, now)
    assert told.wait(cost, now) >= silent.wait(cost, now)
    assert told.room(cost, now) <= silent.room(cost, now)
    assert told.pace() == silent.pace()


def test_a_word_is_brought_up_to_date() -> None:
    """What passed after the call that it answers had begun is not in it, what came back meanwhile neither."""
    limiter = Limiter(Limits(rpm=6000), 0.0)
    mark = limiter.take(FREE, LATER)
    for _ in range(20):
        limiter.take(FREE, LATER)
    limiter.told(Told(requests=Remaining(6000, 50, None)), mark, LATER)
    assert limiter.room(FREE, LATER) == pytest.approx(50 - 20)
    limiter.told(Told(requests=Remaining(6000, 5, None)), mark, LATER + 0.25)
    assert limiter.room(FREE, LATER + 0.25) == pytest.approx(5 - 20 + 100 * 0.2)
    tokens, cost = Limiter(Limits(otpm=60_000), 0.0), Cost(900, 10)
    marks = [tokens.take(cost, LATER) for _ in range(5)]
    tokens.told(said("output", 500), marks[0], LATER)
    assert tokens.room(cost, LATER) == pytest.approx((500 - 40) / 10)


@pytest.mark.parametrize("limits", [Limits(rpm=6000), Limits(tpm=1e6), Limits()], ids=str)
def test_a_refusal_shuts_everything_until_the_provider_said(limits: Limits) -> None:
    limiter = Limiter(limits, 0.0)
    mark = limiter.take(FREE, LATER)
    limiter.refused(mark, 12.0, LATER)
    limiter.refused(mark, 3.0, LATER + 1)
    assert limiter.wait(FREE, LATER + 1) == pytest.approx(11)
    assert limiter.room(FREE, LATER + 11.9) == 0
    assert limiter.wait(FREE, LATER + 12) == 0


@pytest.mark.parametrize(
    ("heard", "waits"), [([4.0], 4.0), ([4.0, 1.0], 4.0), ([1.0, 4.0], 4.0), ([0.0], 0.0), ([-3.0], 0.0)]
)
def test_what_another_process_was_told_counts_here(heard: list[float], waits: float) -> None:
    limiter = Limiter(Limits(), 0.0)
    for seconds in heard:
        limiter.heard(seconds, 10.0)
    assert limiter.wait(FREE, 10.0) == waits


def test_who_says_nothing_is_waited_for_half_a_second() -> None:
    (limiter := Limiter(Limits(), 0.0)).refused(limiter.take(FREE, 10.0), 0.0, 10.0)
    assert limiter.wait(FREE, 10.0) == pytest.approx(0.5)


def test_what_a_call_has_used_replaces_what_was_thought() -> None:
    limiter = Limiter(Limits(itpm=6000, otpm=6000), 0.0)
    mark = limiter.take(Cost(50, 20), LATER)
    limiter.settle(mark, Cost(50, 90), LATER)
    assert limiter.wait(Cost(50, 0), LATER) == 0, "nothing more of the prompts"
    assert limiter.wait(Cost(0, 100), LATER) == pytest.approx(0.9)
    mark = limiter.take(Cost(50, 10), LATER + 1)
    limiter.settle(mark, Cost(0, 10), LATER + 1)
    assert limiter.wait(Cost(100, 0), LATER + 1) == 0, "and what was not used is there again"


def test_what_is_typical_follows_the_calls() -> None:
    limiter = Limiter(Limits(tpm=1e6), 0.0)
    mark = limiter.take(FREE, 0.0)
    assert (limiter.typical, limiter.typical_output) == (0, 0)
    limiter.settle(mark, Cost(100, 50), 0.0)
    assert (limiter.typical, limiter.typical_output) == (150, 50)
    for _ in range(100):
        limiter.settle(mark, Cost(500, 500), 0.0)
    assert [limiter.typical, limiter.typical_output] == pytest.approx([1000, 500], rel=0.01)


@pytest.mark.parametrize(
    ("limits", "copies", "typical", "pace"),
    [
        (Limits(rpm=600), 1, 0, 10),
        (Limits(rpm=600), 4, 0, 2.5),
        (Limits(tpm=60_000), 1, 0, 0),  # nothing is known of a call yet
        (Limits(tpm=60_000), 2, 200, 2.5),
        (Limits(rpm=600, tpm=60_000), 1, 200, 5),
        (Limits(rpm=60, tpm=60_000), 1, 200, 1),
        (Limits(), 1, 200, 0),
        (Limits(rpd=10), 1, 200, 0),
    ],
    ids=str,
)
def test_the_pace_is_that_of_the_tightest_limit(limits: Limits, copies: int, typical: int, pace: float) -> None:
    limiter = Limiter(limits, 0.0)
    limiter.share(copies)
    if typical:
        limiter.settle(limiter.take(FREE, 0.0), Cost(typical, 0), 0.0)
    assert limiter.pace() == pytest.approx(pace)


def test_nothing_begins_before_a_day_was_counted() -> None:
    for limits in (Limits(rpm=60, rpd=1), Limits(tpd=1)):
        assert begun(Limiter(limits, 0.0), Cost(5, 5), LATER, most=5) == 0


@pytest.mark.parametrize(
    ("requests", "tokens", "calls"),
    [(3, math.inf, 3), (math.inf, 250, 2), (3, 250, 2), (0, 1000, 0), (10, 0, 0), (-5, -100, 0), (2.5, math.inf, 2)],
)
def test_what_is_left_of_a_day_is_kept_to(requests: float, tokens: float, calls: int) -> None:
    limiter, cost = Limiter(Limits(rpd=10, tpd=10), 0.0), Cost(60, 40)
    assert limiter.day is not None
    limiter.day.grant(requests, tokens, until=LATER + 3600)
    assert int(limiter.room(cost, LATER)) == calls
    assert begun(limiter, cost, LATER) == calls
    assert limiter.room(cost, LATER) < 1
    assert limiter.wait(cost, LATER) == 3600
    assert limiter.wait(cost, LATER + 3600) == 1, "another day; the ledger's next count says how much of it"


def test_a_new_count_replaces_the_old_one() -> None:
    day = Allowance()
    day.grant(1, 1000, 100.0)
    day.take((10, 10))
    assert (day.wait((10, 10), 40.0), day.left((10, 10))) == (60.0, 0)
    day.grant(2, 30, 100.0)
    assert (day.wait((10, 10), 40.0), day.left((10, 10))) == (0.0, 1.5)
    assert (day.wait((20, 11), 40.0), day.left((0, 0))) == (60.0, 2)


def test_the_part_that_was_used_is_the_largest_of_all() -> None:
    limiter = Limiter(Limits(rpm=100, tpm=1000), 0.0)
    assert limiter.used(0.0) == pytest.approx(0.999), "who starts does not know better"
    limiter.share(5)
    for _ in range(4):
        limiter.take(Cost(10, 0), LATER)
    assert limiter.used(LATER) == pytest.approx(0.2)
    limiter.take(Cost(0, 100), LATER)
    assert limiter.used(LATER) == pytest.approx(0.7)
    assert Limiter(Limits(), 0.0).used(0.0) == 0


@pytest.mark.parametrize("limits", [Limits(rpm=600), Limits(tpm=60_000), Limits(itpm=60_000, otpm=6000)], ids=str)
def test_who_was_away_begins_anew(limits: Limits) -> None:
    limiter, new, cost = Limiter(limits, 0.0), Limiter(limits, LATER), Cost(1, 1)
    begun(limiter, cost, LATER)
    limiter.start_over(LATER)
    assert limiter.wait(cost, LATER) == new.wait(cost, LATER)
    assert (limiter.room(cost, LATER), limiter.used(LATER)) == (new.room(cost, LATER), new.used(LATER))


@given(st.sampled_from([Limits(rpm=3), Limits(tpm=100), Limits(rpm=60, otpm=50)]), COSTS, st.integers(1, 8))
def test_no_call_is_too_large_to_begin(limits: Limits, cost: Cost, copies: int) -> None:
    limiter, now = Limiter(limits, 0.0), 0.0
    limiter.share(copies)
    for _ in range(3):
        wait = limiter.wait(cost, now)
        assert wait < 60 * 3001 * 8
        now += wait + 1e-6
        assert limiter.wait(cost, now) == 0
        assert limiter.room(cost, now) >= 1
        limiter.take(cost, now)


def test_silence_changes_nothing() -> None:
    for limiter in (Limiter(Limits(rpm=600, tpm=6000), 0.0), Limiter(Limits(), 0.0)):
        mark = limiter.take(Cost(1, 1), LATER)
        before = limiter.wait(Cost(1, 1), LATER), limiter.room(Cost(1, 1), LATER)
        limiter.told(NOTHING, mark, LATER)
        assert (limiter.wait(Cost(1, 1), LATER), limiter.room(Cost(1, 1), LATER)) == before
