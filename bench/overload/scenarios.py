"""The scenarios: what is offered, what is done to it meanwhile, and what must come out."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping

from bench.overload.figures import (
    Use,
    Window,
    at_least,
    at_most,
    below,
    quantile,
    ratio,
    told,
    use_under_backlog,
)
from bench.overload.limit import MINUTE, most_within
from bench.overload.load import BATCH, INTERACTIVE, Load, Record
from bench.overload.observation import Observation, Outcome, Setup, machinery, observe
from bench.overload.probes import Probes
from bench.overload.stage import Plan, Stage, stage

LIMIT = 60.0  # calls per second
PERIOD, BURST, QUIET = 40.0, 10.0, 0.2  # seconds, seconds, times the limit: with 3 times in a burst 0.9 on average
PROBING = 25.0  # seconds
OVERLOAD = 1.5  # times the limit: there is always a backlog
SMALL = LIMIT / 10
FAILING = 20.0  # seconds
BATCH_CLIENTS = 240  # always one request each under way: several seconds of the limit
LONGEST_STOP = 10.0  # seconds

Scenario = Callable[[Setup], Awaitable[Outcome]]


async def bursts(setup: Setup) -> Outcome:
    """0.9 times the limit on average, in bursts of 3 times for 10 s of every 40."""
    dice, window = random.Random(setup.seed), setup.window

    def rate(at: float) -> float:
        # Three minutes then hold four bursts and a half: 0.9 times the limit exactly.
        return LIMIT * (3.0 if (at - window.start + BURST / 2) % PERIOD < BURST else QUIET)

    async with stage(setup.on, _plan(setup)) as on:
        seen = await observe(on, "bursts", window, lambda load: load.open_loop(rate, LIMIT * 3, window.end, dice))
    due = seen.due
    good = [record for record in due if record.status == 200]
    refusals = len(seen.made.refused)
    figures = [
        told("offered, times the limit", ratio(len(due), LIMIT * window.seconds)),
        at_least("answered 200, share", ratio(len(good), len(due)), 1.0),
        at_most("429s that clients saw", sum(record.status == 429 for record in due), 0),
        at_most("timeouts", sum(record.late for record in due), 0),
        below("provider's 429s, share of calls", ratio(refusals, len(seen.made.made)), 0.05 if setup.learned else 0.01),
        told("total time p50, s", quantile((record.seconds for record in good), 0.50)),
        told("total time p99, s", quantile((record.seconds for record in good), 0.99)),
    ]
    return Outcome([*figures, *machinery(seen)], [seen.raw()])


async def sustained(setup: Setup) -> Outcome:
    """3 times the limit all the time; then, at 0.9 times, some who were refused come again when they were told to."""
    dice, window = random.Random(setup.seed), setup.window
    probes = Probes(window.end, PROBING)

    async def drive(load: Load) -> None:
        load.watch = probes.watching(load)
        await load.open_loop(lambda _: LIMIT * 3, LIMIT * 3, window.end, dice)
        await load.open_loop(lambda _: LIMIT * 0.9, LIMIT, window.end + PROBING, dice)

    async with stage(setup.on, _plan(setup)) as on:
        seen = await observe(on, "sustained", window, drive, PROBING)
    rest = [record for record in seen.due if record.status != 200]
    success = len(window.answered(seen.records))
    figures = [
        told("offered, times the limit", ratio(len(seen.due), LIMIT * window.seconds)),
        at_least("successes, share of what the limit allows", ratio(success, LIMIT * window.seconds), 0.97),
        at_least(
            "of the rest: refused within 1 s with a Retry-After, share",
            ratio(sum(map(_well_refused, rest)), len(rest)) if rest else 1.0,
            1.0,
        ),
        told("slowest of the rest, s", max((record.seconds for record in rest), default=0.0)),
        at_most("timeouts", sum(record.late for record in seen.due), 0),
        at_most("upstream calls per success", ratio(len(seen.made.made), success), 1.05),
        told("provider's 429s, share of calls", ratio(len(seen.made.refused), len(seen.made.made))),
        *probes.figures(),
    ]
    return Outcome([*figures, *machinery(seen)], [{**seen.raw(), "probes": probes.pairs}])


def _well_refused(record: Record) -> bool:
    return record.status in (429, 503) and record.seconds <= 1.0 and (record.retry_after or 0) > 0


async def workers(setup: Setup) -> Outcome:
    """1, 2 and 4 workers on one deployment; then 2 that are disturbed."""
    found = [await _steady(setup, count) for count in (1, 2, 4)]
    found.append(await _disturbed(setup))
    return Outcome([figure for one in found for figure in one.figures], [raw for one in found for raw in one.raw])


async def _steady(setup: Setup, count: int) -> Outcome:
    dice, window = random.Random(setup.seed), setup.window
    async with stage(setup.on, _plan(setup, count)) as on:
        seen = await observe(on, f"{count} workers", window, lambda load: _overload(load, window.end, LIMIT, dice))
    return _kept(seen)


async def _disturbed(setup: Setup) -> Outcome:
    dice, window = random.Random(setup.seed), setup.window
    async with stage(setup.on, _plan(setup, 2)) as on:

        async def drive(load: Load) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(_disturb(on, load, window))
                await _overload(load, window.end, LIMIT, dice)

        seen = await observe(on, "2 workers, disturbed", window, drive)
    return _kept(seen)


async def _disturb(on: Stage, load: Load, window: Window) -> None:
    """A worker joins, one is killed, one is stopped and continued, RabbitMQ restarts: a fifth of the window between."""
    processes = on.house.processes

    async def until(fraction: float) -> None:
        await asyncio.sleep(max(0.0, window.start + fraction * window.seconds - load.now()))

    await until(0.2)
    await on.house.add("joined", "worker")
    await until(0.4)
    processes["worker0"].kill()
    await processes["worker0"].exited()
    await until(0.6)
    processes["worker1"].signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(min(LONGEST_STOP, window.seconds / 12))
    finally:
        processes["worker1"].signal(signal.SIGCONT)
    await until(0.8)
    await asyncio.to_thread(on.servers.rabbitmq.stop)
    await asyncio.to_thread(on.servers.rabbitmq.start)


def _kept(seen: Observation) -> Outcome:
    """The limit was kept, and used."""
    made, prefix = seen.made, f"{seen.name}: "
    use: Use = use_under_backlog(seen.records, seen.calls, LIMIT, seen.window)
    figures = [
        at_most(f"{prefix}most calls in a minute, times the limit", most_within(made.made) / (LIMIT * MINUTE), 1.02),
        told(f"{prefix}most accepted in a minute, times the limit", most_within(made.accepted) / (LIMIT * MINUTE)),
        at_least(f"{prefix}share of the limit used while requests waited", use.share, 0.95),
        told(f"{prefix}seconds with a backlog, share", ratio(use.seconds, seen.window.seconds)),
        told(f"{prefix}provider's 429s, share of calls", ratio(len(made.refused), len(made.made))),
        *(told(f"{prefix}status {status}, share", share) for status, share in _statuses(seen).items()),
        *machinery(seen),
    ]
    return Outcome(figures, [seen.raw()])


def _statuses(seen: Observation) -> Mapping[int, float]:
    found = sorted({record.status for record in seen.due})
    return {status: ratio(sum(one.status == status for one in seen.due), len(seen.due)) for status in found}


async def deployments(setup: Setup) -> Outcome:
    """Two deployments, one at a tenth of the other's limit; the larger one fails for 20 s in the middle."""
    dice, window = random.Random(setup.seed), setup.window
    plan = Plan({"large": LIMIT, "small": SMALL}, setup.learned, 1, setup.seed, setup.pacing)
    failing = min(FAILING, window.seconds / 9)

    async with stage(setup.on, plan) as on:

        async def drive(load: Load) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail(load))
                await _overload(load, window.end, plan.limit, dice)

        async def fail(load: Load) -> None:
            await asyncio.sleep(window.start + (window.seconds - failing) / 2 - load.now())
            await on.provider.set(deployment="large", fail=failing)

        seen = await observe(on, "deployments", window, drive)
    allowed = plan.limit * window.seconds - LIMIT * failing
    made = seen.made
    figures = [
        at_least("goodput, share of what the limits allow", ratio(len(window.answered(seen.records)), allowed), 0.97),
        told("provider's 429s, share of calls", ratio(len(made.refused), len(made.made))),
        told("calls that met the failure", len(made.failed)),
        *(told(f"status {status}, share", share) for status, share in _statuses(seen).items()),
        *machinery(seen),
    ]
    return Outcome(figures, [seen.raw()])


