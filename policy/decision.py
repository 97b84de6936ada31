"""What follows when a call has failed: the same again, another deployment, another model group, or the end."""

from typing import NamedTuple

from schemas.failures import Failure, Kind

_IMPATIENT = 1.0  # seconds: who would have to wait longer goes to where there is room
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.5, 8.0  # seconds, before jitter
_JITTER = 0.75  # seconds
_OTHER_MODEL = frozenset({Kind.CONTEXT_WINDOW, Kind.CONTENT_POLICY, Kind.TOO_LARGE})
"""Failures that no other deployment of the group would cure, and another model may."""


class Situation(NamedTuple):
    """All that the decision depends on. Times in seconds since the epoch.

    `tries` failed calls in this group count so far, this one included where it counts; `retries` may be tried again.
    `others`: a deployment that was not tried is there, `room`: with room for it now. `fallback`: another group is left
    to go to, `fallback_room`: with room now. `jitter` is random, from 0 to 1.
    """

    failure: Failure
    tries: int
    retries: int
    now: float
    deadline: float
    others: bool = False
    room: bool = False
    fallback: bool = False
    fallback_room: bool = False
    pause: float = 0.0
    jitter: float = 0.0


class Again(NamedTuple):
    """Into the queue again at `at`; `elsewhere`: only to deployments that were not tried."""

    at: float
    elsewhere: bool


class Fallback(NamedTuple):
    """To the next model group."""


class GiveUp(NamedTuple):
    """The failure is the answer."""


Decision = Again | Fallback | GiveUp


def counts(failure: Failure) -> bool:
    """Whether a failure uses up a retry: waiting for a rate limit does not."""
    return failure.kind is not Kind.PROVIDER_RATE_LIMIT


def decide(case: Situation) -> Decision:
    """The decision. A wait never reaches beyond the deadline, and nobody waits for what another could do now."""
    if case.now >= case.deadline:
        return GiveUp()
    if case.failure.kind is Kind.PROVIDER_RATE_LIMIT:
        return _limited(case)
    row = case.failure.row
    if case.tries <= case.retries:
        if row.elsewhere and case.others:
            return Again(case.now, elsewhere=True)
        if row.again:
            at = case.now + max(case.pause, case.failure.retry_after or backoff(case.tries, case.jitter))
            if at < case.deadline:
                return Again(at, elsewhere=False)
    return _leave(case)


def backoff(tries: int, jitter: float) -> float:
    """Seconds before try `tries` + 1: doubling, with jitter."""
    return float(min(_FIRST_BACKOFF * 2 ** (tries - 1), _LONGEST_BACKOFF) + jitter * _JITTER)


def _limited(case: Situation) -> Decision:
    """The worker that was refused lets nothing through until its limit allows it: whoever queues again just waits."""
    if case.room:
        return Again(case.now, elsewhere=True)
    wait = case.failure.retry_after
    if wait > _IMPATIENT and case.fallback and case.fallback_room:
        return Fallback()
    if case.now + wait < case.deadline:
        return Again(case.now, elsewhere=False)
    return Again(case.now, elsewhere=True) if case.others else _leave(case)


def _leave(case: Situation) -> Decision:
    curable = case.failure.row.elsewhere or case.failure.kind in _OTHER_MODEL
    return Fallback() if case.fallback and curable else GiveUp()
