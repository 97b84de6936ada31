"""`make chaos`: minutes of load while one random thing after another is killed, stopped and restarted; then the audit.

    python -m tests.chaos.rampage [--seconds 120] [--seed N] [--only worker]

Ends with 0 when every caller got a whole answer or a clear error, none hung, and the ledger agrees with the upstream.
One fault at a time: a call whose worker and API process die together is the one that nobody can know of.
"""

import argparse
import asyncio
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.chaos.ground import Caller, Ground, ground
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitMQServer

CALLERS = 30
LONGEST = 60.0  # seconds that a call may take, through any fault
Fault = Callable[[], Awaitable[None]]


class Rampage:
    """The faults, each of which leaves the system whole again."""

    def __init__(self, g: Ground, rabbitmq: RabbitMQServer, postgres: PostgresServer, dice: random.Random) -> None:
        self._g = g
        self._rabbitmq = rabbitmq
        self._postgres = postgres
        self._dice = dice
        self._added = 0
        self.faults: tuple[Fault, ...] = (
            self.worker_killed,
            self.worker_ended,
            self.worker_stopped,
            self.accounting_killed,
            self.rabbitmq_killed,
            self.rabbitmq_stopped,
            self.postgres_stopped,
        )

    async def worker_killed(self) -> None:
        await self._replace("worker", signal.SIGKILL)

    async def worker_ended(self) -> None:
        await self._replace("worker", signal.SIGTERM)

    async def accounting_killed(self) -> None:
        await self._replace("accounting", signal.SIGKILL)

    async def worker_stopped(self) -> None:
        process = self._g.house.processes[self._one("worker")]
        process.signal(signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(0.5, 5))
        process.signal(signal.SIGCONT)

    async def rabbitmq_killed(self) -> None:
        await asyncio.to_thread(self._rabbitmq.kill)
        await asyncio.to_thread(self._rabbitmq.start)

    async def rabbitmq_stopped(self) -> None:
        await asyncio.to_thread(self._rabbitmq.stop)
        await asyncio.to_thread(self._rabbitmq.start)

    async def postgres_stopped(self) -> None:
        await asyncio.to_thread(self._postgres.stop)
        await asyncio.sleep(self._dice.uniform(0.5, 5))
        await self._g.ledger.reconnect((await asyncio.to_thread(self._postgres.start)).url())

    async def _replace(self, role: str, how: signal.Signals) -> None:
        process = self._g.house.processes[self._one(role)]
        process.signal(how)
        await process.exited(60)
        self._added += 1
        await self._g.house.add(f"{role} {self._added}", role)

    def _one(self, role: str) -> str:
        living = [name for name, one in self._g.house.processes.items() if one.process.returncode is None]
        return self._dice.choice([name for name in living if name.startswith(role)])


async def main(seconds: float, seed: int, only: str) -> None:
    """Load, faults, audit."""
    dice = random.Random(seed)
    seen: Counter[str] = Counter()
    rabbitmq, postgres = RabbitMQServer(), PostgresServer()
    try:
        amqp, sql = rabbitmq.start().base_url, postgres.start().url()
        with tempfile.TemporaryDirectory() as folder:
            async with ground(Path(folder), amqp, sql, workers=3, apis=2, slots=8) as g:
                load = [asyncio.create_task(_keep_asking(dice.choice(g.callers), dice, seen)) for _ in range(CALLERS)]
                ticking = asyncio.create_task(_tick(g, dice))
                faults = [one for one in Rampage(g, rabbitmq, postgres, dice).faults if only in one.__name__]
                await _faults(faults, dice, seconds)
                g.provider.gate.set()
                for task in (*load, ticking):
                    task.cancel()
                ended = await asyncio.gather(*load, ticking, return_exceptions=True)
                wrong = [one for one in ended if not isinstance(one, asyncio.CancelledError)]
                assert not wrong, wrong
                await _audit(g)
        print(dict(seen))
    finally:
        rabbitmq.discard()
        postgres.discard()


async def _faults(faults: list[Fault], dice: random.Random, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        await asyncio.sleep(dice.uniform(1, 4))
        fault = dice.choice(faults)
        print(fault.__name__, flush=True)
        await fault()


async def _tick(g: Ground, dice: random.Random) -> None:
    """Open and close the gate, so that calls are held for a while."""
    while True:
        g.provider.gate.set()
        await asyncio.sleep(dice.uniform(0.1, 1))
        g.provider.close_gate()
        await asyncio.sleep(dice.uniform(0.1, 1))


async def _keep_asking(caller: Caller, dice: random.Random, seen: Counter[str]) -> None:
    while True:
        how = dice.choice(["go", "hold", "early"])
        async with asyncio.timeout(LONGEST):
            outcome = await caller.ask(how, stream=how == "early" or dice.random() < 0.5)
        seen["answered" if outcome.complete else outcome.kind] += 1
        assert outcome.status, "an API process that lives broke a connection off"
        if not outcome.complete:
            await asyncio.sleep(0.2)


async def _audit(g: Ground) -> None:
    await g.caller.until_served()
    begun = g.provider.begun
    rows = []
    for _ in range(600):
        rows = await g.ledger.rows()
        if len(rows) >= begun:
            break
        await asyncio.sleep(0.1)
    states = Counter(row["status"] for row in rows)
    print(f"{begun} upstream calls begun, {len(rows)} rows: {dict(states)}")
    assert (
        begun <= len(rows) <= begun + states["lost"]
    )  # one that was killed between announcing and calling is lost too
    assert await g.ledger.sums_agree()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", default="", help="faults whose name holds this word")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    asyncio.run(main(given.seconds, given.seed, given.only))
