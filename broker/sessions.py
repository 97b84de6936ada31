"""What lives on RabbitMQ channels: the two publishers, consumers with their deliveries, inboxes."""

import secrets
from collections.abc import Callable
from typing import NamedTuple

from pamqp import commands
from pamqp.common import FieldTable

from broker.amqp.channel import Channel, Closed, Refused
from broker.amqp.connection import Connection
from broker.amqp.wire import Delivered, Returned
from broker.callbacks import tell
from broker.link import Link
from broker.port import Address, BusDown, BusError, Delivery, Message, OnDelivery, QueueFull, Unroutable

_TAG = "c"  # consumer tags are per channel, and each consumer has its own


class Frames:
    """The channel without confirms: what cannot be delivered comes back."""

    vital = True

    def __init__(self, on_return: Callable[[Message, Address], None], on_lost: Callable[[], None]) -> None:
        self.channel: Channel | None = None
        self._on_return = on_return
        self._on_lost = on_lost

    async def attach(self, connection: Connection) -> Channel:
        """Open the channel."""
        channel = await connection.channel()
        channel.on_return = self._returned
        self.channel = channel
        return channel

    def detached(self, reason: Closed) -> None:
        """Nothing is sent until the next one, and of what was sent nobody knows how much arrived."""
        self.channel = None
        self._on_lost()

    def _returned(self, event: Returned) -> None:
        known = event.properties
        message = Message(event.body, known.id, known.correlation, known.reply_to)
        self._on_return(message, Address(event.exchange, event.key))


class Confirmed:
    """The channel in confirm mode."""

    vital = True

    def __init__(self) -> None:
        self.channel: Channel | None = None

    async def attach(self, connection: Connection) -> Channel:
        """Open the channel and select confirms."""
        channel = await connection.channel()
        await channel.confirm()
        self.channel = channel
        return channel

    def detached(self, reason: Closed) -> None:
        """Nothing is posted until the next one; the channel itself has settled what was unconfirmed."""
        self.channel = None


def failure(outcome: Exception, to: Address) -> BusError:
    """What the bus says of a confirmed publish that went wrong."""
    if isinstance(outcome, BusError):
        return outcome
    if isinstance(outcome, Refused):
        return Unroutable(f"no queue for {to.key!r}") if outcome.returned else QueueFull(f"{to.key!r} is full")
    return BusDown(f"lost before it was confirmed: {outcome}")


class RabbitDelivery:
    """A delivery on one consumer's channel."""

    __slots__ = ("_consumer", "body", "correlation", "id", "lost", "redelivered", "reply_to", "tag")

    def __init__(self, consumer: "QueueConsumer", event: Delivered) -> None:
        self._consumer = consumer
        self.tag, self.redelivered, (self.id, self.correlation, self.reply_to, _), self.body = event
        self.lost = False

    def ack(self) -> None:
        """It is done."""
        channel = self._consumer.end(self)
        if channel is not None:
            channel.ack(self.tag)

    def reject(self) -> None:
        """It can never be done."""
        channel = self._consumer.end(self)
        if channel is not None:
            channel.nack(self.tag, requeue=False)

    def requeue(self) -> None:
        """Somebody else shall do it."""
        channel = self._consumer.end(self)
        if channel is not None:
            channel.nack(self.tag, requeue=True)


class Terms(NamedTuple):
    """How much a consumer gets at a time, and before whom."""

    prefetch: int
    priority: int = 0


class QueueConsumer:
    """A consumer of one queue."""

    vital = False

    def __init__(self, link: Link, queue: str, on_delivery: OnDelivery, terms: Terms) -> None:
        self._link = link
        self._queue = queue
        self._on_delivery = on_delivery
        self._terms = terms
        self._channel: Channel | None = None
        self._held: dict[int, RabbitDelivery] = {}
        self._cancelled = False
        self._stopped = False  # the broker has answered the cancel: nothing more will come

    async def attach(self, connection: Connection) -> Channel:
        """Consume on a channel of its own."""
        channel = await connection.channel()
        channel.on_delivery = self._delivered
        self._channel = channel
        await channel.call(commands.Basic.Qos(prefetch_count=self._terms.prefetch))
        if self._cancelled:  # meanwhile, and before there was anything to cancel
            await channel.close()
            raise Closed("cancelled")
        first: FieldTable = {"x-priority": self._terms.priority} if self._terms.priority else {}
        await channel.call(commands.Basic.Consume(queue=self._queue, consumer_tag=_TAG, arguments=first))
        return channel

    def detached(self, reason: Closed) -> None:
        """All deliveries in hand are void."""
        held, self._held, self._channel = self._held, {}, None
        for delivery in held.values():
            delivery.lost = True

    async def cancel(self) -> None:
        """Stop; what arrives from now on goes straight back. The channel stays until the last delivery is ended."""
        if self._cancelled:
            return
        self._cancelled = True
        self._link.remove(self)
        channel = self._channel
        if channel is None:
            return
        try:
            await channel.call(commands.Basic.Cancel(consumer_tag=_TAG))
            self._stopped = True
            if not self._held:
                await channel.close()
        except Closed:
            return

    def end(self, delivery: RabbitDelivery) -> Channel | None:
        """The channel to say it on, None when there is nothing to say."""
        if delivery.lost or self._held.pop(delivery.tag, None) is None:
            return None
        if self._stopped and not self._held and self._channel is not None:
            self._link.spawn(self._channel.close())
        return self._channel

    def _delivered(self, event: Delivered) -> None:
        delivery = RabbitDelivery(self, event)
        self._held[event.tag] = delivery
        if self._cancelled:
            delivery.requeue()
        else:
            self._on_delivery(delivery)


class QueueInbox:
    """A private queue; its name is new with every connection, so that a late frame cannot meet the wrong reader."""

    vital = True

    def __init__(
        self, link: Link, exchange: str, on_message: Callable[[bytes, str], None], on_lost: Callable[[], None]
    ) -> None:
        self.address = ""
        self._link = link
        self._exchange = exchange
        self._on_message = on_message
        self._on_lost = on_lost
        self._channel: Channel | None = None
        self._closed = False

    async def attach(self, connection: Connection) -> Channel:
        """Declare, bind, consume."""
        address = f"inbox.{secrets.token_urlsafe(18)}"
        channel = await connection.channel()
        channel.on_delivery = self._delivered
        await channel.call(
            commands.Queue.Declare(
                queue=address, exclusive=True, auto_delete=True, arguments={"x-queue-type": "classic"}
            )
        )
        # A fanout exchange does not look at the key.
        await channel.call(commands.Queue.Bind(queue=address, exchange=self._exchange, routing_key=address))
        await channel.call(commands.Basic.Consume(queue=address, consumer_tag=_TAG, no_ack=True))
        if self._closed:
            await channel.close()
            raise Closed("closed")
        self.address, self._channel = address, channel
        return channel

    def detached(self, reason: Closed) -> None:
        """Whatever it held is gone."""
        if self._channel is not None and not self._closed:
            tell(lambda _: self._on_lost(), reason)
        self._channel = None

    async def close(self) -> None:
        """Drop the queue: it goes with its only consumer."""
        if self._closed:
            return
        self._closed = True
        self._link.remove(self)
        if self._channel is not None:
            await self._channel.close()

    def _delivered(self, event: Delivered) -> None:
        if not self._closed:
            self._on_message(event.body, event.properties.correlation)


_: type[Delivery] = RabbitDelivery
