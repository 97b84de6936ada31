"""Limits that nobody configured: what headers and refusals teach, and how near the truth that comes."""

import heapq
import math
from collections import deque
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.bucket import Bucket
from policy.learned import Learned
from policy.limiter import Cost, Limiter, Mark
from schemas.config import Limits
from schemas.limits import Remaining, Told

FREE = Cost()
WAY = 0.002  # seconds from us to the provider


class Provider:
    """One that keeps a rate as a bucket of a second's worth, and in every sliding minute."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._bucket = Bucket(rate, rate, rate, 0.0)
        self._minute: deque[float] = deque()

    def change(self, rate: float, now: float) -> None:
        self.rate = rate
        self._bucket = Bucket(rate, rate, 0.0, now)

    def call(self, now: float) -> tuple[bool, float]:
        """Whether it takes the call, and how many more it would take now."""
        while self._minute and self._minute[0] <= now - 60:
            self._minute.popleft()
        most = self.rate * 60
        taken = self._bucket.wait(1, now) <= 0 and len(self._minute) + 1 <= most
        if taken:
            self._bucket.take(1, now)
            self._minute.append(now)
        return taken, max(0.0, min(self._bucket.level, most - len(self._minute)))


class Backlog:
    """Processes that call a provider as fast as their limiters let them; what they heard of refusals they share."""

    def __init__(self, provider: Provider, processes: int, *, headers: bool, retry_after: float = 0.0) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, bool]] = []
        self.limiters = [Limiter(Limits(), 0.0) for _ in range(processes)]
        for limiter in self.limiters:
            limiter.share(processes)
        self._provider = provider
        self._headers = headers
        self._retry_after = retry_after
        self._random = Random(1)
        self._running: list[tuple[float, int, Limiter, Mark, bool, float]] = []

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            free = self.limiters if len(self._running) < self._provider.rate * 5 else []
            wait, limiter = min(
                ((one.wait(FREE, self.now), one) for one in free), default=(math.inf, None), key=lambda pair: pair[0]
            )
            if limiter is not None and wait <= 0:
                self._begin(limiter)
            elif self._running and self._running[0][0] <= self.now + wait:
                self._end()
            else:
                self.now += wait + self._random.random() * 0.001

    def judged(self, since: float) -> tuple[float, float]:
        """What was accepted, as a part of what the limit allows, and refused, as a part of the calls."""
        taken = [good for at, good in self.calls if at >= since]
        return sum(taken) / (self._provider.rate * (self.now - since)), 1 - sum(taken) / len(taken)

    def _begin(self, limiter: Limiter) -> None:
        mark = limiter.take(FREE, self.now)
        taken, left = self._provider.call(self.now + WAY)
        self.calls.append((self.now, taken))
        seconds = self._random.lognormvariate(0, 0.5) if taken else 0.005
        heapq.heappush(self._running, (self.now + seconds, len(self.calls), limiter, mark, taken, left))

    def _end(self) -> None:
        self.now, _, limiter, mark, taken, left = heapq.heappop(self._running)
        if self._headers:
            limiter.told(Told(requests=Remaining(self._provider.rate * 60, left, None)), mark, self.now)
        if not taken:
            limiter.refused(mark, self._retry_after, self.now)
            for other in self.limiters:
                other.heard(limiter.shut_until - self.now, self.now)


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


def test_nothing_is_limited_before_there_is_a_sign() -> None:
    learned = Learned(0.0)
    for _ in range(1000):
        assert learned.wait(1e6, 0.0) == 0
        learned.take(1e6, 0.0)
    assert (learned.left(0.0), learned.pace()) == (None, 0)


@pytest.mark.parametrize(
    "said", [Remaining(None, 0, 1), Remaining(0, 0, 1), Remaining(-1, -1, 0), Remaining(100, 99, 1)]
)
def test_words_that_tell_of_no_scarcity_limit_nothing(said: Remaining) -> None:
    learned = Learned(0.0)
    learned.told(said, 0.0, 0.0, 0.0)
    assert (learned.wait(1e6, 0.0), learned.left(0.0), learned.pace()) == (0, None, 0)


@pytest.mark.parametrize(
    ("said", "pace"),
    [
        (Remaining(600, 10, None), 10),
        (Remaining(600, 10, 0.0), 10),
        (Remaining(600, 10, 6.0), 10),
        (Remaining(600, 10, 60.0), 10),
        (Remaining(14400, 30, 86220), (14400 - 30) / 86220),  # a day's: what is missing comes back by then
        (Remaining(3600, 0, 3600), 1),
        (Remaining(600, 10, 61), 590 / 61),
    ],
    ids=str,
)
def test_a_word_gives_the_pace(said: Remaining, pace: float) -> None:
    learned = Learned(0.0)
    learned.told(said, 0.0, 0.0, 0.0)
    assert learned.pace() == pytest.approx(pace)
    assert learned.left(0.0) == said.left
    assert learned.wait(said.left + 1, 0.0) == pytest.approx(1 / pace)


@pytest.mark.parametrize("reset", [61.0, 3600.0, 86400.0])
def test_a_limit_that_is_whole_again_is_no_limit_of_zero(reset: float) -> None:
    """An hour's or a day's limit, scarce yesterday, of which nothing is used yet today."""
    learned = Learned(0.0)
    learned.told(Remaining(100, 10, reset), 0.0, 0.0, 0.0)
    learned.told(Remaining(100, 100, reset), 0.0, 0.0, 1.0)
    for _ in range(100):
        assert learned.wait(1, 1.0) == 0
        learned.take(1, 1.0)
    assert 0 < learned.wait(1, 1.0) < math.inf


def test_a_word_is_brought_up_to_date() -> None:
    learned = Learned(0.0)
    learned.told(Remaining(600, 100, None), 0.5, 30, 10.0)
    assert learned.left(10.0) == pytest.approx(100 + 0.5 * 10 - 30, abs=5)  # no more than was ever said to be left


@given(
    st.lists(
        st.tuples(
            st.floats(0, 100),
            st.sampled_from(["told", "take", "refused", "start over"]),
            st.floats(1, 1e5),  # a limit, an amount
            st.floats(0, 1.2),  # what is left of it
            st.none() | st.floats(0, 1e5),  # until it is whole
        ),
        max_size=25,
    ),
    st.floats(1, 1e5),
)
def test_whatever_is_said_a_wait_is_finite_and_true(
    steps: list[tuple[float, str, float, float, float | None]], amount: float
) -> None:
    learned, now = Learned(0.0), 0.0
    for pause, act, number, part, reset in steps:
        now += pause
        if act == "told":
            learned.told(Remaining(number, number * part, reset), min(pause, 1.0), 0.0, now)
        elif act == "take":
            learned.take(number, now)
        elif act == "refused":
            learned.refused(1.0, now, now)
        else:
            learned.start_over(now)
        wait = learned.wait(amount, now)
        assert 0 <= wait < math.inf
        assert learned.wait(amount, now + wait) <= 1e-6 * (1 + wait)
        now += wait
        assert learned.pace() >= 0


def limited(now: float = 0.0) -> Learned:
    """Ten a second, and the second refusal in a while."""
    learned = Learned(now)
    for n in range(100):
        learned.take(1, now + n / 10)
    learned.refused(1, now + 9.9, now + 10)
    assert learned.pace() == 0, "the first may be somebody else's doing"
    learned.refused(1, now + 10, now + 10.01)
    return learned


def test_the_second_refusal_in_a_while_sets_a_rate() -> None:
    assert 7 <= limited().pace() <= 10


def test_two_that_are_far_apart_set_none() -> None:
    learned = Learned(0.0)
    for at in (10.0, 50.0, 90.0):
        learned.refused(1, at, at)
    assert learned.pace() == 0


def test_refusals_of_calls_that_began_before_the_last_fall_say_nothing_new() -> None:
    learned = limited()
    pace = learned.pace()
    for _ in range(50):
        learned.refused(1, 10.0, 10.5)
    assert learned.pace() == pace
    learned.refused(1, 10.5, 10.6)
    assert 0.47 * pace <= learned.pace() <= 0.96 * pace


def test_a_rate_grows_while_it_is_used() -> None:
    used, idle = limited(), limited()
    pace, now = used.pace(), 11.0
    while now < 40:
        now += used.wait(1, now)
        assert used.wait(1, now) <= 1e-9
        used.take(1, now)
        idle.wait(1, now)
    assert 1.2 * pace <= used.pace() <= 1.4 * pace, "a hundredth per second"
    assert idle.pace() <= 1.05 * pace, "what is not used proves nothing"


def test_a_rate_never_falls_to_nothing() -> None:
    learned, now = limited(), 11.0
    for _ in range(500):
        learned.refused(1, now, now)
        now += 0.1
    assert learned.pace() == pytest.approx(1 / 60)


def test_who_was_away_has_one_call_in_hand() -> None:
    learned = limited()
    learned.start_over(20.0)
    assert learned.left(20.0) == pytest.approx(1)
