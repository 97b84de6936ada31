"""How one deployment is doing, summed up over the processes that serve it, as the beats told it."""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.envelope import Serving


@dataclass(slots=True)
class Standing:
    """What was true at `at`, and what was seen since: `begun` and `over` count calls, `handed` requests on their way.

    Times in seconds of the clock that the beats are received by.
    """

    at: float
    alive: bool = False
    processes: int = 0  # that serve it
    slots: int = 0
    in_flight: int = 0
    room: float = 0.0
    pace: float = 0.0  # calls per second; 0: not known to be limited
    latency: float = 0.0
    slowest: float = 0.0
    shut: float = 0.0  # seconds from `at`
    used: float = 0.0
    begun: int = 0
    over: int = 0
    handed: int = 0

    def room_now(self, now: float, askers: int = 1) -> float:
        """How many calls could begin at once, as far as one can tell; for one of so many processes that have some.

        What the others began is not known before the next beat.
        """
        if not self.alive or now < self.at + self.shut:
            return 0.0
        gone = self.begun + self.handed
        free = (self.slots - self.in_flight) / askers + self.over - gone
        if not self.pace:
            return free
        return min(free, (self.room + self.pace * (now - self.at - self.shut)) / askers - gone)

    @property
    def busy(self) -> int:
        """Calls under way, and requests on the way to it."""
        return self.in_flight + self.begun - self.over + self.handed

    def shut_now(self, now: float) -> float:
        """Seconds until anything may begin."""
        return max(0.0, self.at + self.shut - now)


@dataclass(slots=True)
class Row:
    """What one process said at `at`, and the calls that have begun and ended there since."""

    serving: Serving
    at: float
    begun: int = 0
    over: int = 0


NOWHERE = Standing(0.0)
"""The standing of a deployment that nobody serves."""


def summed(rows: Iterable[Row], now: float) -> Standing:
    """One deployment's rows, one per process, brought up to `now`."""
    found = Standing(now, shut=float("inf"))
    measured = 0
    for row in rows:
        serving, age = row.serving, now - row.at
        found.alive = True
        found.in_flight += serving.in_flight
        found.begun += row.begun
        found.over += row.over
        if not serving.slots:
            continue  # it leaves the deployment to the others
        found.processes += 1
        found.slots += serving.slots
        found.room += serving.room + serving.pace * max(0.0, age - serving.shut)
        found.pace += serving.pace
        found.latency += serving.latency
        measured += serving.latency > 0
        found.slowest = max(found.slowest, serving.slowest)
        found.shut = min(found.shut, max(0.0, serving.shut - age))
        found.used = max(found.used, serving.used)
    found.shut = 0.0 if found.shut == float("inf") else found.shut
    found.latency /= max(1, measured)
    return found if found.alive else Standing(now)
