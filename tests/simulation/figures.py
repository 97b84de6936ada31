"""What is measured of a simulation."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tests.simulation.parts import Asked
from tests.simulation.provider import MINUTE
from tests.simulation.world import World

_STEP = 0.05  # seconds between two looks
_FAR = 200  # requests that are looked through for those that had come already


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


class Look(NamedTuple):
    """How many calls more could have begun at a time, by what the workers themselves knew."""

    at: float
    room: int


class Rooms:
    """Looks at the room in all workers, twenty times a second."""

    def __init__(self, house: World) -> None:
        self._house = house
        self._looks: list[Look] = []
        house.at(house.time.now + _STEP, self._look)

    def passed_over(self, longest: float) -> list[Asked]:
        """The requests that waited for more than `longest` seconds on end while there was room for them.

        Room is for those that were the next to begin: with room for two and a hundred waiting, two are passed over.
        """
        order = sorted((one for one in self._house.asked if one.began), key=lambda one: one.began)
        begins = [one.began for one in order]
        since: dict[int, float] = {}
        found: set[int] = set()
        for at, room in self._looks:
            first = bisect_right(begins, at)
            nearest = range(first, min(len(order), first + _FAR)) if room else ()
            since = {n: since.get(n, at) for n in [n for n in nearest if order[n].at <= at][:room]}
            found.update(n for n, start in since.items() if at - start > longest)
        return [order[n] for n in found]

    def _look(self) -> None:
        now = self._house.time.now
        gates = [gate for worker in self._house.workers for gate in worker.pools.gates if gate.share.serves]
        self._looks.append(Look(now, sum(row.room for gate in gates for row in gate.rows())))
        self._house.at(now + _STEP, self._look)
