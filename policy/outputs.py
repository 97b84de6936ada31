"""How long answers are: what 99 of 100 calls of a key to a model stayed below, lately."""

import math

_STEPS = 4  # buckets per doubling: an estimate is at most a fifth too high
_ENOUGH = 20  # calls before anything is believed
_MOST = 2000  # calls; older ones count half when there are more


class Outputs:
    """Counts of completion tokens, in buckets that grow by a fifth."""

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._total = 0

    def add(self, tokens: int) -> None:
        """One more call."""
        at = math.ceil(math.log2(max(1, tokens)) * _STEPS)
        self._counts[at] = self._counts.get(at, 0) + 1
        self._total += 1
        if self._total > _MOST:
            self._counts = {at: count // 2 for at, count in self._counts.items() if count > 1}
            self._total = sum(self._counts.values())

    def p99(self) -> int | None:
        """Tokens; None while too little is known."""
        if self._total < _ENOUGH:
            return None
        left = self._total // 100
        for at in sorted(self._counts, reverse=True):
            left -= self._counts[at]
            if left < 0:
                return math.ceil(2 ** (at / _STEPS))
        return None
