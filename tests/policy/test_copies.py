"""Several processes with one limit between them: what they let through together while some come and some go."""

import heapq
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.limiter import Cost, Limiter, Mark
from schemas.config import Limits

FREE = Cost()
NOTICED = 3.0  # seconds after which a process that fell silent is gone for the others
JITTER = 0.003  # seconds by which a process is late

Passed = list[tuple[float, float]]


class Processes:
    """Processes with more to do than the limit allows. `passed` is when which amount began."""

    def __init__(self, limits: Limits, count: int, seed: int = 0) -> None:
        self.now = 0.0
        self.passed: Passed = []
        self._limits = limits
        self._random = Random(seed)
        self._awake = [Limiter(limits, 0.0) for _ in range(count)]
        self._asleep: list[Limiter] = []
        self._missed: list[tuple[float, Limiter]] = []  # when the silent ones are noticed
        self._share()

    def join(self) -> None:
        self._awake.append(Limiter(self._limits, self.now))
        self._share()

    def kill(self) -> None:
        if len(self._awake) > 1:
            gone = self._awake.pop(self._random.randrange(len(self._awake)))
            self._missed.append((self.now + NOTICED, gone))

    def stop(self) -> None:
        if len(self._awake) > 1:
            self._asleep.append(self._awake.pop())
            self._missed.append((self.now + NOTICED, self._asleep[-1]))

    def go_on(self) -> None:
        for limiter in self._asleep:
            limiter.start_over(self.now)
        self._missed = [(at, limiter) for at, limiter in self._missed if limiter not in self._asleep]
        self._awake += self._asleep
        self._asleep.clear()
        self._share()

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            for limiter in self._awake:
                while limiter.wait(FREE, self.now) <= 0:
                    limiter.take(FREE, self.now)
                    self.passed.append((self.now, 1.0))
            wait = min(limiter.wait(FREE, self.now) for limiter in self._awake)
            self.now += wait + self._random.random() * JITTER
            if self._missed and self._missed[0][0] <= self.now:
                self._missed.pop(0)
                self._share()

    def _share(self) -> None:
        for limiter in self._awake:
            limiter.share(len(self._awake) + len(self._missed))


def fullest_minute(passed: Sequence[tuple[float, float]]) -> float:
    """The most that passed in any 60 s."""
    most = amount = 0.0
    first = 0
    for at, one in passed:
        amount += one
        while passed[first][0] < at - 60:
            amount -= passed[first][1]
            first += 1
        most = max(most, amount)
    return most


def used(passed: Sequence[tuple[float, float]], since: float, until: float) -> float:
    """How much passed per minute."""
    return sum(amount for at, amount in passed if since <= at < until) * 60 / (until - since)


@pytest.mark.parametrize("rpm", [600, 6000])
@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_together_they_keep_the_limit_and_use_it(rpm: float, count: int) -> None:
    processes = Processes(Limits(rpm=rpm), count)
    processes.run(260 if rpm < 1000 else 140)
    assert fullest_minute(processes.passed) <= 1.02 * rpm
    assert used(processes.passed, 70, processes.now) >= 0.95 * rpm


ACTS: dict[str, Callable[[Processes], None]] = {
    "join": Processes.join,
    "kill": Processes.kill,
    "stop": Processes.stop,
    "go on": Processes.go_on,
}


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.floats(0, 25), st.sampled_from(sorted(ACTS))), max_size=12),
    st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_whoever_comes_and_goes_no_minute_has_more(count: int, acts: list[tuple[float, str]], seed: int) -> None:
    processes = Processes(Limits(rpm=600), count, seed)
    processes.run(20)
    for seconds, act in acts:
        ACTS[act](processes)
        processes.run(seconds)
    processes.run(60)
    assert fullest_minute(processes.passed) <= 1.02 * 600


@pytest.mark.parametrize("act", ["join", "kill", "stop"])
def test_a_change_costs_little(act: str) -> None:
    processes = Processes(Limits(rpm=600), 3)
    processes.run(100)
    ACTS[act](processes)
    processes.run(60)
    assert used(processes.passed, 100, 160) >= 0.92 * 600
    processes.run(60)
    assert used(processes.passed, 160, 220) >= 0.95 * 600


def calls(
    limits: Limits, estimate: Callable[[Random], Cost], real: Callable[[Random, Cost], Cost], seconds: float
) -> list[tuple[float, Cost]]:
    """A backlog of calls of some seconds each: when each began and what it used, which is told when it has ended."""
    random, limiter, now = Random(7), Limiter(limits, 0.0), 0.0
    running: list[tuple[float, int, Mark, Cost]] = []
    found: list[tuple[float, Cost]] = []
    cost = estimate(random)
    while now < 300:
        wait = limiter.wait(cost, now)
        if running and running[0][0] <= now + wait:
            now, _, mark, used_up = heapq.heappop(running)
            limiter.settle(mark, used_up, now)
            continue
        now += wait
        if limiter.wait(cost, now) <= 0:
            used_up = real(random, cost)
            found.append((now, used_up))
            end = now + seconds * random.lognormvariate(0, 0.3)
            heapq.heappush(running, (end, len(found), limiter.take(cost, now), used_up))
            cost = estimate(random)
        else:
            now += 1e-9
    return found


def _scaled(random: Random, cost: Cost) -> Cost:
    return Cost(cost.input, int(cost.output * 2 ** random.uniform(-1, 1)))


def _exact(_: Random, cost: Cost) -> Cost:
    return cost


@pytest.mark.parametrize("seconds", [0.5, 3.0, 20.0])
@pytest.mark.parametrize("real", [_exact, _scaled])
@pytest.mark.parametrize(
    ("limits", "counts"),
    [
        (Limits(tpm=600_000), lambda cost: cost.input + cost.output),
        (Limits(itpm=300_000), lambda cost: cost.input),
        (Limits(otpm=300_000), lambda cost: cost.output),
    ],
    ids=["tpm", "itpm", "otpm"],
)
def test_estimates_that_are_right_on_average_keep_a_token_limit(
    limits: Limits, counts: Callable[[Cost], int], real: Callable[[Random, Cost], Cost], seconds: float
) -> None:
    limit = limits.tpm or limits.itpm or limits.otpm or 0.0
    found = calls(limits, lambda random: Cost(random.randrange(100, 900), random.randrange(50, 450)), real, seconds)
    passed = [(at, float(counts(cost))) for at, cost in found]
    late = 1.0 if real is _exact else 1 + seconds / 60 * 0.2  # an error shows when the call has ended
    assert fullest_minute(passed) <= 1.02 * limit * late
    # What was estimated too high counts in its own minute until the call has ended: that is the price of keeping it.
    assert used(passed, 70, 300) >= (0.95 if real is _exact else 0.94) * limit
