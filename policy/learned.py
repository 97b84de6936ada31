"""The limit of a deployment for which none is configured: what its provider says, and what its refusals show.

The provider's headers give a limit per minute, and what is left of it. Refusals give a rate: it falls below what was
accepted when one comes, and grows slowly while none does (AIMD), so that a limit that nobody tells is kept within a few
per cent.
"""

from policy.bucket import Bucket
from policy.meter import MINUTE, Meter
from schemas.limits import Remaining

_FALL, _GROWTH = 0.95, 0.01  # factor at a refusal; fraction per second without one
_SPAN = 3.0  # seconds over which the accepted rate is smoothed
_SMALLEST = 1 / MINUTE  # per second: less is waiting for a Retry-After
_FIRST = 1.0  # per second: a first guess is not lower
_WHILE = 30.0  # seconds
_PROBING = 0.02  # of the rate that was good: however often it is refused, so often it is tried
_ROOM = 0.25  # seconds of the rate that may pass at once


class Learned:
    """One quantity, requests or tokens, as all processes use it. Nothing is limited until a sign of a limit comes."""

    def __init__(self, now: float) -> None:
        self._told: Meter | None = None
        self._found: Bucket | None = None
        self._rate = 0.0  # accepted per second, smoothed
        self._at = now
        self._fell = now - MINUTE
        self._grew = now
        self._good = 0.0  # the rate at which calls went through last
        self._stock = 0.0  # of an hour's or a day's limit: it may be used at any pace
        self._most = 1.0  # that was ever said to be left: what may pass at once
        self._word = now - MINUTE  # when the call began whose answer was listened to last

    def wait(self, amount: float, now: float, keep: float = 0.0) -> float:
        """Seconds until `amount` may pass; `keep` is the fraction of a bucketful that must then be left."""
        told, found = self._told, self._found
        wait = told.wait(amount, now, keep) if told is not None else 0.0
        if found is None:
            return wait
        self._grow(found, now)
        return max(wait, found.wait(amount + keep * found.burst, now))

    def take(self, amount: float, now: float) -> None:
        """`amount` passes."""
        if self._told is not None:
            self._told.take(amount, now)
        if self._found is not None:
            self._found.take(amount, now)
        self._decay(now)
        self._rate += amount / _SPAN

    def told(self, said: Remaining, age: float, since: float, now: float) -> None:
        """The provider's word of `age` seconds ago; `since` is what passed after the call that it answers had begun.

        The newest word counts: how much of an older one's room overflowed meanwhile is not known.
        """
        if said.limit is None or said.limit <= 0 or now - age < self._word:
            return
        self._word = now - age
        self._most = max(self._most, said.left + 1)
        if self._told is None:
            if said.left - since > said.limit / 2:
                return  # nothing that could become scarce soon
            self._told = Meter(said.limit, now)
            self._told.assume(max(0.0, said.limit - said.left) + since, now)
        bucket, longer = self._told.bucket, said.reset is not None and said.reset > MINUTE
        self._told.limit = float("inf") if longer else said.limit
        bucket.rate, bucket.burst, bucket.at = _rate(said, said.limit), min(said.limit, self._most), now
        bucket.level = min(bucket.burst, said.left + bucket.rate * age - since)
        self._stock = max(0.0, bucket.level) if longer else 0.0

    def refused(self, amount: float, began: float, now: float) -> None:
        """A call that began at `began` was refused; those that had begun before the last fall say nothing new.

        The first refusal in a while may be somebody else's doing: its Retry-After is all that is kept to.
        """
        self._decay(now)
        self._rate = max(0.0, self._rate - amount / _SPAN)
        if began < self._fell:
            return
        before, self._fell = self._fell, now
        if self._found is not None:
            rate = min(self._found.rate, max(self._rate, self._found.rate / 2)) * _FALL
        elif now - before < _WHILE:
            rate = max(_FIRST, self._rate * _FALL)
        else:
            return
        rate = max(rate, _SMALLEST, self._good * _PROBING)
        self._good = max(self._good, rate)
        self._found = Bucket(rate, max(amount, rate * _ROOM), 0.0, now)

    def accepted(self, began: float) -> None:
        """A call that began at `began` went through: a while in which nothing did has taught no rate."""
        found = self._found
        if found is None or began < self._fell:
            return
        if found.rate < self._good / 2:
            found.rate = self._good / 2
            found.burst = max(found.burst, found.rate * _ROOM)
        self._good = found.rate

    def pace(self) -> float:
        """Per second, as far as is known; 0: nothing limits it."""
        rates = [] if self._found is None else [self._found.rate]
        if self._told is not None:
            rates.append(self._told.bucket.rate + self._stock / MINUTE)
        return min(rates, default=0.0)

    def said(self) -> float:
        """Per second, as the provider says it: what every process knows alike; 0: it says nothing."""
        return 0.0 if self._told is None else self._told.bucket.rate

    def left(self, now: float) -> float | None:
        """How much may pass at once; None: nobody knows of a limit."""
        levels = [] if self._told is None else [self._told.left(now)]
        if self._found is not None:
            self._found.advance(now)
            levels.append(max(0.0, self._found.level))
        return min(levels, default=None)

    def start_over(self, now: float) -> None:
        """We do not know what passed meanwhile."""
        if self._told is not None:
            self._told.start_over(now)
        if self._found is not None:
            self._found.level, self._found.at = min(1.0, self._found.burst), now

    def _grow(self, found: Bucket, now: float) -> None:
        self._decay(now)
        past, self._grew = now - max(self._fell, self._grew), now
        if past > 0:
            found.advance(now)
            if self._rate > found.rate / 2:  # what is not used proves nothing
                found.rate *= 1 + _GROWTH * past
                found.burst = max(found.burst, found.rate * _ROOM)

    def _decay(self, now: float) -> None:
        if now > self._at:
            self._rate *= max(0.0, 1 - (now - self._at) / _SPAN)
            self._at = now


def _rate(said: Remaining, limit: float) -> float:
    """Per second: a minute's limit, unless it takes longer to come back (a day's, an hour's)."""
    if said.reset is None or said.reset <= MINUTE:
        return limit / MINUTE
    if said.left >= limit:
        return limit / MINUTE  # it is whole, so nothing can be said of how fast it comes back
    return min(limit / MINUTE, (limit - said.left) / said.reset)
