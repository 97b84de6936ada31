"""When each request that a process holds for one deployment may start.

Requests that were handed to this deployment and those from the group's queue take turns; batch requests start with
what both leave, less a reserve, so that an interactive request never finds the last room taken.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from policy.circuit import Circuit
from policy.limiter import Cost, Limiter, Mark
from policy.window import Window
from schemas.failures import Kind

T = TypeVar("T")

_FEW = 16  # calls under way at first, where nothing is known of the deployment
_LOOK = 0.1  # seconds until the next look at a window that may have grown
_KEPT = 0.25  # of what may pass at once, and
_KEPT_SLOTS = 0.1  # of the slots: what batch requests leave
_AHEAD = 0.25  # seconds' worth of requests to have in hand
_SPREAD = 1.5  # calls under way are up to this much more than pace times latency
_SMOOTHING = 0.1
_SHORTEST = 1e-4  # seconds: no call takes less
_FADING = 60.0  # seconds in which the slowest call counts half
_CLOSED = 1.0  # seconds: who cannot start anything for this long lets others have the requests
_CALM = frozenset({Kind.PROVIDER_OVERLOADED, Kind.PROVIDER_TIMEOUT})


class Lane(IntEnum):
    """Where a request came from; the batch class has one lane for both."""

    HANDED = 0
    SHARED = 1
    BATCH = 2


class End(NamedTuple):
    """How a call ended; `seconds` it took, `used` None when nobody counted."""

    failure: Kind | None
    seconds: float
    used: Cost | None = None
    retry_after: float = 0.0


@dataclass(slots=True)
class Slots:
    """Calls under way for one deployment in one process; several valves may share it."""

    most: int
    running: int = 0


class Valve(Generic[T]):
    """One deployment, or one model of a wildcard's. `now` is in seconds of any clock that only goes forwards."""

    def __init__(self, limiter: Limiter, circuit: Circuit, slots: Slots, now: float) -> None:
        self.limiter = limiter
        self.circuit = circuit
        self.latency = 0.0  # seconds of a call, smoothed
        self._slowest = 0.0  # a call that was at `_slow_at`, and none slower since
        self._slow_at = now
        self._slots = slots
        self._lanes: tuple[deque[tuple[T, Cost]], ...] = (deque(), deque(), deque())
        self._turn = Lane.HANDED
        self._running = 0
        self._window = Window(_FEW, now)
        self._typical = Cost()

    @property
    def held(self) -> int:
        """Requests in hand that have not started."""
        return sum(map(len, self._lanes))

    @property
    def running(self) -> int:
        """Calls under way."""
        return self._running

    def hold(self, item: T, lane: Lane, cost: Cost) -> None:
        """One more in hand."""
        self._lanes[lane].append((item, cost))

    def drop(self, item: T) -> bool:
        """It need not start any more; False if it is not here."""
        for lane in self._lanes:
            for place, (held, _) in enumerate(lane):
                if held is item:
                    del lane[place]
                    return True
        return False

    def give_up(self, *lanes: Lane) -> list[T]:
        """All that is held in these lanes, oldest first, for somebody else to have."""
        found = [item for lane in lanes for item, _ in self._lanes[lane]]
        for lane in lanes:
            self._lanes[lane].clear()
        return found

    def start(self, now: float) -> tuple[T, Mark] | None:
        """The next request that may start now; it counts as running until `ended`."""
        lane = self._next_lane()
        if lane is None or self._closed(lane, now):
            return None
        item, cost = self._lanes[lane][0]
        if self.limiter.wait(cost, now, _KEPT if lane is Lane.BATCH else 0.0) > 0:
            return None
        self._lanes[lane].popleft()
        if lane is not Lane.BATCH:
            self._turn = Lane.SHARED if lane is Lane.HANDED else Lane.HANDED
        self._running += 1
        self._slots.running += 1
        return item, self.limiter.take(cost, now)

    def wait(self, now: float) -> float | None:
        """Seconds until `start` may have something; None when only an arrival or an end can change that."""
        lane = self._next_lane()
        if lane is None:
            return None
        cooling = self.circuit.cooling(now)
        if not cooling and self._closed(lane, now):
            return _LOOK if self._running >= self._window.size < self._slots.most else None
        return max(cooling, self.limiter.wait(self._lanes[lane][0][1], now, _KEPT if lane is Lane.BATCH else 0.0))

    def ended(self, mark: Mark, end: End, now: float) -> None:
        """A call that `start` gave is over."""
        self._running -= 1
        self._slots.running -= 1
        if end.failure is Kind.PROVIDER_RATE_LIMIT:
            self.limiter.refused(mark, end.retry_after, now)
        if end.used is not None:
            self.limiter.settle(mark, end.used, now)
            self._typical = mark.cost
        else:
            self.limiter.failed(mark, end.failure is Kind.PROVIDER_RATE_LIMIT, now)
        self.circuit.ended(end.failure, now)
        if end.failure is None:
            self.limiter.accepted(mark)
            self._window.succeeded()
            self._learn_latency(end.seconds, now)
        elif end.failure in _CALM:
            self._window.strained(self._running + 1)

    def shut(self, now: float) -> float:
        """Seconds until anything at all can start, as far as that is known; 0 while something can."""
        return max(self.circuit.cooling(now), self.limiter.wait(self._typical, now))

    def slowest(self, now: float) -> float:
        """Seconds of the slowest call lately; one that is a minute old counts half."""
        return float(self._slowest * 0.5 ** ((now - self._slow_at) / _FADING))

    def room(self, now: float) -> int:
        """How many interactive requests could start at once, beside those in hand."""
        held = len(self._lanes[Lane.HANDED]) + len(self._lanes[Lane.SHARED])
        free = min(self._most(now) - self._running, self._slots.most - self._slots.running) - held
        if free <= 0:
            return 0
        left = self.limiter.room(self._typical, now)
        return free if math.isinf(left) else max(0, min(free, int(left + 1e-6) - held))

    def pace(self) -> float:
        """Calls per second that can go on starting; 0: not known to be limited."""
        limited = self.limiter.pace() if self._slots.most > 0 else 0.0
        if not self.latency:
            return limited
        served = self._slots.most / max(self.latency, _SHORTEST)
        return min(limited, served) if limited else served

    def appetite(self, now: float) -> int:
        """How many requests to have in hand and under way together; 0: let others have them."""
        if self._slots.most <= 0 or self.shut(now) > _CLOSED:
            return 0
        tested = self.circuit.most(now)
        most = self._slots.most if tested is None else min(self._slots.most, tested)
        limited = self.limiter.pace()
        if not limited:
            return max(1, most)
        ahead = max(1, math.ceil(limited * _AHEAD))
        wanted = max(self._running, math.ceil(limited * (self.latency or 1.0) * _SPREAD))
        return max(1, min(most, wanted + ahead))

    def _next_lane(self) -> Lane | None:
        handed, shared, batch = self._lanes
        if handed and (not shared or self._turn is Lane.HANDED):
            return Lane.HANDED
        if shared:
            return Lane.SHARED
        return Lane.BATCH if batch else None

    def _closed(self, lane: Lane, now: float) -> bool:
        most, slots = self._most(now), self._slots
        if lane is Lane.BATCH:
            kept = math.ceil(slots.most * _KEPT_SLOTS) if slots.most > 1 else 0
            return self._running >= most or slots.running >= slots.most - kept
        return self._running >= most or slots.running >= slots.most

    def _most(self, now: float) -> int:
        tested = self.circuit.most(now)
        most = min(self._slots.most, self._window.now(self._running, now))
        return most if tested is None else min(most, tested)

    def _learn_latency(self, seconds: float, now: float) -> None:
        self.latency = seconds if not self.latency else self.latency + _SMOOTHING * (seconds - self.latency)
        if seconds >= self.slowest(now):
            self._slowest, self._slow_at = seconds, now
