"""What ends a request that nobody ends: a stream gone silent, a model that nobody serves any more."""

from api import refusals
from api.pending import Pending
from policy.roster import Roster
from schemas.config import Settings
from schemas.failures import Failure, Kind

_OVERTIME = 10.0  # seconds that a worker has to end a silent stream before we do
_CHANGING = 2.0  # seconds in which every process has a new configuration


class Watch:
    """Looks at requests under way; `tick` is loop time."""

    def __init__(self, roster: Roster, settings: Settings) -> None:
        self._roster = roster
        self._pool_wait = settings.pool_wait
        self._changing = 0.0  # loop time until which processes may have different configurations

    def expect_changes(self, tick: float) -> None:
        """The configuration changes: some have the new one and some do not. Who is not served now may soon be."""
        self._changing = tick + _CHANGING

    def patient(self, tick: float) -> bool:
        """Whether a request that nobody could serve now may wait for somebody."""
        return self._pool_wait > 0 or tick < self._changing

    def trouble(self, pending: Pending, tick: float) -> Failure | None:
        """Why the request cannot go on, or None."""
        return self._silence(pending, tick) if pending.opened else self._desertion(pending, tick)

    def _silence(self, pending: Pending, tick: float) -> Failure | None:
        if pending.done or tick - pending.last <= pending.request.gap + _OVERTIME:
            return None
        return Failure(Kind.PROVIDER_TIMEOUT, "The answer stopped in the middle.")

    def _desertion(self, pending: Pending, tick: float) -> Failure | None:
        attempt = pending.attempt
        begun = attempt is not None and self._roster.alive(attempt.worker)
        if begun or any(self._roster.standing(d.id).alive for d in pending.course.eligible):
            pending.unserved = None
            return None
        if pending.unserved is None:
            pending.unserved = tick
        waits = tick - pending.unserved < self._pool_wait or tick < self._changing
        return None if waits else refusals.no_workers(pending.request)