async def batch(setup: Setup) -> Outcome:
    """Interactive requests at half the limit, first alone and then with as much batch work as fits."""
    window = setup.window

    async def alone(load: Load) -> None:
        await load.open_loop(lambda _: LIMIT / 2, LIMIT / 2, window.end, random.Random(setup.seed))

    async def both(load: Load) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(load.closed_loop(BATCH_CLIENTS, BATCH, window.end))
            await alone(load)

    async with stage(setup.on, _plan(setup)) as on:
        off = await observe(on, "batch off", window, alone)
        seen = await observe(on, "batch on", window, both)
    before, after = (quantile(_times(one), 0.95) for one in (off, seen))
    answered = window.answered(seen.records)
    interactive = sum(record.klass == INTERACTIVE for record in answered)
    rest = LIMIT * window.seconds - interactive
    figures = [
        told("interactive p95 with batch off, s", before),
        told("interactive p95 with batch on, s", after),
        at_most("interactive p95, on by off", ratio(after, before), 1.10),
        at_least("batch, share of the rest", ratio(len(answered) - interactive, rest), 0.90),
        told("interactive requests not answered 200", _not_answered(off) + _not_answered(seen)),
        told("provider's 429s, share of calls", ratio(len(seen.made.refused), len(seen.made.made))),
    ]
    return Outcome([*figures, *machinery(off), *machinery(seen)], [off.raw(), seen.raw()])


def _times(seen: Observation) -> list[float]:
    return [record.seconds for record in seen.due if record.klass == INTERACTIVE and record.status == 200]


def _not_answered(seen: Observation) -> int:
    return sum(record.klass == INTERACTIVE and record.status != 200 for record in seen.due)


async def _overload(load: Load, end: float, limit: float, dice: random.Random) -> None:
    rate = limit * OVERLOAD
    await load.open_loop(lambda _: rate, rate, end, dice)


def _plan(setup: Setup, count: int = 1) -> Plan:
    return Plan({"only": LIMIT}, setup.learned, count, setup.seed, setup.pacing)


SCENARIOS: dict[str, Scenario] = {one.__name__: one for one in (bursts, sustained, workers, deployments, batch)}
