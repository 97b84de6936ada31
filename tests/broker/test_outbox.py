"""The outbox: events are posted at once, posted again when refused, and survive on disk."""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.memory import MemoryBus
from broker.outbox import Outbox
from broker.port import Address, BusDown, Message
from broker.topology import USAGE_QUEUE, topology
from schemas.usage import Status, UsageEvent, decode
from tests.support.listeners import Taken


def event(attempt: str) -> UsageEvent:
    return UsageEvent(attempt=attempt, request="r", started=1, ended=2, status=Status.SUCCESS)


def files(spool: Path) -> list[Path]:
    return list(spool.iterdir())


class Deaf(MemoryBus):
    """Confirms nothing."""

    def publish(self, to: Address, message: Message) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    bus = MemoryBus(topology(("m",), 1000))
    await bus.open()
    yield bus
    await bus.close()


@pytest.fixture
async def taken(bus: MemoryBus) -> Taken:
    taken = Taken()
    await bus.consume(USAGE_QUEUE, taken, 100)
    return taken


async def spooled(spool: Path, *attempts: str) -> None:
    """What an earlier process could not send."""
    outbox = Outbox(Deaf(topology((), 1)), spool)
    waiting = [asyncio.create_task(outbox.report(event(attempt))) for attempt in attempts]
    assert outbox.held == len(attempts)
    assert outbox.spill() == len(attempts)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_an_event_is_on_its_way_before_what_is_sent_after_it(tmp_path: Path) -> None:
    order: list[str] = []

    class Noting(MemoryBus):
        def publish(self, to: Address, message: Message) -> "asyncio.Future[None]":
            order.append("event")
            return super().publish(to, message)

    bus = Noting(topology(("m",), 1000))
    await bus.open()
    confirmed = Outbox(bus, tmp_path).report(event("a"))
    order.append("frame")
    await confirmed
    assert order == ["event", "frame"]
    await bus.close()


async def test_an_event_that_is_refused_is_posted_again(tmp_path: Path, bus: MemoryBus, taken: Taken) -> None:
    refusals = [BusDown("once")]

    class Refusing(MemoryBus):
        def publish(self, to: Address, message: Message) -> "asyncio.Future[None]":
            if refusals:
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                done.set_exception(refusals.pop())
                return done
            return bus.publish(to, message)

    outbox = Outbox(Refusing(topology(("m",), 1000)), tmp_path)
    await outbox.report(event("a"))
    assert (await taken.next()).id == "a"
    assert outbox.held == 0


async def test_the_next_process_sends_what_was_spooled(tmp_path: Path, bus: MemoryBus, taken: Taken) -> None:
    await spooled(tmp_path, "a", "b")
    await spooled(tmp_path, "c")
    assert await Outbox(bus, tmp_path).send_spooled() == 3
    assert {decode(one.body).attempt for one in await taken.some(3)} == {"a", "b", "c"}
    assert not files(tmp_path)


async def test_a_file_that_another_process_is_sending_is_left_alone(tmp_path: Path, bus: MemoryBus) -> None:
    await spooled(tmp_path, "a")
    (path,) = files(tmp_path)
    with path.open("rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        assert await Outbox(bus, tmp_path).send_spooled() == 0
        assert path.exists()
    assert await Outbox(bus, tmp_path).send_spooled() == 1  # they died over it


async def test_a_sending_that_is_cut_short_loses_nothing(tmp_path: Path, bus: MemoryBus) -> None:
    await spooled(tmp_path, "a")
    sending = asyncio.create_task(Outbox(Deaf(topology((), 1)), tmp_path).send_spooled())
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.wait({sending})
    assert await Outbox(bus, tmp_path).send_spooled() == 1


async def test_what_cannot_be_read_is_kept_and_the_rest_is_sent(tmp_path: Path, bus: MemoryBus, taken: Taken) -> None:
    await spooled(tmp_path, "a")
    (path,) = files(tmp_path)
    path.write_bytes(b"{no\n" + path.read_bytes() + b"\xff\n")
    assert await Outbox(bus, tmp_path).send_spooled() == 1
    assert (await taken.next()).id == "a"
    assert [one.read_bytes() for one in files(tmp_path)] == [b"{no\n\xff\n"]
