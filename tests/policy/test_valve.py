"""Which request starts when: slots, lanes, turns, what the batch class leaves, and what is told of it all."""

from itertools import count

import pytest

from policy.circuit import Circuit, Rules
from policy.limiter import Cost, Limiter, Mark
from policy.valve import End, Lane, Slots, Valve
from schemas.config import Limits
from schemas.failures import Kind
from schemas.limits import Remaining, Told

FREE = Cost()
LATER = 70.0  # when the minute that was not seen is forgotten
HANDED, SHARED, BATCH = Lane
GOOD = End(None, 1.0)


def valve(slots: int | Slots = 16, limits: Limits | None = None, rules: Rules | None = None) -> Valve[str]:
    """One with nothing in hand, as it is when the clock shows `LATER`."""
    slots = Slots(slots) if isinstance(slots, int) else slots
    return Valve(Limiter(limits or Limits(), 0.0), Circuit(rules or Rules(), 0.0), slots, LATER)


def filled(one: Valve[str], lanes: str) -> Valve[str]:
    """With `h1 s2 b3` in hand, by the letters."""
    for n, letter in enumerate(lanes, 1):
        one.hold(f"{letter}{n}", {"h": HANDED, "s": SHARED, "b": BATCH}[letter], FREE)
    return one


def started(one: Valve[str], now: float = LATER) -> list[tuple[str, Mark]]:
    """All that may start."""
    found = []
    while (entry := one.start(now)) is not None:
        found.append(entry)
    return found


def names(one: Valve[str], now: float = LATER) -> str:
    """What starts, in order."""
    return " ".join(item for item, _ in started(one, now))


@pytest.mark.parametrize(
    ("held", "order"),
    [
        ("", ""),
        ("sss", "s1 s2 s3"),
        ("hhh", "h1 h2 h3"),
        ("hhhsss", "h1 s4 h2 s5 h3 s6"),
        ("ssshhh", "h4 s1 h5 s2 h6 s3"),
        ("shhhh", "h2 s1 h3 h4 h5"),
        ("bbb", "b1 b2 b3"),
        ("bhbsb", "h2 s4 b1 b3 b5"),
    ],
)
def test_lanes_take_turns_and_batch_comes_last(held: str, order: str) -> None:
    assert names(filled(valve(), held)) == order


def test_the_turn_is_kept_while_one_lane_is_empty() -> None:
    one = filled(valve(), "ss")
    assert names(one) == "s1 s2"
    filled(one, "hs")
    assert names(one) == "h1 s2"
    filled(one, "hhs")
    assert names(one) == "h1 s3 h2"


@pytest.mark.parametrize(("most", "starts"), [(0, 0), (1, 1), (2, 2), (5, 5), (16, 16)])
def test_no_more_run_than_there_are_slots(most: int, starts: int) -> None:
    one = filled(valve(most), "s" * 20)
    found = started(one)
    assert (len(found), one.running, one.held) == (starts, starts, 20 - starts)
    if found:
        one.ended(found[0][1], GOOD, LATER)
        assert len(started(one)) == 1


def test_models_of_a_wildcard_share_its_slots() -> None:
    slots = Slots(5)
    first, second = filled(valve(slots), "ssss"), filled(valve(slots), "ssss")
    found = started(first)
    assert (len(found), len(started(second)), slots.running) == (4, 1, 5)
    first.ended(found[0][1], GOOD, LATER)
    assert (first.room(LATER), second.room(LATER)) == (1, 0), "three of the second's wait already"
    assert len(started(second)) == 1


def test_a_deployment_of_which_nothing_is_known_begins_with_few_calls() -> None:
    one = filled(valve(256), "s" * 200)
    assert len(started(one)) == 16
    assert one.wait(LATER) == pytest.approx(0.1), "it is looked at again, since calls may take minutes"
    total = 16
    for n in range(1, 11):
        total += len(started(one, LATER + n / 10))
    assert 30 <= total <= 48, "twice as many a second later"


