"""The `Bus` port: everything the other rooms know about how messages travel.

`broker.rabbitmq` and `broker.memory` implement it; `tests/contract/test_bus.py` runs on both. Callbacks are plain
functions, called on the event loop, and must not block or raise: whoever needs a task starts it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from broker.topology import Topology


class Address(NamedTuple):
    """Where a message is published."""

    exchange: str
    key: str


@dataclass(frozen=True, slots=True)
class Message:
    """What is published. `ttl` in seconds is a backstop: the broker drops (dead-letters) what nobody took in time."""

    body: bytes
    id: str = ""
    correlation: str = ""
    reply_to: str = ""
    ttl: float | None = None
    durable: bool = False


class Delivery(Protocol):
    """One message in our hands. Exactly one of `ack`, `reject` and `requeue` ends it.

    If the connection is lost first the delivery is void (`lost` is True): ending it does nothing, and the broker
    gives the message to somebody else.
    """

    body: bytes
    id: str
    correlation: str
    reply_to: str
    redelivered: bool
    lost: bool

    def ack(self) -> None:
        """It is done."""

    def reject(self) -> None:
        """It can never be done: to the dead-letter exchange."""

    def requeue(self) -> None:
        """Somebody else shall do it, now: never a way to wait."""


class BusError(Exception):
    """A message was not taken over by the bus. It was not, and will not be, delivered."""


class Unroutable(BusError):
    """No queue is bound for that address."""


class QueueFull(BusError):
    """The queue is at its bound and refused the message."""


class BusDown(BusError):
    """No usable connection (`Bus.trouble` says why), or it was lost before the message was confirmed.

    A message that was lost unconfirmed may have been delivered: whoever publishes again needs an id to dedupe by.
    """


OnDelivery = Callable[[Delivery], None]
OnFailure = Callable[[BusError], None]


class Consumer(Protocol):
    """A consumer of one queue, on its own channel; it survives reconnects until it is cancelled."""

    async def cancel(self) -> None:
        """No further delivery; those in hand stay valid and must still be ended."""


class Inbox(Protocol):
    """A queue of this process alone. It dies with its connection and gets a new address with the next one."""

    address: str

    async def close(self) -> None:
        """Drop the queue."""


class Bus(Protocol):
    """One process's access to the bus. `open` first, `close` last; everything in between survives reconnects."""

    trouble: str | None
    """Why nothing can be published now ("not connected", "blocked: low on memory"), or None."""

    on_return: Callable[[Message, Address], None] | None
    """Told of every `send` that no queue took (an asker that is gone). The message has its `id` and `correlation`."""

    on_trouble: Callable[[str | None], None] | None
    """Told when `trouble` changes."""

    losses: int
    """Grows whenever something that was given to `send` may have been lost on its way out of this process."""

    async def open(self) -> None:
        """Connect and make sure of the topology. Raises `BusDown` when the first attempt fails."""

    async def extend(self, topology: Topology) -> None:
        """Make sure of this topology from now on; queues that only the one before had stay.

        Raises `BusDown`: no connection, or something is missing that this process may not declare.
        """

    async def close(self) -> None:
        """Flush what is written and disconnect."""

    def send(self, to: Address, message: Message) -> None:
        """Publish without confirmation, mandatory. When the bus is down the message is dropped; see `on_return`."""

    def post(self, to: Address, message: Message, on_failure: OnFailure) -> None:
        """Publish with confirmation, mandatory, without waiting: `on_failure` is called at most once, later or now."""

    def publish(self, to: Address, message: Message) -> Awaitable[None]:
        """Publish with confirmation, mandatory; awaiting what is returned raises `BusError`.

        The message is on its way when this returns, before whatever is sent after it.
        """

    async def flushed(self) -> None:
        """Return when what was published has mostly left this process: a sender's back-pressure."""

    async def consume(self, queue: str, on_delivery: OnDelivery, prefetch: int, priority: int = 0) -> Consumer:
        """Deliver from a queue of the topology, at most `prefetch` not yet ended at a time.

        Consumers of a higher `priority` get all that they have room for first.
        """

    async def inbox(
        self, exchange: str, on_message: Callable[[bytes, str], None], on_lost: Callable[[], None]
    ) -> Inbox:
        """Open a private queue bound to `exchange` under its own address; (body, correlation) of each message.

        On a fanout exchange every message arrives. `on_lost` is called when the connection, and with it whatever
        the queue held, is gone; the inbox comes back by itself, with another address, before `trouble` is None.
        """
