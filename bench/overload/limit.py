"""A provider's rate limit, enforced twice: as a token bucket and as a sliding minute. Pure; the clock is injected."""

from collections import deque
from collections.abc import Iterable

MINUTE = 60.0
_ROUNDING = 1e-6  # seconds, or calls: a call at exactly the moment that was promised is let through


class RateLimit:
    """Calls that are accepted only when the bucket holds one and the last minute has one left.

    `per_second` is both the bucket's rate and, 60-fold, the minute's number; `capacity` is how many may come at once.
    `now` is in seconds of any clock that only goes forwards. A call leaves the minute when it is exactly 60 s old.
    """

    def __init__(self, per_second: float, capacity: float | None = None, now: float = 0.0) -> None:
        self.per_second = per_second
        self.per_minute = int(per_second * MINUTE + _ROUNDING)
        self.capacity = max(1.0, per_second if capacity is None else capacity)
        if self.per_minute < 1:
            raise ValueError(f"a limit of {per_second:g} calls per second is less than one per minute")
        self._tokens = self.capacity
        self._at = now
        self._accepted: deque[float] = deque()

    def take(self, now: float) -> float:
        """Accept a call (0.0), or say in how many seconds one would be accepted if no other came before it."""
        wait = self.wait(now)
        if wait == 0.0:
            self._tokens -= 1.0
            self._accepted.append(now)
        return wait

    def wait(self, now: float) -> float:
        """Seconds until a call would be accepted."""
        self._advance(now)
        wait = 0.0
        if self._tokens < 1.0 - _ROUNDING:
            wait = (1.0 - self._tokens) / self.per_second
        if len(self._accepted) >= self.per_minute:
            wait = max(wait, self._accepted[-self.per_minute] + MINUTE - now)
        return wait

    def remaining(self, now: float) -> int:
        """How many calls would be accepted now, one right after the other."""
        self._advance(now)
        return max(0, min(int(self._tokens + _ROUNDING), self.per_minute - len(self._accepted)))

    def reset(self, now: float) -> float:
        """Seconds until `remaining` is as high as it gets, if no call comes."""
        self._advance(now)
        wait = (self.capacity - self._tokens) / self.per_second
        too_many = len(self._accepted) - (self.per_minute - min(int(self.capacity), self.per_minute))
        if too_many > 0:
            wait = max(wait, self._accepted[too_many - 1] + MINUTE - now)
        return max(0.0, wait)

    def _advance(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self.capacity, self._tokens + (now - self._at) * self.per_second)
            self._at = now
        while self._accepted and self._accepted[0] + MINUTE <= now + _ROUNDING:
            self._accepted.popleft()


def most_within(times: Iterable[float], span: float = MINUTE) -> int:
    """The most of these moments, in ascending order, that lie in any span of so many seconds (its end excluded)."""
    window: deque[float] = deque()
    most = 0
    for time in times:
        while window and window[0] + span <= time + _ROUNDING:
            window.popleft()
        window.append(time)
        most = max(most, len(window))
    return most
