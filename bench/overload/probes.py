"""Is a Retry-After true? Some who were refused come again at the moment that they were told, and must be admitted."""

import asyncio
from collections.abc import Callable

from bench.overload.figures import Figure, at_least, ratio, told
from bench.overload.load import Load, Record

BEFORE, APART, MARGIN = 5.0, 0.3, 0.1  # seconds
HONEST = 0.95  # of those who come again are admitted: others come at random, too, and may be a moment earlier


class Probes:
    """Chooses the refused whose time comes within so many seconds of `start`, asks again, and keeps (then, now) pairs.

    Never two within `APART` seconds: at 0.9 times the limit only a tenth of it is free for those who come again.
    """

    def __init__(self, start: float, seconds: float) -> None:
        self.pairs: list[tuple[Record, Record]] = []
        self._start = start
        self._end = start + seconds - MARGIN
        self._planned: list[float] = []

    def watching(self, load: Load) -> Callable[[Record], None]:
        """What `load` is to tell its answers."""

        def watch(record: Record) -> None:
            if record.status in (429, 503) and record.retry_after and record.end >= self._start - BEFORE:
                due = record.end + record.retry_after
                if self._start <= due < self._end and all(abs(due - other) >= APART for other in self._planned):
                    self._planned.append(due)
                    loop = asyncio.get_running_loop()
                    loop.call_later(due - load.now(), lambda: load.fire(due, record.klass, judge(record)))

        def judge(first: Record) -> Callable[[Record], None]:
            return lambda second: self.pairs.append((first, second))

        return watch

    def figures(self) -> list[Figure]:
        """Their number and the share that was admitted."""
        admitted = sum(second.status not in (429, 503) for _, second in self.pairs)
        share = ratio(admitted, len(self.pairs))
        judged = at_least if self.pairs else _unjudged
        return [
            told("refused who came again when told", len(self.pairs)),
            judged("of these admitted, share", share, HONEST),
            told(
                "of these answered 200, share", ratio(sum(one.status == 200 for _, one in self.pairs), len(self.pairs))
            ),
        ]


def _unjudged(name: str, value: float, _: float) -> Figure:
    return told(name, value)
