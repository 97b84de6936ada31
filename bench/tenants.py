"""`make bench-tenants`: whether budgets and limits hold over API processes at full size, some fifteen minutes.

    python -m bench.tenants [--scenario plain,api-killed] [--seed 1]

Real processes: RabbitMQ, Postgres, three API processes, two workers, accounting, and an upstream whose calls use 1 to
100 % of what they may. 64 clients spend a budget of one dollar while something happens to one of the processes, and a
key of 600 requests a minute is asked for twice as many, nine tenths of them at one process. Prints each figure with its
bound and keeps all in `bench/results/tenants/`; ends with 0 when every figure is within its bound.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from bench.overload.figures import Figure, at_least, at_most, told
from bench.processes import RESULTS
from tests.chaos.ground import until
from tests.chaos.tenants import DEAREST, Key, Tenants, tenants
from tests.e2e.stand import urls
from tests.support.postgres import PostgresServer, private_postgres
from tests.support.rabbitmq import RabbitMQServer, private_rabbitmq

CLIENTS = 64
LEASE, TIMEOUT, LAG = 5.0, 10.0, 75.0  # seconds; accounting is away for less than the last
OUTAGE = 60.0  # seconds without accounting
MIDDLE = Decimal("0.3")  # US dollars that are recorded when something happens
RPM, MINUTES = 600, 4
FAR = 1000.0  # US dollars: a budget whose end nobody comes near
MIDDLING = 8.0  # US dollars: a budget of some thousand calls
LONGEST = 400.0  # seconds for one scenario


class Place(NamedTuple):
    """Where a scenario takes place."""

    tenants: Tenants
    postgres: PostgresServer
    seed: int


Fault = Callable[[Place], Awaitable[None]]


async def nothing(_: Place) -> None:
    """Nothing happens."""


async def api_killed(on: Place) -> None:
    """An API process is killed with -9, and another takes its place."""
    on.tenants.house.processes["api1"].kill()
    await on.tenants.replace(1)


async def api_stopped(on: Place) -> None:
    """An API process stands still for twice the lease, and goes on."""
    process = on.tenants.house.processes["api2"]
    process.signal(signal.SIGSTOP)
    await asyncio.sleep(2 * LEASE)
    process.signal(signal.SIGCONT)


async def postgres_restarted(on: Place) -> None:
    """Postgres is stopped, and started after five seconds."""
    await asyncio.to_thread(on.postgres.stop)
    await asyncio.sleep(5)
    await asyncio.to_thread(on.postgres.start)


async def accounting_away(on: Place) -> None:
    """Accounting stands still for a minute."""
    process = on.tenants.house.processes["accounting"]
    process.signal(signal.SIGSTOP)
    await asyncio.sleep(OUTAGE)
    process.signal(signal.SIGCONT)


async def accounting_ended(on: Place) -> None:
    """Accounting is killed, and started after a minute."""
    house = on.tenants.house
    house.processes["accounting"].kill()
    await house.processes["accounting"].exited()
    await asyncio.sleep(OUTAGE)
    await house.add("accounting", "accounting")


FAULTS: dict[str, Fault] = {
    "plain": nothing,
    "api-killed": api_killed,
    "api-stopped": api_stopped,
    "postgres-restarted": postgres_restarted,
    "accounting-away": accounting_away,
    "accounting-ended": accounting_ended,
}


async def budget(on: Place, fault: Fault) -> list[Figure]:
    """One dollar, spent by all clients until each is refused for good."""
    t, chance = on.tenants, random.Random(on.seed)
    key = await t.doors[0].key(max_budget=1.0)
    before, began = await statements(t), time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(t.spend_all(key, CLIENTS, chance))
        await t.spent_at_least(key, MIDDLE)
        await fault(on)
    seconds = time.monotonic() - began
    spent = await t.settled(key, within=60)
    asked = sum(t.seen.values())
    return [
        at_most("US dollars recorded (a dollar, and what one estimate may be wrong by)", float(spent.balance), bound()),
        at_least("share of the budget that was used", float(spent.balance), 0.97),
        at_most("difference of balance, rows, total and /key/info", await difference(t, key), 0.0),
        told("calls", spent.calls),
        told("requests", asked),
        told("requests that were told to wait for reservations", t.seen["429 budget_exceeded"]),
        told("requests that no server answered in time", asked - t.seen["200"] - refused(t)),
        told("statements per request, up to the end of the budget", (await statements(t) - before) / asked),
        told("seconds", seconds),
    ]


def bound() -> float:
    """US dollars."""
    return float(1 + DEAREST)


def refused(t: Tenants) -> int:
    """Requests that were refused for the budget's sake."""
    return sum(count for said, count in t.seen.items() if said.endswith("budget_exceeded"))


async def difference(t: Tenants, key: Key) -> float:
    """Between the largest and the smallest of what is said of a key's spend."""
    spent = await t.settled(key)
    said = (spent.balance, spent.rows, spent.total, await t.doors[0].spend(key))
    return float(max(said) - min(said))


async def statements(t: Tenants) -> int:
    """How often leases were asked for, so far. (Counted by the server as it was told by `track_functions`.)"""
    await t.value("SELECT pg_stat_force_next_flush()")
    found: int = await t.value(
        "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_user_functions WHERE funcname = 'lease_budgets'"
    )
    return found


