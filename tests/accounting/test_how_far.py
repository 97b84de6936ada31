"""What accounting says of itself: how far it has come, one of several, and what it does when nobody can hear it."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from broker.memory import MemoryBus
from broker.port import Address, BusDown, Message, OnDelivery
from broker.topology import USAGE, USAGE_QUEUE, topology
from ledger.leases import NANO
from ledger.pool import Pool, open_pool
from ledger.upkeep import recorded_until
from schemas.usage import UsageEvent, encode
from tests.accounting.test_consumer import QUICK, Held, Queue, attempts
from tests.chaos.ground import until
from tests.ledger.events import event
from tests.ledger.test_lapse import lapse
from tests.ledger.test_leases import ask
from tests.support.proxy import Proxy
from workers.accounting import consumer as module
from workers.accounting.consumer import Accounting, Pace
from workers.accounting.upkeep import say_goodbye, say_how_far

BEAT = 0.1


@asynccontextmanager
async def accounting(bus: Any, pool: Pool, pace: Pace = QUICK) -> AsyncIterator[Accounting]:
    """One that consumes."""
    made = Accounting(bus, pool, pace)
    await made.start()
    yield made
    await made.stop()


@asynccontextmanager
async def saying(pool: Pool, process: str, accounting: Accounting) -> AsyncIterator[None]:
    """It says how far it is."""
    await recorded_until(pool, process)
    task = asyncio.create_task(say_how_far(pool, process, accounting, BEAT))
    yield
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    bus = MemoryBus(topology([], 2**20))
    await bus.open()
    yield bus
    await bus.close()


def ended(name: str, ago: float) -> UsageEvent:
    """A call that ended so many seconds ago."""
    at = int((time.time() - ago) * 1e6)
    return event(name, started=at, ended=at)


async def publish(bus: MemoryBus, *events: UsageEvent) -> None:
    for one in events:
        await bus.publish(Address(USAGE, USAGE_QUEUE), Message(encode(one), id=one.attempt))


async def holds(accounting: Accounting, count: int) -> bool:
    return len(accounting.held) == count


async def has(pool: Pool, names: set[str]) -> bool:
    """Whether these are recorded."""
    return set(await attempts(pool)) == names


def send(queue: Queue, one: UsageEvent) -> Held:
    return queue.send(encode(one))[0]


async def test_it_is_what_is_recorded_or_now_when_nothing_comes(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue()
    async with accounting(queue, pool) as a:
        assert a.recorded_until() == -math.inf
        one = ended("a1", 100)
        await send(queue, one).ended
        await until(partial(holds, a, 0))
        assert a.recorded_until() == one.ended / 1e6
        monkeypatch.setattr(module, "_QUIET", 0.0)
        assert abs((a.recorded_until() or 0) - time.time()) < 5
        monkeypatch.setattr(module, "_STALL", 0.0)
        assert a.recorded_until() == one.ended / 1e6, "it stood still: more may be on its way"
        monkeypatch.setattr(module, "_STALL", 12.0)
        queue.trouble = "not connected"
        assert a.recorded_until() is None
        queue.trouble = None
        monkeypatch.setattr(module, "_QUIET", 1.0)
        assert a.recorded_until() == one.ended / 1e6, "what came meanwhile is on its way"


async def test_it_is_never_later_than_what_is_in_hand(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_QUIET", 0.0)
    queue = Queue()
    async with accounting(queue, pool, Pace(linger=60)) as a:
        newer, older = ended("new", 10), ended("old", 1000)
        held = send(queue, newer)
        assert a.recorded_until() == newer.ended / 1e6
        again = send(queue, older)  # another process had it, and is gone
        assert a.recorded_until() == older.ended / 1e6
        queue.trouble = "blocked"
        assert a.recorded_until() == older.ended / 1e6
        again.lost = True
        assert a.recorded_until() == newer.ended / 1e6
        held.lost = True
        assert a.recorded_until() is None


async def test_it_is_not_later_than_what_is_just_being_recorded(pool: Pool) -> None:
    queue = Queue()
    async with accounting(queue, pool) as a, pool.acquire() as lock:
        async with lock.transaction():
            await lock.execute("LOCK TABLE spend_logs")
            one = ended("a", 100)
            held = send(queue, one)
            async with asyncio.timeout(20):
                while not a._batch:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.005)
            assert a.recorded_until() == one.ended / 1e6
        await held.ended


async def test_no_lease_lapses_while_one_of_several_holds_its_events(pool: Pool, bus: MemoryBus) -> None:
    async def granted(holder: str) -> int:
        return (await ask(pool, holder, need=NANO, want=NANO)).granted

    async with (
        accounting(bus, pool, Pace(linger=60)) as holder,
        accounting(bus, pool) as other,
        saying(pool, "other", other),
    ):
        await recorded_until(pool, "holder")
        first, second = ended("first", 100), ended("second", 50)
        await publish(bus, first, second)
        await until(partial(has, pool, {"second"}))
        assert await granted("gone") == NANO
        await pool.execute("UPDATE leases SET until = now() - interval '75 seconds'")
        await recorded_until(pool, "holder", holder.recorded_until())

        async def said() -> bool:
            word = "SELECT at > now() - interval '1 minute' FROM recorded WHERE process = 'other'"
            return bool(await pool.fetchval(word))

        await until(said)
        assert await lapse(pool) == first.ended / 1e6
        assert await granted("api") == 0
        await say_goodbye(pool, "holder", holder)
        assert await granted("api") == 0, "it still holds what nobody else has"
        await holder.stop()
        assert await has(pool, {"first", "second"})
        await say_goodbye(pool, "holder", holder)
        assert await granted("api") == NANO


@pytest.mark.parametrize("silent", [False, True])
async def test_who_cannot_say_how_far_it_is_gives_its_events_to_others(
    pool: Pool, database_url: str, bus: MemoryBus, silent: bool
) -> None:
    async with Proxy(database_url) as proxy:
        far = await open_pool(proxy.url, size=1)
        async with accounting(bus, far) as cut_off, saying(far, "cut off", cut_off):
            await publish(bus, event("before"))
            await until(partial(has, pool, {"before"}))
            proxy.refusing = not silent
            for line in proxy.lines:
                line.stall() if silent else line.cut()
            await publish(bus, event("a"))
            await until(partial(holds, cut_off, 1))
            async with accounting(bus, pool):
                await until(partial(has, pool, {"before", "a"}))
                assert cut_off.trouble is not None
            proxy.refusing = False
            proxy.cut()
            await publish(bus, event("b"))
            await until(partial(has, pool, {"before", "a", "b"}))
            assert cut_off.trouble is None
        await far.close()


class Refusing(Queue):
    """A bus that goes away just when somebody wants to consume, so many times."""

    refusals = 0

    async def consume(self, queue: str, on_delivery: OnDelivery, prefetch: int) -> Queue:
        if self.refusals:
            self.refusals -= 1
            raise BusDown("not connected")
        return await super().consume(queue, on_delivery, prefetch)


async def test_a_pause_lasts_until_there_is_a_bus_too(pool: Pool) -> None:
    queue = Refusing()
    async with accounting(queue, pool, Pace(linger=60)) as a:
        held = send(queue, event("a"))
        (recording,) = [task for task in asyncio.all_tasks() if task.get_name() == "accounting"]
        await a.pause("the ledger is away")
        async with asyncio.timeout(20):
            await asyncio.wait({recording})
        assert held.ended.result() == "requeue"
        assert queue.deliver is None
        await a.pause("the ledger is away")
        assert a.recorded_until() == -math.inf, "it takes nothing, so it knows nothing"
        queue.refusals = 2

        async def consumes() -> bool:
            return queue.deliver is not None

        async with saying(pool, "a", a):
            await until(consumes)
        assert (queue.refusals, a.trouble) == (0, None)
    await a.resume()
    assert queue.deliver is None, "it has stopped"
