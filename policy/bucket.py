"""A token bucket that may go into debt."""

_TINY = 1e-9  # of an amount: what rounding may lose


class Bucket:
    """`rate` per second, at most `burst` at once; `now` is in seconds of any clock that only goes forwards."""

    __slots__ = ("at", "burst", "level", "rate")

    def __init__(self, rate: float, burst: float, level: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.level = level
        self.at = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` may pass; what is larger than the bucket passes when it is full."""
        self.advance(now)
        wanted = min(amount, self.burst)
        missing = wanted - self.level
        return missing / self.rate if missing > wanted * _TINY else 0.0

    def take(self, amount: float, now: float) -> None:
        """`amount` passes, whether it may or not; a negative one gives back what was taken too much."""
        self.advance(now)
        self.level = min(self.level - amount, self.burst)

    def advance(self, now: float) -> None:
        """Let it fill up to `now`."""
        if now > self.at:
            self.level = min(self.burst, self.level + (now - self.at) * self.rate)
            self.at = now
