"""Figures with their bounds, and how they are read from what the load recorded and what the provider logged. Pure."""

import random
import statistics
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bench.overload.load import Record

BACKLOG = 1.0  # seconds of the limit's worth of requests that wait: from there on it is a backlog


class Figure(NamedTuple):
    """A number, what it must be, and whether it is. Without a bound `ok` is None: it is only told."""

    name: str
    value: float
    bound: str = ""
    ok: bool | None = None

    def line(self) -> str:
        """For people."""
        mark = {None: "    ", True: "ok  ", False: "FAIL"}[self.ok]
        return f"  {mark} {self.name:<62} {self.value:>10.4g}   {self.bound}"


def told(name: str, value: float) -> Figure:
    """A figure without a bound."""
    return Figure(name, value)


def at_least(name: str, value: float, bound: float) -> Figure:
    """A figure that must not be lower."""
    return Figure(name, value, f">= {bound:g}", value >= bound)


def at_most(name: str, value: float, bound: float) -> Figure:
    """A figure that must not be higher."""
    return Figure(name, value, f"<= {bound:g}", value <= bound)


def below(name: str, value: float, bound: float) -> Figure:
    """A figure that must be lower."""
    return Figure(name, value, f"< {bound:g}", value < bound)


class Window(NamedTuple):
    """The measured part of a run, in seconds since the load began; its end is excluded."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def holds(self, time: float) -> bool:
        return self.start <= time < self.end

    def due(self, records: Iterable[Record]) -> list[Record]:
        """The requests that were due in it."""
        return [record for record in records if self.holds(record.at)]

    def answered(self, records: Iterable[Record]) -> list[Record]:
        """The requests whose 200 ended in it: at a constant load that is the goodput."""
        return [record for record in records if record.status == 200 and self.holds(record.end)]


class Calls(NamedTuple):
    """What one deployment of the provider logged, or several together. Seconds since the load began, ascending."""

    accepted: list[float]
    refused: list[float]
    failed: list[float]
    ended: list[float]

    @property
    def made(self) -> list[float]:
        """All calls, whatever became of them."""
        return sorted((*self.accepted, *self.refused, *self.failed))

    def within(self, window: Window) -> "Calls":
        """Only that part."""
        return Calls(*([time for time in times if window.holds(time)] for times in self))


def calls_of(stats: dict[str, Any], began: float, *names: str) -> Calls:
    """From the provider's `_stats?log=1`; without names of all its deployments."""
    chosen = [one for name, one in stats["deployments"].items() if not names or name in names]
    kinds = ("accepted", "refused", "failed", "ended")
    return Calls(*(sorted(time - began for one in chosen for time in one[kind]) for kind in kinds))


def quantile(values: Iterable[float], fraction: float) -> float:
    """By rank; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] if ordered else 0.0


def ratio(part: float, whole: float) -> float:
    """0 when there is no whole."""
    return part / whole if whole else 0.0


class Use(NamedTuple):
    """How much of the limit was used in those seconds in which requests waited."""

    seconds: int
    share: float


def use_under_backlog(records: Sequence[Record], calls: Calls, limit: float, window: Window) -> Use:
    """Second by second: those whose beginning and end both see at least `BACKLOG` seconds' worth of requests waiting.

    A request waits from when it was due until its answer, less the time of its call: at any moment the number of those
    that wait is the number under way here less the number under way at the provider. One that is refused at once hardly
    counts; one that was left to wait in vain does.
    """
    begun, ended = sorted(record.at for record in records), sorted(record.end for record in records)
    seconds = range(int(window.start), int(window.end))

    def waiting(at: float) -> int:
        here = bisect_left(begun, at) - bisect_left(ended, at)
        return here - (bisect_left(calls.accepted, at) - bisect_left(calls.ended, at))

    backlogged = [at for at in seconds if min(waiting(at), waiting(at + 1)) >= BACKLOG * limit]
    used = sum(bisect_left(calls.accepted, at + 1) - bisect_left(calls.accepted, at) for at in backlogged)
    return Use(len(backlogged), ratio(used, limit * len(backlogged)))


class Bound(NamedTuple):
    """A median and the upper bounds that it is below with 90 and with 95 % confidence, each one-sided."""

    median: float
    upper90: float
    upper95: float


def bootstrap(differences: Sequence[float], dice: random.Random, draws: int = 10_000) -> Bound:
    """The median of paired differences, with bounds from drawing them again (the percentile method)."""
    medians = sorted(statistics.median(dice.choices(differences, k=len(differences))) for _ in range(draws))
    return Bound(statistics.median(differences), medians[int(0.90 * draws)], medians[int(0.95 * draws)])
