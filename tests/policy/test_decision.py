"""What follows from a failure: a table for every kind, and what holds for all of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.decision import Again, Decision, Fallback, GiveUp, Situation, backoff, counts, decide
from schemas.failures import TABLE, Failure, Kind

NOW, DEADLINE = 1000.0, 1060.0
LIMITED = Kind.PROVIDER_RATE_LIMIT

AT_ONCE = Again(NOW, elsewhere=True)
SAME = Again(NOW + 0.5, elsewhere=False)
LEAVE, END = Fallback(), GiveUp()


def case(kind: Kind, retry_after: float = 0.0, **changes: object) -> Situation:
    """The first failure of a request that may be retried twice and has a minute left."""
    failure = Failure(kind, "said", retry_after=retry_after)
    return Situation(failure=failure, tries=1, retries=2, now=NOW, deadline=DEADLINE)._replace(**changes)  # type: ignore[arg-type]


# What follows from the first failure: with another deployment there; with none; with none, and a fallback;
# and when no retry is left, with a fallback.
ROWS: dict[str, tuple[Decision, Decision, Decision, Decision]] = {
    "worse elsewhere, better with another model": (END, END, LEAVE, LEAVE),
    "as bad everywhere": (END, END, END, END),
    "only elsewhere": (AT_ONCE, END, LEAVE, LEAVE),
    "here again or elsewhere": (AT_ONCE, SAME, SAME, LEAVE),
    "here again": (SAME, SAME, SAME, END),
}
KINDS: dict[Kind, str] = {
    Kind.INVALID_REQUEST: "as bad everywhere",
    Kind.UNKNOWN_MODEL: "as bad everywhere",
    Kind.TOO_LARGE: "worse elsewhere, better with another model",
    Kind.SLOW_BODY: "as bad everywhere",
    Kind.CONTEXT_WINDOW: "worse elsewhere, better with another model",
    Kind.CONTENT_POLICY: "worse elsewhere, better with another model",
    Kind.UNAUTHENTICATED: "as bad everywhere",
    Kind.FORBIDDEN: "as bad everywhere",
    Kind.NOT_FOUND: "as bad everywhere",
    **dict.fromkeys(
        (
            Kind.KEY_UNKNOWN,
            Kind.KEY_EXPIRED,
            Kind.KEY_BLOCKED,
            Kind.TEAM_GONE,
            Kind.ROLE,
            Kind.KEY_MODEL,
            Kind.TEAM_MODEL,
            Kind.USER_MODEL,
            Kind.ORG_MODEL,
            Kind.CUSTOMER_MODEL,
            Kind.BUDGET_EXCEEDED,
            Kind.BUDGET_RESERVED,
            Kind.KEY_RATE_LIMIT,
            Kind.TOO_MANY_UNKNOWN,
            Kind.ISSUER_DOWN,
        ),
        "as bad everywhere",
    ),
    Kind.METHOD: "as bad everywhere",
    Kind.PROVIDER_AUTH: "only elsewhere",
    Kind.PROVIDER_NOT_FOUND: "only elsewhere",
    Kind.PROVIDER_QUOTA: "only elsewhere",
    Kind.PROVIDER_OVERLOADED: "here again or elsewhere",
    Kind.PROVIDER_ERROR: "here again or elsewhere",
    Kind.PROVIDER_UNREACHABLE: "here again or elsewhere",
    Kind.PROVIDER_TIMEOUT: "only elsewhere",
    Kind.PROVIDER_GARBLED: "here again or elsewhere",
    Kind.PROVIDER_BROKE_OFF: "here again or elsewhere",
    Kind.ANSWER_TOO_LARGE: "as bad everywhere",
    Kind.DEADLINE: "as bad everywhere",
    Kind.NO_WORKERS: "only elsewhere",
    Kind.QUEUE_FULL: "only elsewhere",
    Kind.TOO_LATE: "only elsewhere",
    Kind.CONFLICT: "as bad everywhere",
    Kind.BUS_DOWN: "as bad everywhere",
    Kind.LEDGER_DOWN: "as bad everywhere",
    Kind.WORKER_LOST: "here again",
    Kind.SLOW_READER: "as bad everywhere",
    Kind.CANCELLED: "as bad everywhere",
    Kind.DRAINING: "as bad everywhere",
    Kind.INTERNAL: "as bad everywhere",
}


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not LIMITED])
def test_what_follows_from_each_failure(kind: Kind) -> None:
    others, alone, with_fallback, spent = ROWS[KINDS[kind]]
    assert decide(case(kind, others=True)) == others
    assert decide(case(kind, others=True, room=True)) == others
    assert decide(case(kind)) == alone
    assert decide(case(kind, fallback=True)) == with_fallback
    assert decide(case(kind, fallback=True, tries=3)) == spent
    assert decide(case(kind, others=True, fallback=True, tries=3)) == spent
    assert decide(case(kind, others=True, room=True, tries=3)) == END


@pytest.mark.parametrize(
    ("retry_after", "others", "room", "fallback", "fallback_room", "expected"),
    [
        # it just waits where it is: whoever refused lets nothing through before it may
        (0, False, False, False, False, Again(NOW, elsewhere=False)),
        (30, False, False, False, False, Again(NOW, elsewhere=False)),
        (30, True, False, False, False, Again(NOW, elsewhere=False)),
        (30, True, False, True, False, Again(NOW, elsewhere=False)),
        # there is room elsewhere
        (0, True, True, False, False, AT_ONCE),
        (30, True, True, True, True, AT_ONCE),
        (900, True, True, False, False, AT_ONCE),
        # only another group has room
        (0.5, True, False, True, True, Again(NOW, elsewhere=False)),
        (30, True, False, True, True, LEAVE),
        (30, False, False, True, True, LEAVE),
        # it would be too late here
        (60, False, False, False, False, END),
        (60, False, False, True, False, LEAVE),
        (60, True, False, True, False, AT_ONCE),
        (60, True, False, False, False, AT_ONCE),
        (math.inf, False, False, False, False, END),
    ],
)
@pytest.mark.parametrize("tries", [0, 3, 1000])
def test_what_follows_from_a_rate_limit(
    retry_after: float, others: bool, room: bool, fallback: bool, fallback_room: bool, expected: Decision, tries: int
) -> None:
    found = case(
        LIMITED, retry_after, others=others, room=room, fallback=fallback, fallback_room=fallback_room, tries=tries
    )
    assert decide(found) == expected


@pytest.mark.parametrize(
    ("tries", "retry_after", "pause", "at"),
    [
        (1, 0, 0, 0.5),
        (2, 0, 0, 1.0),
        (3, 0, 0, 2.0),
        (1, 7, 0, 7),
        (3, 0.1, 0, 0.1),
        (1, 0, 5, 5),
        (1, 7, 5, 7),
        (1, 59.9, 0, 59.9),
    ],
)
def test_when_the_same_is_tried_again(tries: int, retry_after: float, pause: float, at: float) -> None:
    found = decide(case(Kind.PROVIDER_ERROR, retry_after, tries=tries, retries=9, pause=pause))
    assert isinstance(found, Again)
    assert found.at == pytest.approx(NOW + at)
    assert not found.elsewhere


@pytest.mark.parametrize(("retry_after", "pause"), [(60, 0), (0, 60), (1e9, 0), (math.inf, 0)])
def test_who_would_wait_beyond_the_deadline_goes_on(retry_after: float, pause: float) -> None:
    assert decide(case(Kind.PROVIDER_ERROR, retry_after, pause=pause)) == END
    assert decide(case(Kind.PROVIDER_ERROR, retry_after, pause=pause, fallback=True)) == LEAVE
    assert decide(case(Kind.PROVIDER_ERROR, retry_after, pause=pause, others=True)) == AT_ONCE


@given(st.integers(0, 60), st.floats(0, 1))
def test_the_backoff_doubles_within_bounds(tries: int, jitter: float) -> None:
    assert 0 < backoff(tries, jitter) <= 8.75
    assert backoff(tries, 0.0) <= backoff(tries, jitter) <= backoff(tries, 0.0) + 0.75
    assert backoff(tries + 1, jitter) >= backoff(tries, jitter)


def test_the_backoff_is_that_of_litellm() -> None:
    assert [backoff(tries, 0.0) for tries in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert backoff(1, 1.0) == 1.25


SITUATIONS = st.builds(
    Situation,
    failure=st.builds(
        Failure,
        st.sampled_from(Kind),
        st.just("said"),
        retry_after=st.just(0.0) | st.floats(0, 100) | st.sampled_from([1e9, math.inf]),
    ),
    tries=st.integers(0, 5),
    retries=st.integers(0, 4),
    now=st.just(NOW),
    deadline=st.floats(NOW, NOW + 100, exclude_min=True),
    others=st.booleans(),
    room=st.booleans(),
    fallback=st.booleans(),
    fallback_room=st.booleans(),
    pause=st.just(0.0) | st.floats(0, 20),
    jitter=st.floats(0, 1, exclude_max=True),
).map(lambda one: one._replace(room=one.room and one.others, fallback_room=one.fallback_room and one.fallback))


@given(SITUATIONS)
def test_what_holds_for_every_decision(one: Situation) -> None:
    found, kind = decide(one), one.failure.kind
    if isinstance(found, Again):
        assert one.now <= found.at < one.deadline
        assert one.others or not found.elsewhere
        assert kind is LIMITED or one.tries <= one.retries
        assert kind is LIMITED or TABLE[kind].again or (TABLE[kind].elsewhere and found.elsewhere)
        if not found.elsewhere and kind is not LIMITED:
            assert found.at >= one.now + max(one.pause, one.failure.retry_after)
    if isinstance(found, Fallback):
        assert one.fallback
        assert kind not in (Kind.INVALID_REQUEST, Kind.CANCELLED, Kind.DEADLINE)
    if one.room and TABLE[kind].elsewhere and (kind is LIMITED or one.tries <= one.retries):
        assert found == Again(one.now, elsewhere=True), "nobody waits for what another could do now"


@given(SITUATIONS, st.floats(0, 50))
def test_when_nothing_is_left_it_is_given_up(one: Situation, over: float) -> None:
    kind = one.failure.kind
    wait = one.deadline - one.now + over if kind is LIMITED else one.failure.retry_after
    nothing = one._replace(others=False, room=False, fallback=False, fallback_room=False)
    assert decide(nothing._replace(failure=Failure(kind, "said", retry_after=wait), tries=one.retries + 1)) == GiveUp()


@given(SITUATIONS, st.floats(0, 50))
def test_after_the_deadline_it_is_given_up(one: Situation, late: float) -> None:
    assert decide(one._replace(now=one.deadline + late)) == GiveUp()


@given(st.lists(SITUATIONS, min_size=12, max_size=30), st.integers(0, 4))
def test_a_group_is_tried_no_more_often_than_it_may_be(cases: list[Situation], retries: int) -> None:
    """Waiting for a rate limit is no try."""
    tries = attempts = limited = 0
    for one in cases:
        attempts += 1
        limited += one.failure.kind is LIMITED
        tries += counts(one.failure)
        if not isinstance(decide(one._replace(tries=tries, retries=retries)), Again):
            break
    assert attempts - limited <= retries + 1


@pytest.mark.parametrize("kind", Kind)
def test_every_failure_but_a_rate_limit_is_a_try(kind: Kind) -> None:
    assert counts(Failure(kind, "said")) is (kind is not LIMITED)
