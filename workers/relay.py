"""Frames on their way to the asker: numbered, and those of a stream that come close together in one message."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal

from msgspec import structs

from broker.port import Address, Bus, Message
from broker.topology import REPLIES
from schemas.envelope import Answer, Chunk, Ended, Failed, Frame, Opened, Request, Started, pack
from schemas.failures import Failure
from schemas.usage import Usage

_PART = 2**20  # bytes of a long answer per message, and of a stream that wait for each other
_LONGEST = 8 * 2**20  # bytes of a stream's events per message: one event can be long, and RabbitMQ 4 takes 16 MiB


class Relay:
    """The way back to the asker for one attempt. Its frames arrive in order; `opened` once bytes have left."""

    def __init__(self, bus: Bus, request: Request, window: float) -> None:
        self._bus = bus
        self._to = Address(REPLIES, request.reply_to)
        self._request = request.id
        self._losses = bus.losses
        self._window = window
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._size = 0  # bytes of what waits
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._n = 0
        self.attempt = ""
        self.opened = False

    @property
    def torn(self) -> bool:
        """True if a frame may have been lost on its way out of this process."""
        return self._bus.losses != self._losses

    def started(self, frame: Started) -> None:
        """Announce the attempt that the following frames belong to."""
        self.attempt = frame.attempt
        self._send(frame)

    async def answer(self, head: Answer, body: bytes) -> None:
        """The whole answer; a long one in parts, no faster than the bus takes them."""
        self.opened = True
        if len(body) <= _PART:
            self._send(head, body)
            return
        self._send(structs.replace(head, usage=Usage(), more=True), body[:_PART])
        at = _PART
        while len(body) - at > _PART:
            self._chunk(body[at : at + _PART])
            at += _PART
            await self._bus.flushed()
        self._ended(body[at:], head.usage, head.cost)

    def open(self, headers: Mapping[str, str], data: bytes) -> None:
        """A stream's first bytes: they wait for nothing."""
        self.opened = True
        self._last = self._loop.time()
        self._send(Opened(attempt=self.attempt, headers=dict(headers)), data[:_LONGEST])
        if len(data) > _LONGEST:
            self._waiting.append(data[_LONGEST:])
            self._flush()

    async def push(self, data: bytes) -> None:
        """More of the stream: at once if the last message is a window ago, else together with what follows."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size > _PART:
            self._stop_timer()
            self._flush()
            await self._bus.flushed()
        elif self._timer is None:
            due = self._last + self._window
            if self._loop.time() >= due:
                self._flush()
                await self._bus.flushed()
            else:
                self._timer = self._loop.call_at(due, self._flush)

    def end(self, data: bytes, usage: Usage, cost: Decimal | None = None) -> None:
        """The stream's last bytes, with all that still waited."""
        self._stop_timer()
        self._waiting.append(data)
        *parts, last = self._gathered()
        for part in parts:
            self._chunk(part)
        self._ended(last, usage, cost)

    def fail(self, failure: Failure) -> None:
        """The attempt's end without (the rest of) an answer; what was already translated goes first."""
        self._stop_timer()
        if self._waiting:
            self._flush()
        self._send(Failed(failure=failure, attempt=self.attempt))

    def _flush(self) -> None:
        self._timer = None
        self._last = self._loop.time()
        for part in self._gathered():
            self._chunk(part)

    def _gathered(self) -> list[bytes]:
        """What has waited, in parts that a message can take; mostly one."""
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        return [data[at : at + _LONGEST] for at in range(0, len(data), _LONGEST)] or [b""]

    def _chunk(self, data: bytes) -> None:
        self._n += 1
        self._send(Chunk(attempt=self.attempt, n=self._n), data)

    def _ended(self, data: bytes, usage: Usage, cost: Decimal | None) -> None:
        self._n += 1
        self._send(Ended(attempt=self.attempt, n=self._n, usage=usage, cost=cost), data)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, frame: Frame, body: bytes = b"") -> None:
        self._bus.send(self._to, Message(pack(frame, body), correlation=self._request))
