"""One load on one stage, from its first request to its last answer, and everything that was seen meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from bench.overload.figures import Calls, Figure, Window, calls_of, ratio, told
from bench.overload.load import DEADLINE, GRACE, Load, Record
from bench.overload.stage import Servers, Stage

MEASURING = ("provider", "load")  # processes that would not be there without the measurement
PATIENCE = 60.0  # seconds that a run may take longer than its load, its deadline and its grace


class Setup(NamedTuple):
    """What all scenarios are told. Times in seconds."""

    on: Servers
    seconds: float
    warmup: float
    learned: bool
    seed: int
    pacing: bool = True

    @property
    def window(self) -> Window:
        return Window(self.warmup, self.warmup + self.seconds)


class Observation(NamedTuple):
    """`cpu` has seconds of a core by process within the window, `calls` is of all deployments together."""

    name: str
    window: Window
    records: list[Record]
    calls: Calls
    stats: dict[str, Any]
    began: float
    latest: float
    cpu: dict[str, float]
    said: dict[str, list[str]]

    @property
    def due(self) -> list[Record]:
        """The requests that were due in the window."""
        return self.window.due(self.records)

    @property
    def made(self) -> Calls:
        """The calls that were made in the window."""
        return self.calls.within(self.window)

    def raw(self) -> dict[str, Any]:
        """As JSON: all that figures are made from."""
        return {
            "name": self.name,
            "window": self.window,
            "record": Record._fields,
            "records": self.records,
            "calls": {
                name: calls_of(self.stats, self.began, name)._asdict() for name in sorted(self.stats["deployments"])
            },
            "cpu": self.cpu,
            "said": self.said,
        }


class Outcome(NamedTuple):
    """A scenario's figures and what they come from."""

    figures: list[Figure]
    raw: list[dict[str, Any]]


Drive = Callable[[Load], Awaitable[None]]


async def observe(stage: Stage, name: str, window: Window, drive: Drive, after: float = 0.0) -> Observation:
    """Let `drive` load the stage until the window's end and `after` seconds more. Raises `TimeoutError` if it hangs."""
    load = stage.load()
    try:
        async with asyncio.timeout(window.end + after + DEADLINE + GRACE + PATIENCE), asyncio.TaskGroup() as group:
            counting = group.create_task(_cpu_within(stage, load, window))
            await drive(load)
            await load.drained()
    finally:
        await load.close()
    stats, said = await stage.provider.stats(), stage.last_words()
    calls = calls_of(stats, load.began)
    return Observation(name, window, load.records, calls, stats, load.began, load.latest, counting.result(), said)


async def _cpu_within(stage: Stage, load: Load, window: Window) -> dict[str, float]:
    await asyncio.sleep(window.start - load.now())
    before = stage.cpu()
    await asyncio.sleep(window.end - load.now())
    after = stage.cpu()
    return {name: after[name, pid] - before[name, pid] for name, pid in after.keys() & before.keys()}


def machinery(seen: Observation) -> list[Figure]:
    """What the measurement itself cost, and whether it kept up. Ours counts only processes that lived throughout."""
    prefix = f"{seen.name}: "
    ours = sum(used for name, used in seen.cpu.items() if name not in MEASURING)
    shares = [
        told(f"{prefix}core used by the {name}", ratio(seen.cpu[name], seen.window.seconds)) for name in MEASURING
    ]
    return [
        *shares,
        told(f"{prefix}core used by everything else", ratio(ours, seen.window.seconds)),
        told(f"{prefix}CPU ms per request, without the measurement's", ratio(ours * 1000, len(seen.due))),
        told(f"{prefix}most that a request was sent too late, s", seen.latest),
    ]
