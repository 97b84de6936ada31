"""All limits of one deployment as one process keeps them: what was configured, else what was learned.

Every amount is counted `copies`-fold, where `copies` is the number of processes that serve the deployment: each then
sees the whole provider. The provider's own word corrects the count at every answer, and a refusal shuts everything
until it said.
"""

from collections.abc import Callable
from typing import NamedTuple

from policy.allowance import Allowance
from policy.learned import Learned
from policy.meter import Meter
from schemas.config import Limits
from schemas.limits import Remaining, Told

_SMOOTHING = 0.05
_LARGEST = 10_000_000
_UNSAID = 0.5  # seconds
_ON_ITS_WAY = 0.05  # seconds that a call may have been on its way before the provider counted it


class Cost(NamedTuple):
    """The tokens of one call, estimated or counted."""

    input: int = 0
    output: int = 0


class Mark(NamedTuple):
    """What had passed when a call began, so that its answer's word on the limits can be brought up to date."""

    at: float
    requests: float
    input: float
    output: float
    cost: Cost


class _Tokens(NamedTuple):
    """A limit on tokens: what of a call counts, and what the provider calls it."""

    meter: Meter
    weigh: Callable[[Cost], float]
    name: str


class Limiter:
    """Limits of one deployment in one process. `now` is in seconds of any clock that only goes forwards."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.copies = 1
        self.shut_until = now
        self._requests = None if limits.rpm is None else Meter(limits.rpm, now)
        self._tokens = [
            _Tokens(Meter(limit, now), weigh, name)
            for limit, weigh, name in (
                (limits.tpm, sum, "tokens"),
                (limits.itpm, _input, "input"),
                (limits.otpm, _output, "output"),
            )
            if limit is not None
        ]
        known = [limit for limit in (limits.tpm, limits.itpm, limits.otpm, limits.tpd) if limit is not None]
        self._estimates = bool(known)
        self.largest = int(min(known, default=_LARGEST)) // 2  # tokens that a call is taken to have: it holds up others
        self.day = Allowance() if limits.rpd is not None or limits.tpd is not None else None
        self._learned = None if self._requests or self._tokens else (Learned(now), Learned(now))
        self._passed = [0.0, 0.0, 0.0]  # requests, prompt tokens, completion tokens
        self.typical = 0.0  # tokens of a call, smoothed
        self.typical_output = 0.0  # of them completion tokens

    @property
    def counts_requests(self) -> bool:
        """Whether a limit on requests is configured."""
        return self._requests is not None

    @property
    def counts_tokens(self) -> bool:
        """Whether a call's tokens must be estimated before it begins."""
        return self._estimates or (self._learned is not None and self._learned[1].pace() > 0)

    def wait(self, cost: Cost, now: float, keep: float = 0.0) -> float:
        """Seconds until a call may begin; `keep` is the fraction of what may pass at once that must then be left."""
        wait = max(0.0, self.shut_until - now)
        if self.day is not None:
            wait = max(wait, self.day.wait(cost, now))
        copies = self.copies
        if self._learned is not None:
            requests, tokens = self._learned
            return max(wait, requests.wait(copies, now, keep), tokens.wait(sum(cost) * copies, now, keep))
        if self._requests is not None:
            wait = max(wait, self._requests.wait(copies, now, keep))
        for meter, weigh, _ in self._tokens:
            wait = max(wait, meter.wait(weigh(cost) * copies, now, keep))
        return wait

    def take(self, cost: Cost, now: float) -> Mark:
        """A call begins."""
        copies, passed = self.copies, self._passed
        self.typical = self.typical or float(sum(cost))
        passed[0] += copies
        passed[1] += cost.input * copies
        passed[2] += cost.output * copies
        if self.day is not None:
            self.day.take(cost)
        if self._learned is not None:
            self._learned[0].take(copies, now)
            self._learned[1].take(sum(cost) * copies, now)
        if self._requests is not None:
            self._requests.take(copies, now)
        for meter, weigh, _ in self._tokens:
            meter.take(weigh(cost) * copies, now)
        return Mark(now, passed[0], passed[1], passed[2], cost)

    def settle(self, mark: Mark, used: Cost, now: float) -> None:
        """A call has ended and told its tokens; what was estimated wrongly is put right."""
        self._correct(mark, used, now)
        part = _SMOOTHING if self.typical else 1.0
        self.typical += part * (sum(used) - self.typical)
        self.typical_output += part * (used.output - self.typical_output)

    def failed(self, mark: Mark, refused: bool, now: float) -> None:
        """A call has failed without a word of its tokens: nothing was generated, and of a refused one nothing read."""
        self._correct(mark, Cost() if refused else Cost(mark.cost.input), now)

    def accepted(self, mark: Mark) -> None:
        """The call of `mark` was not refused."""
        if self._learned is not None:
            self._learned[0].accepted(mark.at)

    def told(self, said: Told, mark: Mark, now: float) -> None:
        """The provider's word on its limits, with an answer to the call of `mark`."""
        requests, prompt, completion = self._passed
        age = now - mark.at
        if self._learned is not None:
            if said.requests is not None:
                self._learned[0].told(said.requests, age, requests - mark.requests, now)
            if said.tokens is not None:
                self._learned[1].told(said.tokens, age, prompt + completion - mark.input - mark.output, now)
            return
        if said.requests is not None and self._requests is not None:
            _lower(self._requests, said.requests, age, requests - mark.requests, now)
        since = Cost(round(prompt - mark.input), round(completion - mark.output))
        for meter, weigh, name in self._tokens:
            part: Remaining | None = getattr(said, name)
            if part is not None:
                _lower(meter, part, age, weigh(since), now)

    def refused(self, mark: Mark, retry_after: float, now: float) -> None:
        """A 429 for the call of `mark`: nothing begins before `retry_after` seconds, or half a one if nobody said."""
        self.shut_until = max(self.shut_until, now + (retry_after or _UNSAID))
        if self._learned is not None:
            self._learned[0].refused(self.copies, mark.at, now)
        elif self._requests is not None:
            self._requests.refused(now)

    def heard(self, refused: float, now: float) -> None:
        """Another process was refused, for so many seconds more."""
        self.shut_until = max(self.shut_until, now + refused)

    def share(self, copies: int) -> None:
        """So many processes serve the deployment now."""
        self.copies = max(1, copies)

    def begin_fresh(self, now: float) -> None:
        """Nobody else serves the deployment: the limits are taken to be whole."""
        for meter in self._meters():
            meter.begin_fresh(now)

    def start_over(self, now: float) -> None:
        """We were away, and do not know what the others did meanwhile."""
        for meter in self._meters():
            meter.start_over(now)
        for learned in self._learned or ():
            learned.start_over(now)

    def room(self, cost: Cost, now: float) -> float:
        """How many such calls could begin at once in this process; infinite when nothing limits them."""
        if now < self.shut_until:
            return 0.0
        found = min((left / amount for left, amount in self._left(cost, now) if amount), default=float("inf"))
        if self.day is not None:
            found = min(found, self.day.left(cost))
        return 1.0 if found < 1 and self.wait(cost, now) <= 0 else found  # a large one may begin on credit

    def pace(self) -> float:
        """Calls per second that can go on beginning in this process; 0: nothing limits them."""
        if self._learned is None:
            return self.agreed() / self.copies
        return self._slowest(*(learned.pace() for learned in self._learned)) / self.copies

    def agreed(self) -> float:
        """Calls per second of all processes together, by what they all know alike: what is configured or told."""
        if self._learned is not None:
            return self._slowest(*(learned.said() for learned in self._learned))
        requests = self._requests.bucket.rate if self._requests is not None else 0.0
        return self._slowest(requests, *(meter.bucket.rate for meter, _, _ in self._tokens if self.typical))

    def _slowest(self, requests: float, *tokens: float) -> float:
        """The least of these rates, in calls per second; 0 is no limit."""
        rates = [requests, *(rate / max(1.0, self.typical) for rate in tokens)]
        return min((rate for rate in rates if rate), default=0.0)

    def used(self, now: float) -> float:
        """The largest fraction of a configured limit that passed in the last minute, by everybody."""
        return max((meter.used(now) for meter in self._meters()), default=0.0)

    def _correct(self, mark: Mark, used: Cost, now: float) -> None:
        more = Cost(used.input - mark.cost.input, used.output - mark.cost.output)
        for meter, weigh, _ in self._tokens:
            amount = weigh(more) * self.copies
            if amount > 0:
                meter.take(amount, now)
            elif amount:
                meter.give_back(-amount, mark.at, now)

    def _meters(self) -> list[Meter]:
        meters = [limit.meter for limit in self._tokens]
        return meters if self._requests is None else [self._requests, *meters]

    def _left(self, cost: Cost, now: float) -> list[tuple[float, float]]:
        copies = self.copies
        if self._learned is not None:
            requests, tokens = (learned.left(now) for learned in self._learned)
            found = [(requests, float(copies)), (tokens, float(sum(cost) * copies))]
            return [(left, amount) for left, amount in found if left is not None]
        left = [(meter.left(now), weigh(cost) * copies) for meter, weigh, _ in self._tokens]
        return left if self._requests is None else [(self._requests.left(now), float(copies)), *left]


def _lower(meter: Meter, said: Remaining, age: float, since: float, now: float) -> None:
    meter.lower(said.left + meter.bucket.rate * max(0.0, age - _ON_ITS_WAY) - since, now)


def _input(cost: Cost) -> float:
    return cost.input


def _output(cost: Cost) -> float:
    return cost.output
