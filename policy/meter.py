"""One limit per minute, kept two ways at once: a bucket that smooths, and a bound on every sliding minute.

A bucket alone lets a minute's worth and a bucketful pass in some minute; a window alone lets a minute's worth pass at
once, which providers that smooth refuse. Amounts are those of *all* processes: one of N counts its own N-fold, which
is right as long as they are equally busy, and they are while there is a backlog, since they pull.
"""

from collections import deque

from policy.bucket import Bucket

MINUTE = 60.0
_SLOT = 0.1  # seconds of the window: what passed together leaves it together
_MARGIN = 0.3  # seconds by which the provider's clock may see two calls closer together than ours
_SMALL = 10.0  # of a small limit this much may pass at once: the window is exact anyway
_TINY = 1e-9


class Meter:
    """`limit` per minute. It begins as if others had used it until now: who starts does not know what went before."""

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        rate = limit / MINUTE
        self.bucket = Bucket(rate, max(rate, min(limit, _SMALL)), 0.0, now)
        self._passed: deque[tuple[float, float]] = deque()  # (end of a slot, amount in it), oldest first
        self._sum = 0.0
        self.start_over(now)

    def wait(self, amount: float, now: float, keep: float = 0.0) -> float:
        """Seconds until `amount` may pass; 0: now. `keep` is the fraction of a bucketful that must then be left."""
        self._forget(now)
        kept = keep * self.bucket.burst
        wait = self.bucket.wait(amount + kept, now)
        over = self._sum + amount + kept - self.limit
        return max(wait, self._until_gone(over, now)) if over > self.limit * _TINY and self._passed else wait

    def give_back(self, amount: float, began: float, now: float) -> None:
        """So much of what passed at `began` was too much: it is given back to the minute that it was taken from."""
        self._forget(now)
        self.bucket.take(-amount, now)
        for place in range(len(self._passed) - 1, -1, -1):
            end, passed = self._passed[place]
            if end - _SLOT <= began + _TINY * began:
                if end > began:
                    self._passed[place] = (end, passed - amount)
                    self._sum -= amount
                return

    def take(self, amount: float, now: float) -> None:
        """`amount` passes."""
        self._forget(now)
        self.bucket.take(amount, now)
        self._sum += amount
        if self._passed and self._passed[-1][0] > now:
            end, passed = self._passed[-1]
            self._passed[-1] = (end, passed + amount)
        else:
            self._passed.append((now + _SLOT, amount))

    def lower(self, level: float, now: float) -> None:
        """The provider says that no more than `level` is left."""
        self.bucket.advance(now)
        self.bucket.level = min(self.bucket.level, max(level, -self.bucket.burst))

    def refused(self, now: float) -> None:
        """The provider refused what we let pass: its bucket is smaller than ours, or others use it too."""
        bucket = self.bucket
        bucket.advance(now)
        bucket.level = min(bucket.level, 0.0)
        bucket.burst = max(1.0, min(bucket.burst, max(bucket.rate, bucket.burst / 2)))

    def start_over(self, now: float) -> None:
        """As if the limit had been used evenly for a minute; one call may pass, or a small limit's first would wait."""
        if self.limit < float("inf"):
            self.assume(max(0.0, self.limit - 1.0), now)
        self.bucket.level, self.bucket.at = min(1.0, self.bucket.burst), now

    def assume(self, passed: float, now: float) -> None:
        """So much has passed in the last minute, evenly."""
        slots = round(MINUTE / _SLOT)
        part = passed / slots
        self._passed = deque((now - MINUTE + (slot + 1) * _SLOT, part) for slot in range(slots))
        self._sum = part * slots

    def begin_fresh(self, now: float) -> None:
        """Nobody else has used it lately; a second's worth may pass at once. A larger burst is missing every minute."""
        self._passed.clear()
        self._sum = 0.0
        self.bucket.level, self.bucket.at = min(self.bucket.burst, max(1.0, self.bucket.rate)), now

    def left(self, now: float) -> float:
        """How much may pass at once."""
        self._forget(now)
        self.bucket.advance(now)
        return max(0.0, min(self.bucket.level, self.limit - self._sum))

    def used(self, now: float) -> float:
        """The fraction of the limit that passed in the last minute."""
        self._forget(now)
        return max(0.0, self._sum / self.limit)

    def _forget(self, now: float) -> None:
        gone = now - MINUTE - _MARGIN
        while self._passed and self._passed[0][0] <= gone:
            self._sum -= self._passed.popleft()[1]
        if not self._passed:
            self._sum = 0.0

    def _until_gone(self, over: float, now: float) -> float:
        last = now
        for last, passed in self._passed:  # noqa: B007 (it is what the loop is for)
            over -= passed
            if over <= self.limit * _TINY:
                break
        return max(0.0, last + MINUTE + _MARGIN - now)
