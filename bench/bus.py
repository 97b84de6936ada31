"""CPU and latency of one request and reply over the bus: `python -m bench.bus AMQP_URL [BROKER_PID]`.

Two processes with uvloop, as in production: one asks (post with confirm, an inbox for the answers), the other works (a
consumer, acks, the answer by `send`). Without an URL a private RabbitMQ is started. `--memory` is the embedded bus.
"""

import asyncio
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from broker.memory import MemoryBus
from broker.port import Address, Bus, BusError, Delivery, Message
from broker.rabbitmq import RabbitBus
from broker.topology import REPLIES, REQUESTS, requests_queue, topology
from tests.support.rabbitmq import private_rabbitmq

TOPOLOGY = topology(("bench",), 2**27)
TO = Address(REQUESTS, requests_queue("bench"))
REQUEST, ANSWER = b"x" * 600, b"y" * 700
Meter = Callable[[], float]
IN_FLIGHT, COUNT, IDLE = 32, 20000, 300


async def work(bus: Bus) -> None:
    """Answer everything."""

    def answer(delivery: Delivery) -> None:
        bus.send(Address(REPLIES, delivery.reply_to), Message(ANSWER, correlation=delivery.correlation))
        delivery.ack()

    await bus.consume(TO.key, answer, IN_FLIGHT * 2)


class Asker:
    """Round trips, `in_flight` at a time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._number = 0
        self._address = ""

    async def open(self) -> None:
        self._address = (await self._bus.inbox(REPLIES, self._answered, lambda: None)).address

    async def ask(self) -> None:
        self._number += 1
        key = str(self._number)
        done = self._waiting[key] = asyncio.get_running_loop().create_future()
        self._bus.post(TO, Message(REQUEST, key, key, self._address, 60.0), self._failed)
        await done

    def _answered(self, _: bytes, correlation: str) -> None:
        self._waiting.pop(correlation).set_result(None)

    def _failed(self, error: BusError) -> None:
        raise SystemExit(f"the bus refused: {error}")


async def ask_all(asker: Asker, count: int, in_flight: int) -> float:
    """Seconds for `count` round trips."""
    begun = time.perf_counter()

    async def one_after_the_other() -> None:
        for _ in range(count // in_flight):
            await asker.ask()

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    return time.perf_counter() - begun


def worker(url: str, pipe: Connection) -> None:
    """The worker process; tells its CPU seconds whenever it is asked."""

    async def main() -> None:
        bus = RabbitBus(url, TOPOLOGY, name="bench worker")
        await bus.open()
        await work(bus)
        pipe.send(0.0)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, pipe.recv):
            pipe.send(own_cpu())
        await bus.close()

    uvloop.run(main())


def own_cpu() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_of(pid: int) -> float:
    """CPU seconds of another process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(bus: Bus, others: dict[str, Meter]) -> None:
    """Print CPU per round trip under load, and the latency of single ones."""
    asker = Asker(bus)
    await asker.open()
    await ask_all(asker, COUNT // 10, IN_FLIGHT)
    meters: dict[str, Meter] = {"asker": own_cpu, **others}
    before = {name: meter() for name, meter in meters.items()}
    seconds = await ask_all(asker, COUNT, IN_FLIGHT)
    spent = {name: (meter() - before[name]) / COUNT * 1000 for name, meter in meters.items()}
    parts = ", ".join(f"{name} {each:.3f}" for name, each in spent.items())
    print(f"{IN_FLIGHT} in flight: {sum(spent.values()):.3f} ms CPU per round trip ({parts}), {COUNT / seconds:.0f}/s")
    single = []
    for _ in range(IDLE):
        await asyncio.sleep(0.005)
        single.append(await ask_all(asker, 1, 1) * 1000)
    print(f"idle: p50 {statistics.median(single):.2f} ms, p95 {statistics.quantiles(single, n=20)[-1]:.2f} ms")


def over_rabbitmq(url: str, broker_pid: int | None) -> None:
    """Measure with a worker process of its own."""
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=worker, args=(url, theirs))
    process.start()

    def worker_cpu() -> float:
        ours.send(True)
        return float(ours.recv())

    async def main() -> None:
        bus = RabbitBus(url, TOPOLOGY, name="bench asker")
        await bus.open()
        await asyncio.get_running_loop().run_in_executor(None, ours.recv)
        broker = {"RabbitMQ": lambda: cpu_of(broker_pid)} if broker_pid else {}
        await measure(bus, {"worker": worker_cpu, **broker})
        await bus.close()

    uvloop.run(main())
    ours.send(False)
    process.join()


def in_memory() -> None:
    """Measure the embedded bus."""

    async def main() -> None:
        bus = MemoryBus(TOPOLOGY)
        await bus.open()
        await work(bus)
        await measure(bus, {})
        await bus.close()

    uvloop.run(main())


if __name__ == "__main__":
    if "--memory" in sys.argv:
        in_memory()
    elif len(sys.argv) > 1:
        over_rabbitmq(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
    else:
        with private_rabbitmq() as server:
            over_rabbitmq(server.broker.base_url, server.pid)