async def far(on: Place) -> list[Figure]:
    """A budget that is far from its end, under all clients for twenty seconds."""
    end = time.monotonic() + 20

    async def over(_: Key) -> bool:
        return time.monotonic() >= end

    return await _statements_until(on, FAR, over)


async def below(on: Place) -> list[Figure]:
    """A budget of some thousand calls, until nine tenths of it are recorded."""

    async def over(key: Key) -> bool:
        spent = await on.tenants.value("SELECT sum(cost) FROM spend_logs WHERE key_hash = $1", key.id)
        return bool((spent or 0) >= 0.9 * MIDDLING)

    return await _statements_until(on, MIDDLING, over)


async def _statements_until(on: Place, most: float, over: Callable[[Key], Awaitable[bool]]) -> list[Figure]:
    t, chance, calls, done = on.tenants, random.Random(on.seed), 0, False
    key, before = await t.doors[0].key(max_budget=most), await statements(t)

    async def client() -> None:
        nonlocal calls
        while not done:
            status, kind, _ = await chance.choice(t.doors).ask(key, 200)
            assert status == 200, (status, kind)
            calls += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
        await until(lambda: over(key), LONGEST)
        done = True
    await asyncio.sleep(2)  # until what the servers count is told
    used = await statements(t) - before
    return [at_most("statements per request", used / calls, 0.05), told("calls", calls), told("statements", used)]


async def rate(on: Place) -> list[Figure]:
    """600 requests a minute, asked for twice as many for four minutes, nine tenths of them at one API process."""
    t, chance = on.tenants, random.Random(on.seed)
    key = await t.doors[0].key(rpm_limit=RPM)
    first, began = len(t.provider.times), time.monotonic()
    end, every, said = began + 60 * MINUTES, 60 / (2 * RPM), dict[int, int]()

    async def one() -> None:
        status, _, _ = await chance.choices(t.doors, [18, 1, 1])[0].ask(key, 100)
        said[status] = said.get(status, 0) + 1

    async with asyncio.TaskGroup() as group:
        for number in range(int(60 * MINUTES / every)):
            await asyncio.sleep(max(0.0, began + number * every - time.monotonic()))
            group.create_task(one())
    times = [at for at in t.provider.times[first:] if at < end]
    return [
        at_most("most calls that began in any 60 s", most_within(times, 60.0), RPM),
        at_least("share of the limit that was used", len(times) / (RPM * MINUTES), 0.95),
        at_most("requests that were neither served nor refused", sum(said.values()) - said[200] - said[429], 0),
        told("requests", sum(said.values())),
        told("refused", said[429]),
    ]


def most_within(times: list[float], seconds: float) -> int:
    """The largest number of moments in any window of so many seconds."""
    ordered = sorted(times)
    return max((bisect_left(ordered, at + seconds) - n for n, at in enumerate(ordered)), default=0)


def _of(fault: Fault) -> Callable[[Place], Awaitable[list[Figure]]]:
    return lambda on: budget(on, fault)


SCENARIOS: dict[str, Callable[[Place], Awaitable[list[Figure]]]] = {
    **{name: _of(fault) for name, fault in FAULTS.items()},
    "far": far,
    "below": below,
    "rate": rate,
}


@contextmanager
def servers() -> Iterator[tuple[RabbitMQServer, PostgresServer]]:
    """Private ones."""
    with private_rabbitmq() as rabbitmq, private_postgres(options={"track_functions": "pl"}) as postgres:
        yield rabbitmq, postgres


@asynccontextmanager
async def place(rabbitmq: RabbitMQServer, postgres: PostgresServer, seed: int) -> AsyncIterator[Place]:
    """A Penstock of its own for one scenario."""
    settings = {"LEASE": LEASE, "REQUEST_TIMEOUT": TIMEOUT, "USAGE_LAG": LAG}
    with urls(rabbitmq.broker, postgres.postgres) as environ, tempfile.TemporaryDirectory() as folder:
        amqp, sql = environ["AMQP_URL"], environ["DATABASE_URL"]
        given = {f"PENSTOCK_{name}": f"{value:g}" for name, value in settings.items()}
        async with tenants(Path(folder), amqp, sql, workers=2, seed=seed, **given) as t:
            yield Place(t, postgres, seed)


async def run(names: list[str], seed: int) -> int:
    """The scenarios one after the other; the number of figures that are not within their bound."""
    folder, failed = RESULTS / "tenants" / time.strftime("%Y%m%d-%H%M%S"), 0
    folder.mkdir(parents=True)
    with servers() as (rabbitmq, postgres):
        for name in names:
            print(name, flush=True)
            try:
                async with asyncio.timeout(LONGEST), place(rabbitmq, postgres, seed) as on:
                    figures = await SCENARIOS[name](on)
            except Exception:  # the other scenarios can still be measured  # noqa: BLE001
                traceback.print_exc()
                figures = [Figure("could not be measured", 0.0, "", False)]
            for figure in figures:
                print(figure.line(), flush=True)
            failed += sum(figure.ok is False for figure in figures)
            (folder / f"{name}.json").write_text(json.dumps([figure._asdict() for figure in figures], indent=1))
    print(f"kept in {folder}")
    return failed


def main() -> int:
    """All, or what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default=",".join(SCENARIOS), help=f"of {', '.join(SCENARIOS)}; with commas")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    names = given.scenario.split(",")
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    return 1 if asyncio.run(run(names, given.seed)) else 0


if __name__ == "__main__":
    sys.exit(main())
