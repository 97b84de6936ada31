"""Frames to the asker: the first at once, those that come together in one message, long ones in several."""

import asyncio
from collections.abc import Callable

from broker.memory import MemoryBus
from broker.topology import REPLIES, topology
from schemas.envelope import Answer, Chunk, Ended, Endpoint, Failed, Frame, Opened, Request, Started, unpack_frame
from schemas.failures import Failure, Kind
from schemas.usage import Usage
from tests.support.listeners import Heard
from workers.relay import Relay

MIB = 2**20


class Clock:
    """A loop whose time is set, and whose one alarm is rung, by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self._due.append((when, callback))
        return asyncio.TimerHandle(when, callback, (), asyncio.get_running_loop())

    def ring(self) -> None:
        self.now, callback = self._due.pop()
        callback()


class Ear:
    """A relay and what arrives from it."""

    async def open(self, window: float) -> "Ear":
        self.bus, self.heard = MemoryBus(topology(("g",), MIB)), Heard()
        await self.bus.open()
        inbox = await self.bus.inbox(REPLIES, self.heard, lambda: None)
        facts = {"group": "g", "model": "g", "received": 0.0, "deadline": 1.0, "reply_to": inbox.address}
        self.relay = Relay(self.bus, Request(id="r", endpoint=Endpoint.CHAT, **facts), window)
        self.relay.started(Started(attempt="a", worker="w", deployment="d", provider="p", model="m", at=1))
        assert isinstance((await self.next())[0], Started)
        return self

    async def next(self) -> tuple[Frame, bytes]:
        return unpack_frame((await self.heard.next())[0])


async def test_the_first_bytes_go_at_once_and_the_next_ones_together() -> None:
    ear, clock = await Ear().open(window=0.02), Clock()
    ear.relay._loop = clock  # type: ignore[assignment]  # as much of a loop as a relay needs
    ear.relay.open({"x": "1"}, b"1")
    assert await ear.next() == (Opened(attempt="a", headers={"x": "1"}), b"1")
    clock.now += 0.001
    for part in (b"2", b"3", b"4"):
        await ear.relay.push(part)
    assert ear.heard.waiting == 0
    clock.ring()
    assert await ear.next() == (Chunk(attempt="a", n=1), b"234")
    clock.now += 0.02
    await ear.relay.push(b"5")  # the last one is a window ago: nothing to wait for
    assert await ear.next() == (Chunk(attempt="a", n=2), b"5")
    await ear.relay.push(b"6")
    ear.relay.end(b"7", Usage(prompt=1))
    assert await ear.next() == (Ended(attempt="a", n=3, usage=Usage(prompt=1)), b"67")
    await ear.bus.close()


async def test_what_waits_is_bounded_and_a_failure_does_not_swallow_it() -> None:
    ear = await Ear().open(window=3600)
    ear.relay.open({}, b"1")
    await ear.next()
    await ear.relay.push(b"x" * MIB)
    await ear.relay.push(b"y")
    frame, body = await ear.next()
    assert (frame, len(body)) == (Chunk(attempt="a", n=1), MIB + 1)
    await ear.relay.push(b"z")
    ear.relay.fail(Failure(Kind.PROVIDER_BROKE_OFF, "early"))
    assert await ear.next() == (Chunk(attempt="a", n=2), b"z")
    failed, _ = await ear.next()
    assert isinstance(failed, Failed)
    await ear.bus.close()


async def test_one_long_event_is_several_messages() -> None:
    ear = await Ear().open(window=0)
    data = b"0123456789" * (2 * MIB)
    ear.relay.open({}, data)
    ear.relay.end(b"!", Usage())
    found = [await ear.next() for _ in range(4)]
    assert [type(frame) for frame, _ in found] == [Opened, Chunk, Chunk, Ended]
    assert max(len(body) for _, body in found) <= 8 * MIB
    assert b"".join(body for _, body in found) == data + b"!"
    await ear.bus.close()


async def test_a_long_answer_comes_in_parts() -> None:
    ear = await Ear().open(window=0)
    body = b"0123456789" * (MIB // 4)
    await ear.relay.answer(Answer(attempt="a", headers={"h": "v"}, usage=Usage(prompt=2)), body)
    found = [await ear.next() for _ in range(3)]
    assert found[0][0] == Answer(attempt="a", headers={"h": "v"}, more=True)
    assert found[-1][0] == Ended(attempt="a", n=2, usage=Usage(prompt=2))
    assert b"".join(part for _, part in found) == body
    await ear.bus.close()
