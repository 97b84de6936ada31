"""When a deployment is cooled down, and when it is tried again: LiteLLM's rules, as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.circuit import Circuit, Rules
from schemas.failures import POLICY_NAMES, TABLE, Kind

COOLDOWN = 5.0
RULES = Rules(COOLDOWN)
ERROR, TIMEOUT, BUSY = Kind.PROVIDER_ERROR, Kind.PROVIDER_TIMEOUT, Kind.PROVIDER_OVERLOADED
AT_ONCE = {Kind.PROVIDER_AUTH, Kind.PROVIDER_NOT_FOUND, Kind.PROVIDER_TIMEOUT, Kind.PROVIDER_QUOTA}
BY_SHARE = {kind for kind in Kind if TABLE[kind].hurts} - AT_ONCE
NO_HURT = set(Kind) - AT_ONCE - BY_SHARE

Ends = list[Kind | None]


def after(ends: Ends, rules: Rules = RULES, every: float = 1.0) -> Circuit:
    """A circuit that has seen these calls end, the last one now, at 0."""
    circuit = Circuit(rules, -every * len(ends))
    for n, end in enumerate(ends):
        circuit.ended(end, (n + 1 - len(ends)) * every)
    return circuit


@pytest.mark.parametrize("kind", sorted(AT_ONCE))
def test_what_will_not_heal_by_itself_cools_at_once(kind: Kind) -> None:
    assert after([None, None, kind]).cooling(0.0) == COOLDOWN


@pytest.mark.parametrize("kind", sorted(BY_SHARE))
@pytest.mark.parametrize(
    ("good", "bad", "cools"),
    [
        (0, 4, False),
        (0, 5, True),
        (2, 3, True),
        (3, 3, False),
        (3, 4, True),
        (4, 1, False),
        (50, 10, False),
        (50, 11, True),
    ],
)
def test_other_failures_cool_when_they_are_more_than_half(kind: Kind, good: int, bad: int, cools: bool) -> None:
    """Of five at least in a minute, or of the last twenty."""
    ends: Ends = [None] * good + [kind] * bad
    assert bool(after(ends, every=0.1).cooling(0.0)) is cools


@pytest.mark.parametrize("kind", sorted(NO_HURT))
def test_what_says_nothing_of_the_deployment_never_cools(kind: Kind) -> None:
    circuit = after([kind] * 20)
    assert (circuit.cooling(0.0), circuit.most(0.0)) == (0, None)


def test_a_refusal_for_too_many_calls_counts_as_a_good_call() -> None:
    """Waiting for a limit is the limiter's business."""
    limited: Ends = [Kind.PROVIDER_RATE_LIMIT] * 3
    assert after([*limited, ERROR, ERROR, ERROR]).cooling(0.0) == 0
    assert after([*limited, ERROR, ERROR, ERROR, ERROR]).cooling(0.0) == COOLDOWN


@pytest.mark.parametrize(("every", "cools"), [(1.0, True), (14.0, True), (16.0, False)])
def test_only_the_last_minute_counts(every: float, cools: bool) -> None:
    assert bool(after([ERROR] * 5, every=every).cooling(0.0)) is cools


@pytest.mark.parametrize("kind", [ERROR, TIMEOUT, Kind.PROVIDER_AUTH])
@pytest.mark.parametrize("allowed", [0, 1, 7])
def test_the_allowed_number_replaces_the_rules(kind: Kind, allowed: int) -> None:
    rules = Rules(COOLDOWN, allowed=allowed)
    assert after([kind] * allowed, rules, 0.1).cooling(0.0) == 0
    assert after([None] * 100 + [kind] * (allowed + 1), rules, 0.1).cooling(0.0) == COOLDOWN


@pytest.mark.parametrize("name", sorted(POLICY_NAMES))
def test_the_allowed_number_of_a_kind_wins(name: str) -> None:
    rules = Rules(COOLDOWN, allowed=0, allowed_by_name={name: 2})
    for kind in [one for one in POLICY_NAMES[name] if TABLE[one].hurts]:
        assert after([kind] * 2, rules).cooling(0.0) == 0
        assert after([kind] * 3, rules).cooling(0.0) == COOLDOWN
    other = next(one for one in BY_SHARE if one not in POLICY_NAMES[name])
    assert after([other], rules).cooling(0.0) == COOLDOWN, "the general number counts for the others"