@pytest.mark.parametrize("kind", [Kind.PROVIDER_OVERLOADED, Kind.PROVIDER_TIMEOUT])
def test_strain_leaves_fewer_under_way(kind: Kind) -> None:
    one = filled(valve(256, rules=Rules(alone=True)), "s" * 100)
    for _, mark in started(one)[:4]:
        one.ended(mark, End(kind, 1.0), LATER)
    assert one.running == 12
    assert len(started(one)) == 0


@pytest.mark.parametrize(("most", "starts"), [(1, 1), (2, 1), (4, 3), (10, 9), (11, 9), (16, 14)])
def test_batch_leaves_a_tenth_of_the_slots(most: int, starts: int) -> None:
    one = filled(valve(most), "b" * 20)
    assert len(started(one)) == starts
    assert one.wait(LATER) is None
    assert one.room(LATER) == most - starts
    filled(one, "s" * 20)
    assert len(started(one)) == most - starts


def test_batch_leaves_a_quarter_of_what_may_pass_at_once() -> None:
    one = filled(valve(16, Limits(rpm=600)), "b" * 20)
    assert len(started(one)) == 7
    assert one.wait(LATER) == pytest.approx(0.05)
    filled(one, "s" * 20)
    assert len(started(one)) == 3


@pytest.mark.parametrize("interactive", ["s", "h"])
def test_batch_waits_while_an_interactive_request_waits(interactive: str) -> None:
    one = valve(16, Limits(tpm=60_000))
    one.hold("large", SHARED if interactive == "s" else HANDED, Cost(5000, 0))
    one.hold("small", BATCH, Cost(1, 0))
    one.limiter.take(Cost(500, 0), LATER)
    assert one.start(LATER) is None, "even where the large one has to wait and the small one would not"
    wait = one.wait(LATER)
    assert wait is not None
    assert names(one, LATER + wait) == "large"


def test_what_is_dropped_does_not_start() -> None:
    one = filled(valve(), "hsbs")
    assert one.give_up(*Lane) == ["h1", "s2", "s4", "b3"]
    handed, shared, batch, last = ["one", "two", "three", "four"]
    for item, lane in ((handed, HANDED), (shared, SHARED), (batch, BATCH), (last, SHARED)):
        one.hold(item, lane, FREE)
    assert [one.drop(item) for item in (shared, shared, batch, "nobody")] == [True, False, True, False]
    assert (one.held, names(one)) == (2, "one four")
    assert not one.drop(handed), "it has started"


def test_it_is_itself_that_is_dropped_not_what_is_like_it() -> None:
    one: Valve[list[int]] = Valve(Limiter(Limits(), 0.0), Circuit(Rules(), 0.0), Slots(4), LATER)
    first, second = [1], [1]
    one.hold(first, SHARED, FREE)
    one.hold(second, SHARED, FREE)
    assert one.drop(second)
    found = one.start(LATER)
    assert found is not None
    assert found[0] is first


def test_what_is_given_up_is_gone_oldest_first() -> None:
    one = filled(valve(), "hsbhsb")
    assert one.give_up(SHARED) == ["s2", "s5"]
    assert one.give_up(HANDED, BATCH) == ["h1", "h4", "b3", "b6"]
    assert (one.held, one.give_up(*Lane)) == (0, [])


def test_a_refusal_shuts_it_and_is_not_the_deployments_fault() -> None:
    one = filled(valve(), "ss")
    _, mark = started(one)[0]
    one.ended(mark, End(Kind.PROVIDER_RATE_LIMIT, 0.01, None, 7.0), LATER)
    filled(one, "s")
    assert (one.start(LATER), one.wait(LATER), one.shut(LATER)) == (None, 7.0, 7.0)
    assert (one.circuit.cooling(LATER), one.latency, one.slowest(LATER)) == (0, 0, 0)


def test_after_a_cooldown_one_call_goes_first() -> None:
    one = filled(valve(), "ssss")
    _, mark = one.start(LATER) or pytest.fail("nothing has started")
    one.ended(mark, End(Kind.PROVIDER_AUTH, 0.1), LATER)
    assert (one.wait(LATER), one.shut(LATER), one.room(LATER), one.appetite(LATER)) == (5, 5, 0, 0)
    found = started(one, LATER + 5)
    assert (len(found), one.wait(LATER + 5), one.appetite(LATER + 5)) == (1, None, 1)
    one.ended(found[0][1], GOOD, LATER + 6)
    assert len(started(one, LATER + 6)) == 2


