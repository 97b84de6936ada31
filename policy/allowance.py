"""What is left of a day's limits, as the ledger counted it last."""

from collections.abc import Sequence

_COUNTED = 1.0  # seconds until there may be a count


class Allowance:
    """Requests and tokens that this process may still use: none before the first count."""

    def __init__(self) -> None:
        self._requests = self._tokens = 0.0
        self.until = 0.0

    def grant(self, requests: float, tokens: float, until: float) -> None:
        """A new count; the day ends at `until`, in seconds of the caller's clock."""
        self._requests, self._tokens, self.until = requests, tokens, until

    def wait(self, cost: Sequence[int], now: float) -> float:
        """Seconds until a call of this cost may begin."""
        enough = self._requests >= 1 and self._tokens >= max(1, sum(cost))
        return 0.0 if enough else max(_COUNTED, self.until - now)

    def take(self, cost: Sequence[int]) -> None:
        """A call begins."""
        self._requests -= 1
        self._tokens -= sum(cost)

    def left(self, cost: Sequence[int]) -> float:
        """How many such calls may begin."""
        return max(0.0, min(self._requests, self._tokens / max(1, sum(cost))))