@given(st.lists(st.none() | st.sampled_from(Kind), max_size=40), st.none() | st.integers(0, 3))
def test_a_groups_only_deployment_is_never_cooled_down(ends: Ends, allowed: int | None) -> None:
    circuit = after(ends, Rules(COOLDOWN, allowed=allowed, alone=True))
    assert (circuit.cooling(0.0), circuit.most(0.0)) == (0, None)


def test_after_a_cooldown_one_call_tests_it() -> None:
    circuit = after([TIMEOUT])
    assert [circuit.most(now) for now in (0.0, 4.9, 5.0, 100.0)] == [0, 0, 1, 1]
    circuit.ended(None, 6.0)
    assert (circuit.most(6.0), circuit.cooling(6.0)) == (None, 0)


@pytest.mark.parametrize("kind", sorted(AT_ONCE | BY_SHARE))
def test_a_test_that_fails_cools_again(kind: Kind) -> None:
    circuit = after([TIMEOUT])
    circuit.ended(kind, 6.0)
    assert [circuit.most(now) for now in (6.0, 10.9, 11.0)] == [0, 0, 1]


@pytest.mark.parametrize("kind", [Kind.CANCELLED, Kind.INVALID_REQUEST, Kind.PROVIDER_RATE_LIMIT])
def test_a_test_that_says_nothing_is_followed_by_another(kind: Kind) -> None:
    circuit = after([TIMEOUT])
    circuit.ended(kind, 6.0)
    assert (circuit.most(6.0), circuit.cooling(6.0)) == (1, 0)


def test_who_was_proved_well_starts_with_a_clean_record() -> None:
    circuit = after([ERROR] * 5)
    circuit.ended(None, 6.0)
    for n in range(3):
        circuit.ended(ERROR, 6.1 + n)
    assert circuit.cooling(9.0) == 0, "the five from before do not count twice"
    circuit.ended(ERROR, 9.1)
    assert circuit.cooling(9.1) == COOLDOWN


def test_what_another_process_has_seen_counts_here() -> None:
    circuit = Circuit(Rules(COOLDOWN), 0.0)
    circuit.heard(3.0, 10.0)
    assert [circuit.most(now) for now in (10.0, 12.9, 13.0)] == [0, 0, 1]
    circuit.heard(1.0, 11.0)
    assert circuit.cooling(11.0) == 2, "what ends sooner shortens nothing"
    circuit.ended(None, 14.0)
    circuit.heard(0.0, 14.0)
    circuit.heard(-1.0, 14.0)
    assert circuit.most(14.0) is None, "who is well elsewhere is not tested here"


def test_two_that_hear_each_other_do_not_cool_for_ever() -> None:
    """Each hears of the other's cooldown a moment later than it was true."""
    one, other = Circuit(Rules(COOLDOWN), 0.0), Circuit(Rules(COOLDOWN), 0.0)
    one.ended(TIMEOUT, 0.0)
    now = 0.0
    while now < 8:
        said = one.cooling(now), other.cooling(now)
        one.heard(round(said[1], 3), now + 0.005)
        other.heard(round(said[0], 3), now + 0.005)
        now += 1.0
    assert one.cooling(5.2) == other.cooling(5.2) == 0


def test_no_time_to_cool_is_no_cooldown() -> None:
    assert after([TIMEOUT] * 9, Rules(0.0)).most(0.0) is None


@given(
    st.lists(st.tuples(st.floats(0, 30), st.none() | st.sampled_from(Kind), st.floats(0, 10)), max_size=40),
    st.sampled_from([Rules(), Rules(60.0), Rules(allowed=2), Rules(allowed_by_name={"TimeoutError": 0})]),
)
def test_it_is_closed_exactly_while_it_cools(steps: list[tuple[float, Kind | None, float]], rules: Rules) -> None:
    circuit, now = Circuit(rules, 0.0), 0.0
    for pause, end, heard in steps:
        now += pause
        before = circuit.cooling(now)
        circuit.ended(end, now)
        assert circuit.cooling(now) == pytest.approx(before) or circuit.cooling(now) == pytest.approx(rules.cooldown)
        circuit.heard(heard, now)
        cooling = circuit.cooling(now)
        assert cooling <= max(rules.cooldown, heard, before) + 1e-9
        assert (circuit.most(now) == 0) is (cooling > 0)
        assert circuit.most(now + cooling + 1e-6) in (1, None)