def test_latency_is_smoothed_and_the_slowest_fades() -> None:
    one, numbers = valve(256, rules=Rules(alone=True)), count()

    def call(seconds: float, now: float, failure: Kind | None = None) -> None:
        one.hold(str(next(numbers)), SHARED, FREE)
        _, mark = one.start(now) or pytest.fail("nothing has started")
        one.ended(mark, End(failure, seconds), now)

    call(10.0, LATER)
    assert (one.latency, one.slowest(LATER)) == (10, 10)
    call(99.0, LATER, Kind.PROVIDER_TIMEOUT)
    call(4.0, LATER + 60)
    assert one.latency == pytest.approx(9.4), "failures say nothing of it"
    assert one.slowest(LATER + 60) == pytest.approx(5), "a minute later it counts half"
    call(4.0, LATER + 90)
    assert one.slowest(LATER + 90) == 4, "of the ten were 3.5 left by then"
    for n in range(100):
        call(1.0, LATER + 91 + 2 * n)
    assert one.latency == pytest.approx(1.0, rel=0.01)
    assert one.slowest(LATER + 91 + 198) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("slots", "limits", "latency", "pace"),
    [
        (16, Limits(), 0, 0),
        (16, Limits(), 2, 8),
        (16, Limits(rpm=300), 0, 5),
        (16, Limits(rpm=300), 2, 5),
        (16, Limits(rpm=3000), 2, 8),
    ],
    ids=str,
)
def test_the_pace_is_what_limits_and_slots_allow(slots: int, limits: Limits, latency: float, pace: float) -> None:
    one = filled(valve(slots, limits), "s")
    _, mark = started(one)[0]
    if latency:
        one.ended(mark, End(None, latency), LATER)
    assert one.pace() == pytest.approx(pace)


@pytest.mark.parametrize(
    ("slots", "limits", "latency", "appetite"),
    [
        (0, Limits(), 0, 0),
        (16, Limits(), 0, 16),
        (16, Limits(), 9, 16),
        (256, Limits(rpm=3600), 0, 90 + 15),  # while nothing is known a call takes a second
        (256, Limits(rpm=3600), 2, 180 + 15),
        (256, Limits(rpm=3600), 20, 256),
        (8, Limits(rpm=3600), 2, 8),
        (256, Limits(rpm=120), 0.1, 1 + 1),
    ],
    ids=str,
)
def test_the_appetite_is_what_can_be_under_way_and_little_more(
    slots: int, limits: Limits, latency: float, appetite: int
) -> None:
    one = valve(slots, limits)
    if latency:
        filled(one, "s")
        _, mark = started(one)[0]
        one.ended(mark, End(None, latency), LATER)
    assert one.appetite(LATER + 1) == appetite


@pytest.mark.parametrize(("retry_after", "appetite"), [(0.5, 16), (1.0, 16), (1.5, 0), (60.0, 0)])
def test_who_cannot_start_anything_for_long_has_no_appetite(retry_after: float, appetite: int) -> None:
    one = filled(valve(), "s")
    one.ended(started(one)[0][1], End(Kind.PROVIDER_RATE_LIMIT, 0.1, None, retry_after), LATER)
    assert one.appetite(LATER) == appetite
    assert one.appetite(LATER + retry_after) == 16


def test_half_a_days_limit_that_is_left_slows_nobody_down() -> None:
    """As Groq tells it: 14,400 requests a day, of which 7,000 are left, and the others back in half a day."""
    one = valve(256)
    for n in range(40):
        filled(one, "s")
        _, mark = started(one, LATER + n)[0]
        one.limiter.told(Told(requests=Remaining(14_400, 7_000, 43_200)), mark, LATER + n)
        one.ended(mark, GOOD, LATER + n)
    assert one.room(LATER + 40) > 16
    assert one.appetite(LATER + 40) > 16
    assert one.pace() > 16
