"""One deployment of the mock provider: its limit, what its headers say, what happened to it. Time is injected."""

import math
import random
from typing import Any, NamedTuple

from bench.overload.limit import RateLimit, most_within

_NOISE = 1e-6  # of floating point: 600.0000001 is 600


class Verdict(NamedTuple):
    """What becomes of a call: 200 after the latency, or at once a 429 or a 500. `headers` are whole lines."""

    status: int
    headers: bytes


class Deployment:
    """One limit, what happened to it, and whether it fails at present."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self.failing_until = 0.0
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.failed: list[float] = []
        self.ended: list[float] = []  # of those accepted: answered, or (`aborted`) broken off by the caller
        self.aborted = 0

    def call(self, now: float) -> Verdict:
        """Judge one call."""
        if now < self.failing_until:
            self.failed.append(now)
            return Verdict(500, b"")
        wait = self.limit.take(now)
        (self.refused if wait else self.accepted).append(now)
        return Verdict(429 if wait else 200, limit_headers(self.limit, wait, now))

    def stats(self, log: bool) -> dict[str, Any]:
        """What happened so far."""
        told: dict[str, Any] = {
            "accepted": len(self.accepted),
            "refused": len(self.refused),
            "failed": len(self.failed),
            "aborted": self.aborted,
            "in_flight": len(self.accepted) - len(self.ended),
            "most_accepted_in_a_minute": most_within(self.accepted),
            "most_calls_in_a_minute": most_within(sorted((*self.accepted, *self.refused))),
            "per_second": self.limit.per_second,
        }
        if log:
            told |= {name: getattr(self, name) for name in ("accepted", "refused", "failed", "ended")}
        return told


def limit_headers(limit: RateLimit, wait: float, now: float) -> bytes:
    """Header lines that say how the limit stands now; with a `wait`, when to come again."""
    lines = (
        f"x-ratelimit-limit-requests: {limit.per_minute}\r\n"
        f"x-ratelimit-remaining-requests: {limit.remaining(now)}\r\n"
        f"x-ratelimit-reset-requests: {_up(limit.reset(now)):.3f}s\r\n"
    )
    if wait:
        lines += f"retry-after: {math.ceil(wait - _NOISE)}\r\nretry-after-ms: {_up(wait * 1000):.3f}\r\n"
    return lines.encode()


def _up(value: float) -> float:
    """Rounded up to the third decimal, so that nobody comes too early."""
    return math.ceil(value * 1000 - _NOISE) / 1000


class Latency:
    """Seconds that calls take: lognormal around a median."""

    def __init__(self, median: float, sigma: float, seed: int) -> None:
        self.median = median
        self.sigma = sigma
        self._dice = random.Random(seed)

    def draw(self) -> float:
        """The next call's."""
        return self.median * math.exp(self.sigma * self._dice.gauss(0.0, 1.0))
