"""One AMQP channel: calls that wait for their answer, publishing with and without confirms, deliveries."""

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pamqp import commands
from pamqp.base import Frame

from broker.amqp import wire
from broker.callbacks import tell
from broker.port import Address, Message

if TYPE_CHECKING:
    from broker.amqp.connection import Connection

_ADDRESSES_KEPT = 4096


class Closed(Exception):
    """The channel or its connection is gone. `code` is RabbitMQ's reply code, 0 when the connection broke."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


class Refused(Exception):
    """A confirm said no. `returned`: no queue is bound for the address; else the queue would not take it."""

    def __init__(self, returned: bool) -> None:
        super().__init__("returned" if returned else "refused")
        self.returned = returned


Settled = Callable[[Exception | None], None]
"""Told once of a confirmed publish: None when the broker took it, else Refused or Closed."""


class Channel:
    """Opened by `Connection.channel`. The three callbacks are plain functions; `on_closed` is told once."""

    def __init__(self, connection: "Connection", number: int) -> None:
        self.number = number
        self.closed: Closed | None = None
        self.on_delivery: Callable[[wire.Delivered], None] | None = None
        self.on_return: Callable[[wire.Returned], None] | None = None
        self.on_closed: Callable[[Closed], None] | None = None
        self._connection = connection
        self._calls: deque[asyncio.Future[Frame]] = deque()
        self._methods: dict[Address, bytes] = {}
        self._sequence = 0
        self._unconfirmed: dict[int, Settled] = {}
        self._returned: set[int] = set()

    async def call(self, method: Frame) -> Frame:
        """Send a method and wait for its answer. Raises Closed."""
        if self.closed is not None:
            raise self.closed
        answer: asyncio.Future[Frame] = self._connection.loop.create_future()
        self._calls.append(answer)
        self._connection.write(wire.method(method, self.number))
        return await answer

    async def confirm(self) -> None:
        """Switch to confirm mode: `post` may be used from then on."""
        await self.call(commands.Confirm.Select())

    @property
    def unconfirmed(self) -> int:
        """How many posts are not settled yet."""
        return len(self._unconfirmed)

    async def settled(self) -> None:
        """Return when nothing that was posted is unsettled."""
        while self._unconfirmed:
            tag, settled = next(iter(self._unconfirmed.items()))
            done = self._connection.loop.create_future()
            self._unconfirmed[tag] = functools.partial(_both, done, settled)
            await done

    def send(self, address: Address, message: Message, app: str = "") -> None:
        """Publish, mandatory. Raises ValueError, with nothing sent, for names that are too long."""
        flags, fields = wire.properties(message, app)
        method = self._methods.get(address)
        if method is None:
            if len(self._methods) >= _ADDRESSES_KEPT:
                self._methods.clear()
            method = self._methods[address] = wire.publish_method(self.number, *address)
        connection = self._connection
        connection.out.append(method)
        wire.put_content(connection.out, self.number, (flags, fields), message.body, connection.frame_max)
        connection.wake()

    def post(self, address: Address, message: Message, settled: Settled) -> None:
        """Publish, mandatory, on a channel in confirm mode.

        The delivery tag travels as app-id: confirms may be coalesced ("all up to 7"), so that the order of returns
        and confirms alone does not say which message it was that came back.
        """
        tag = self._sequence + 1
        self.send(address, message, str(tag))
        self._sequence = tag
        self._unconfirmed[tag] = settled

    def ack(self, tag: int) -> None:
        """Acknowledge one delivery."""
        self._connection.write(wire.ack(self.number, tag))

    def nack(self, tag: int, requeue: bool) -> None:
        """Give one delivery back, or to the dead letters."""
        self._connection.write(wire.nack(self.number, tag, requeue))

    async def close(self) -> None:
        """Close it in good order. What is unconfirmed is settled with Closed."""
        if self.closed is not None:
            return
        try:
            await self.call(_close())
        except Closed:
            return
        self._connection.forget(self.number)
        self.lose(Closed("closed"))

    def take(self, event: wire.Event) -> None:
        """Handle what arrived for this channel."""
        if isinstance(event, wire.Delivered):
            if self.on_delivery is not None and self.closed is None:
                self.on_delivery(event)
        elif isinstance(event, wire.Confirmed):
            self._confirmed(event)
        elif isinstance(event, wire.Returned):
            self._came_back(event)
        else:
            self._method(event)

    def lose(self, reason: Closed) -> None:
        """The channel is gone: settle everything that waits for it."""
        if self.closed is not None:
            return
        self.closed = reason
        for answer in self._calls:
            if not answer.done():
                answer.set_exception(reason)
        self._calls.clear()
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for settled in unconfirmed.values():
            tell(settled, reason)
        if self.on_closed is not None:
            tell(self.on_closed, reason)

    def _confirmed(self, event: wire.Confirmed) -> None:
        if event.multiple:
            for tag in self._up_to(event.tag):
                self._settle(tag, event.taken)
        else:
            self._settle(event.tag, event.taken)

    def _up_to(self, last: int) -> list[int]:
        tags = []
        for tag in self._unconfirmed:  # in the order of publishing
            if tag > last:
                break
            tags.append(tag)
        return tags

    def _settle(self, tag: int, taken: bool) -> None:
        settled = self._unconfirmed.pop(tag, None)
        returned = False
        if self._returned:
            returned = tag in self._returned
            self._returned.discard(tag)
        if settled is not None:
            tell(settled, None if taken and not returned else Refused(returned))

    def _came_back(self, event: wire.Returned) -> None:
        if event.properties.app:
            self._returned.add(int(event.properties.app))
        elif self.on_return is not None:
            self.on_return(event)

    def _method(self, method: Frame) -> None:
        if isinstance(method, commands.Channel.Close):
            self._connection.write(wire.method(commands.Channel.CloseOk(), self.number))
            self._connection.forget(self.number)
            self.lose(Closed(method.reply_text, method.reply_code or 0))
        elif isinstance(method, commands.Basic.Cancel):  # the queue is gone, or in 4.3 the consumer was too slow
            self._connection.write(wire.method(_close(), self.number))
            self.lose(Closed("the broker cancelled the consumer"))
        elif self.closed is not None:
            if isinstance(method, commands.Channel.CloseOk):
                self._connection.forget(self.number)
        elif self._calls:
            answer = self._calls.popleft()
            if not answer.done():
                answer.set_result(method)


def _both(done: asyncio.Future[None], settled: Settled, outcome: Exception | None) -> None:
    if not done.done():
        done.set_result(None)
    settled(outcome)


def _close() -> commands.Channel.Close:
    return commands.Channel.Close(reply_code=200, reply_text="", class_id=0, method_id=0)
