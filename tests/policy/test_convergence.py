"""How near the truth a limit comes that nobody configured, from headers or from refusals alone."""

import heapq
import math
from collections import deque
from random import Random

import pytest

from policy.bucket import Bucket
from policy.circuit import Circuit, Rules
from policy.limiter import Cost, Limiter, Mark
from policy.valve import End, Lane, Slots, Valve
from schemas.config import Limits
from schemas.failures import Kind
from schemas.limits import Remaining, Told

FREE = Cost()
WAY = 0.002  # seconds from us to the provider


class Provider:
    """One that keeps a rate as a bucket of a second's worth, and in every sliding minute."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._bucket = Bucket(rate, rate, rate, 0.0)
        self._minute: deque[float] = deque()

        self._closed_until = 0.0

    def change(self, rate: float, now: float) -> None:
        self.rate = rate
        self._bucket = Bucket(rate, rate, 0.0, now)
        self._minute.clear()

    def close(self, until: float) -> None:
        """It refuses everything for a while: somebody else uses the limit, or a minute's is used up."""
        self._closed_until = until

    def call(self, now: float) -> tuple[bool, float]:
        """Whether it takes the call, and how many more it would take now."""
        while self._minute and self._minute[0] <= now - 60:
            self._minute.popleft()
        most = self.rate * 60
        taken = now >= self._closed_until and self._bucket.wait(1, now) <= 0 and len(self._minute) + 1 <= most
        if taken:
            self._bucket.take(1, now)
            self._minute.append(now)
        left = min(self._bucket.level, most - len(self._minute))
        return taken, 0.0 if now < self._closed_until else max(0.0, left)


class Backlog:
    """Processes that call a provider as fast as their valves let them; what they heard of refusals they share."""

    def __init__(self, provider: Provider, processes: int, *, headers: bool, retry_after: float = 0.0) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, bool]] = []
        self.valves = [_valve(processes) for _ in range(processes)]
        self._provider = provider
        self._headers = headers
        self._retry_after = retry_after
        self._random = Random(1)
        self._running: list[tuple[float, int, Valve[object], Mark, bool, float]] = []

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            started = [self._begin(valve) for valve in self.valves]
            if any(started):
                continue
            waits = [wait for wait in (valve.wait(self.now) for valve in self.valves) if wait is not None]
            due = self.now + min(waits, default=math.inf)
            if self._running and self._running[0][0] <= due:
                self._end()
            else:
                self.now = due + self._random.random() * 0.001

    def judged(self, since: float) -> tuple[float, float]:
        """What was accepted, as a part of what the limit allows, and refused, as a part of the calls."""
        taken = [good for at, good in self.calls if at >= since]
        return sum(taken) / (self._provider.rate * (self.now - since)), 1 - sum(taken) / max(1, len(taken))

    def _begin(self, valve: Valve[object]) -> bool:
        if valve.held < 2:
            valve.hold(object(), Lane.SHARED, FREE)
        found = valve.start(self.now)
        if found is None:
            return False
        taken, left = self._provider.call(self.now + WAY)
        self.calls.append((self.now, taken))
        seconds = self._random.lognormvariate(0, 0.5) if taken else 0.005
        heapq.heappush(self._running, (self.now + seconds, len(self.calls), valve, found[1], taken, left))
        return True

    def _end(self) -> None:
        self.now, _, valve, mark, taken, left = heapq.heappop(self._running)
        if self._headers:
            valve.limiter.told(Told(requests=Remaining(self._provider.rate * 60, left, None)), mark, self.now)
        failure = None if taken else Kind.PROVIDER_RATE_LIMIT
        valve.ended(mark, End(failure, 1.0, FREE if taken else None, self._retry_after), self.now)
        for other in self.valves:
            other.limiter.heard(valve.limiter.shut_until - self.now, self.now)


def _valve(copies: int) -> Valve[object]:
    limiter = Limiter(Limits(), 0.0)
    limiter.share(copies)
    return Valve(limiter, Circuit(Rules(alone=True), 0.0), Slots(1000), 0.0)


@pytest.mark.parametrize("retry_after", [0.0, 0.3])
@pytest.mark.parametrize(("rate", "least"), [(2, 0.9), (10, 0.95), (60, 0.96)])
def test_refusals_alone_teach_a_rate(rate: float, least: float, retry_after: float) -> None:
    backlog = Backlog(Provider(rate), 1, headers=False, retry_after=retry_after)
    backlog.run(240)
    accepted, refused = backlog.judged(60)
    assert accepted >= least
    assert refused <= 0.03


@pytest.mark.parametrize(("rate", "least"), [(2, 0.92), (10, 0.92), (60, 0.94)])
def test_headers_teach_a_limit_with_hardly_a_refusal(rate: float, least: float) -> None:
    backlog = Backlog(Provider(rate), 1, headers=True)
    backlog.run(240)
    accepted, refused = backlog.judged(60)
    assert accepted >= least
    assert refused <= 0.01
    assert sum(not taken for _, taken in backlog.calls) <= 0.05 * len(backlog.calls), "from the first call on"


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_learn_the_same_limit_together(processes: int, headers: bool) -> None:
    backlog = Backlog(Provider(20), processes, headers=headers)
    backlog.run(240)
    accepted, refused = backlog.judged(60)
    assert accepted >= 0.92
    assert refused <= 0.05


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_limit_that_changes_is_learned_anew(factor: float, headers: bool) -> None:
    provider = Provider(20)
    backlog = Backlog(provider, 1, headers=headers)
    backlog.run(100)
    provider.change(20 * factor, backlog.now)
    backlog.run(200)
    accepted, refused = backlog.judged(backlog.now - 100)
    assert accepted >= 0.92
    assert refused <= 0.05


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("seconds", [5, 20, 40])
def test_a_while_in_which_all_is_refused_is_no_rate(seconds: float, headers: bool) -> None:
    """Where nothing at all was accepted there is nothing to learn a rate from: it must not take minutes to forget."""
    provider = Provider(20)
    backlog = Backlog(provider, 1, headers=headers)
    backlog.run(100)
    provider.close(backlog.now + seconds)
    backlog.run(seconds + 30)
    since = backlog.now
    backlog.run(30)
    accepted, refused = backlog.judged(since)
    assert accepted >= (0.65 if headers else 0.7)  # what was told as used up comes back evenly over the minute
    assert refused <= 0.05
