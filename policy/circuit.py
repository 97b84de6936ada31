"""The health of one deployment: when it is cooled down after failures, and when it is tried again.

LiteLLM's rules: at once for what will not heal by itself (401, 404), for a timeout; for more than half of at least
five calls in a minute, and here of the last twenty too; or past `allowed_fails` where that is set. A group's only
deployment is never cooled down.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from schemas.failures import POLICY_NAMES, TABLE, Kind

_MINUTE = 60.0
_ENOUGH = 5  # calls in a minute that say something
_LAST = 20  # calls: more than half of them failed, and a busy deployment need not fail for half a minute
_AT_ONCE = frozenset({Kind.PROVIDER_AUTH, Kind.PROVIDER_NOT_FOUND, Kind.PROVIDER_TIMEOUT, Kind.PROVIDER_QUOTA})
_NAMES = {kind: name for name, kinds in POLICY_NAMES.items() for kind in kinds}


class Rules(NamedTuple):
    """What the configuration says. `alone`: the group has no other deployment."""

    cooldown: float = 5.0  # seconds
    allowed: int | None = None  # failures in a minute
    allowed_by_name: Mapping[str, int] = {}  # by LiteLLM's name of the failure
    alone: bool = False


class Circuit:
    """Failures of one deployment as one process sees them. `now` is in seconds of any clock that only goes forwards."""

    def __init__(self, rules: Rules, now: float) -> None:
        self.rules = rules
        self._until = now
        self._testing = False  # cooled down, and not proved well since
        self._ends: deque[tuple[float, Kind | None]] = deque()
        self._failures = 0
        self._last: deque[bool] = deque(maxlen=_LAST)

    def cooling(self, now: float) -> float:
        """Seconds until it may be called again."""
        return max(0.0, self._until - now)

    def most(self, now: float) -> int | None:
        """How many calls may be under way: none while it cools down, one until that one has succeeded; None: any."""
        if now < self._until:
            return 0
        return 1 if self._testing else None

    def ended(self, failure: Kind | None, now: float) -> None:
        """A call has ended. What says nothing of the deployment (a bad request, a cancellation) counts as well."""
        if failure is None:
            self._testing = False
        hurt = failure is not None and TABLE[failure].hurts
        self._ends.append((now, failure if hurt else None))
        self._failures += hurt
        self._last.append(hurt)
        while self._ends and self._ends[0][0] < now - _MINUTE:
            self._failures -= self._ends.popleft()[1] is not None
        if failure is not None and hurt and not self.rules.alone and (self._testing or self._is_too_much(failure)):
            self._cool(self.rules.cooldown, now)

    def heard(self, cooling: float, now: float) -> None:
        """Another process has cooled this deployment down, for so many seconds more."""
        if cooling > 0 and now + cooling > self._until:
            self._until = now + cooling
            self._testing = True

    def _cool(self, seconds: float, now: float) -> None:
        self._until = max(self._until, now + seconds)
        self._testing = seconds > 0
        self._ends.clear()
        self._last.clear()
        self._failures = 0

    def _is_too_much(self, failure: Kind) -> bool:
        rules = self.rules
        allowed = rules.allowed_by_name.get(_NAMES.get(failure, ""), rules.allowed)
        if allowed is not None:
            return self._failures > allowed
        if failure in _AT_ONCE:
            return True
        if sum(self._last) * 2 > _LAST:
            return True
        return len(self._ends) >= _ENOUGH and self._failures * 2 > len(self._ends)
