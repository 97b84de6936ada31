"""What is measured of a simulation."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from tests.simulation.parts import Asked
from tests.simulation.provider import MINUTE


def between(times: Iterable[float], start: float, end: float) -> int:
    """How many times are from `start` on, before `end`."""
    return sum(start <= at < end for at in times)


def busiest_minute(times: Sequence[float]) -> int:
    """The most in any minute, wherever it begins. `times` are sorted."""
    return max((bisect_left(times, at + MINUTE) - n for n, at in enumerate(times)), default=0)


def quantile(values: Iterable[float], part: float) -> float:
    """The value that `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has all (R. Jain, DEC-TR-301, 1984)."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def served(asked: Iterable[Asked], start: float, end: float, which: Callable[[Asked], bool] = lambda _: True) -> int:
    """Answers that came in that time."""
    return sum(one.status == 200 and start <= one.ended < end and which(one) for one in asked)
