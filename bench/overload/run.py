"""`make bench-overload`: run the scenarios, print their figures, keep what they come from in `bench/results/overload/`.

    python -m bench.overload [--scenario bursts,sustained] [--seconds 180] [--warmup 30] [--learned | --configured]

Without a choice: all scenarios, each with the limit configured and again without, which takes more than an hour.
`--unpaced` shows how bad the figures are without pacing. Ends with 0 when every figure is within its bound, with 1 when
one is not or a scenario could not be measured.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import uvloop

from bench.overload.cost import cost
from bench.overload.figures import Figure
from bench.overload.observation import Outcome, Setup
from bench.overload.scenarios import SCENARIOS
from bench.overload.stage import Servers, servers
from bench.processes import RESULTS

COST = "cost"
NAMES = (*SCENARIOS, COST)
BESIDES = 900.0  # seconds that a scenario may take beyond its loads: starts, drains, restarts


class Job(NamedTuple):
    """One scenario to run."""

    name: str
    limits: str  # configured, learned, or "" where it makes no difference
    run: Callable[[Servers], Awaitable[Outcome]]
    longest: float  # seconds


def main() -> int:
    """Everything, one after the other."""
    given = _arguments()
    try:
        with servers() as on:
            return uvloop.run(_all(_jobs(given), given, on))
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("stopped before the end")
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", type=_names, default=NAMES, help=f"of {', '.join(NAMES)}; several with commas")
    parser.add_argument("--seconds", type=float, default=180.0, help="measured, of each load")
    parser.add_argument("--warmup", type=float, default=30.0, help="before that")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--learned", action="store_true", help="only without configured limits")
    which.add_argument("--configured", action="store_true", help="only with configured limits")
    parser.add_argument("--unpaced", dest="pacing", action="store_false", help="how it is with PENSTOCK_PACING=false")
    parser.add_argument("--rounds", type=int, default=24, help="of the scenario cost, on and off each")
    parser.add_argument("--round-seconds", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(NAMES)}")
    return names


def _jobs(given: argparse.Namespace) -> list[Job]:
    kinds = [True] if given.learned else [False] if given.configured else [False, True]
    jobs = []
    for name in given.scenario:
        if name == COST:
            longest = 2 * given.rounds * (given.round_seconds + 5) + BESIDES
            jobs.append(Job(name, "", lambda on: cost(on, given.rounds, given.round_seconds, given.seed), longest))
            continue
        longest = 4 * (given.seconds + given.warmup) + BESIDES
        jobs += [
            Job(name, "learned" if learned else "configured", _measure(name, given, learned), longest)
            for learned in kinds
        ]
    return jobs


def _measure(name: str, given: argparse.Namespace, learned: bool) -> Callable[[Servers], Awaitable[Outcome]]:
    return lambda on: SCENARIOS[name](Setup(on, given.seconds, given.warmup, learned, given.seed, given.pacing))


async def _all(jobs: list[Job], given: argparse.Namespace, on: Servers) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):  # so that what was started is ended, too
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    folder = RESULTS / "overload" / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    for job in jobs:
        title = f"{job.name} {job.limits}".strip()
        print(f"{title}: {(SCENARIOS.get(job.name) or cost).__doc__}", flush=True)
        figures = await _one(job, given, on, folder)
        failed += [f"{title}: {figure.name}" for figure in figures if figure.ok is False]
    print(f"kept in {folder}")
    if failed:
        print("not within its bound:", *failed, sep="\n  ")
    return 1 if failed else 0


async def _one(job: Job, given: argparse.Namespace, on: Servers, folder: Path) -> list[Figure]:
    try:
        async with asyncio.timeout(job.longest):
            outcome = await job.run(on)
    except Exception:  # the other scenarios can still be measured  # noqa: BLE001
        traceback.print_exc()
        return [Figure("could not be measured", 0.0, "", False)]
    for figure in outcome.figures:
        print(figure.line(), flush=True)
    path = folder / f"{'-'.join(filter(None, (job.name, job.limits)))}.json"
    told = {"scenario": job.name, "limits": job.limits, "given": vars(given)}
    path.write_text(json.dumps({**told, "figures": [one._asdict() for one in outcome.figures], "raw": outcome.raw}))
    return outcome.figures


if __name__ == "__main__":
    sys.exit(main())
