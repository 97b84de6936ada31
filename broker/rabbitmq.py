"""The bus over RabbitMQ. Publishing and consuming have a connection each: an alarm there must not stop acks here."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable

from broker import control
from broker.amqp.channel import Closed, Settled
from broker.amqp.connection import Connection, Options, connect
from broker.amqp.endpoint import Endpoint, endpoint
from broker.callbacks import tell
from broker.link import Link
from broker.port import Address, Bus, BusDown, BusError, Message, OnDelivery, OnFailure, Unroutable
from broker.sessions import Confirmed, Frames, QueueConsumer, QueueInbox, Terms, failure
from broker.topology import Topology

_LOG = logging.getLogger("penstock.bus")
_NOT_FOUND = 404


class RabbitBus:
    """`broker.port.Bus` on RabbitMQ 3.10 and 4.x. `heartbeat` and `goodbye` (how long `close` may take) in seconds."""

    def __init__(
        self,
        url: str,
        topology: Topology,
        *,
        name: str,
        declare: bool = True,
        heartbeat: int = 10,
        goodbye: float = 5.0,
    ) -> None:
        self.trouble: str | None = "not connected"
        self.on_return: Callable[[Message, Address], None] | None = None
        self.on_trouble: Callable[[str | None], None] | None = None
        self.losses = 0
        self._url = url
        self._topology = topology
        self._declare = declare
        self._goodbye = goodbye
        self._opened = self._closed = False
        self._frames = Frames(self._returned, self._lost)
        self._confirmed = Confirmed()
        where = endpoint(url)
        self._publishing = self._link(where, Options(f"{name} publishing", heartbeat))
        self._consuming = self._link(where, Options(f"{name} consuming", heartbeat))
        self._refusal: str | None = "not connected"  # why nothing can be posted

    async def open(self) -> None:
        """Connect and make sure of the topology. Raises BusDown."""
        if self._declare:
            await control.declare(self._url, self._topology)
        await self._publishing.add(self._frames)
        await self._publishing.add(self._confirmed)
        try:
            await self._publishing.open()
            await self._consuming.open()
        except Closed as error:
            await self.close()
            raise BusDown(str(error)) from None
        self._opened = True
        self._changed()

    async def extend(self, topology: Topology) -> None:
        """Declare the queues that the topology before did not have. Raises BusDown."""
        before, self._topology = self._topology, topology
        if not self._declare:
            return
        known = set(before.queues)
        new = tuple(queue for queue in topology.queues if queue not in known)
        try:
            if new:
                await control.declare(self._url, Topology((), new))
        except BusError:
            self._topology = before  # so that the next time they are new again
            raise

    async def close(self) -> None:
        """Wait for the confirms that are still out, say what is written, disconnect."""
        end = asyncio.get_running_loop().time() + self._goodbye
        channel = self._confirmed.channel
        if channel is not None:
            try:
                async with asyncio.timeout_at(end):
                    await channel.settled()
            except TimeoutError:
                _LOG.warning("closing with %s messages unconfirmed", channel.unconfirmed)
        self._closed = True
        self._changed()
        within = max(end - asyncio.get_running_loop().time(), 0.5)
        await asyncio.gather(self._publishing.close(within), self._consuming.close(within))

    def send(self, to: Address, message: Message) -> None:
        """Publish without confirmation."""
        channel = self._frames.channel
        if channel is not None:
            channel.send(to, message)
        else:
            self.losses += 1

    def post(self, to: Address, message: Message, on_failure: OnFailure) -> None:
        """Publish with confirmation; `on_failure` is called when it was not taken over."""
        self._post(to, message, functools.partial(_report, on_failure, to))

    def publish(self, to: Address, message: Message) -> "asyncio.Future[None]":
        """Publish; the future ends with the confirmation."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._post(to, message, functools.partial(_resolve, done, to))
        return done

    async def flushed(self) -> None:
        """Return when what was published has mostly left this process."""
        await self._publishing.flushed()

    async def consume(self, queue: str, on_delivery: OnDelivery, prefetch: int, priority: int = 0) -> QueueConsumer:
        """Consume; without a connection it begins with the next one. Raises Unroutable if there is no such queue."""
        consumer = QueueConsumer(self._consuming, queue, on_delivery, Terms(prefetch, priority))
        try:
            await self._consuming.add(consumer)
        except Closed as error:
            failed = Unroutable if error.code == _NOT_FOUND else BusDown
            raise failed(str(error)) from None
        return consumer

    async def inbox(
        self, exchange: str, on_message: Callable[[bytes, str], None], on_lost: Callable[[], None]
    ) -> QueueInbox:
        """Open an inbox. Raises BusDown without a connection: it would have no address."""
        inbox = QueueInbox(self._consuming, exchange, on_message, on_lost)
        try:
            await self._consuming.add(inbox)
        except Closed as error:
            raise BusDown(str(error)) from None
        if not inbox.address:
            self._consuming.remove(inbox)
            raise BusDown(self.trouble or "not connected")
        return inbox

    def _post(self, to: Address, message: Message, settled: Settled) -> None:
        channel = self._confirmed.channel
        if self._refusal is not None or channel is None:
            settled(BusDown(self._refusal or "not connected"))
            return
        channel.post(to, message, settled)

    def _link(self, where: Endpoint, options: Options) -> Link:
        def dial() -> Awaitable[Connection]:
            return connect(where, options)

        return Link(dial, self._repair, self._changed)

    async def _repair(self, reason: Closed) -> None:
        """Declare again what somebody deleted."""
        if not self._declare or reason.code != _NOT_FOUND:
            return
        try:
            await control.declare(self._url, self._topology)
        except BusError as error:
            _LOG.warning("the topology could not be declared again: %s", error)

    def _returned(self, message: Message, to: Address) -> None:
        if self.on_return is not None:
            self.on_return(message, to)

    def _lost(self) -> None:
        self.losses += 1

    def _changed(self) -> None:
        if not self._opened:
            return
        self._refusal = "closed" if self._closed else self._publishing.trouble
        trouble = self._refusal or self._consuming.trouble
        if trouble != self.trouble:
            self.trouble = trouble
            if self.on_trouble is not None:
                tell(self.on_trouble, trouble)


def _report(on_failure: OnFailure, to: Address, outcome: Exception | None) -> None:
    if outcome is not None:
        on_failure(failure(outcome, to))


def _resolve(done: asyncio.Future[None], to: Address, outcome: Exception | None) -> None:
    if done.done():
        return
    if outcome is None:
        done.set_result(None)
    else:
        done.set_exception(failure(outcome, to))


_: type[Bus] = RabbitBus
