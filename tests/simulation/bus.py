"""A simulated RabbitMQ: the in-process bus's own queues behind connections that take their time and can be lost."""

import asyncio
from collections.abc import Callable

from broker.memory_queue import MemoryConsumer, MemoryDelivery, MemoryQueue
from broker.port import Address, Bus, BusDown, Message, OnDelivery, OnFailure, QueueFull, Unroutable
from broker.topology import EVENTS, USAGE, Topology
from tests.simulation.clock import Loop, Time

WAY = 0.0005  # seconds between a process and the broker; from one process to another it is two ways


class Broker:
    """Every queue and every inbox. The queues deliver on a loop of their own, which is never stopped."""

    def __init__(self, time: Time, topology: Topology) -> None:
        self.loop = Loop(time)
        self.up = True
        self.inboxes: dict[str, Ear] = {}  # of askers, by address
        self.ears: dict[str, Ear] = {}  # on the events
        self._wires: list[Wire] = []
        self._count = 0
        with self.loop.current():
            self.queues = {
                queue.name: MemoryQueue(queue, self.loop.time, _forget)
                for queue in topology.queues
                if queue.exchange != USAGE
            }

    def wire(self, loop: Loop) -> "Wire":
        """A connection for one process."""
        wire = Wire(self, loop)
        self._wires.append(wire)
        return wire

    def address(self) -> str:
        """A new inbox's name."""
        self._count += 1
        return f"inbox.{self._count}"

    def fail(self, seconds: float) -> None:
        """An outage: every connection is lost, and comes back when it is over. What waited in queues is still there."""
        self.up = False
        for wire in self._wires:
            wire.cut()
        self.loop.call_later(seconds, self._recover)

    def _recover(self) -> None:
        self.up = True
        for wire in self._wires:
            wire.mend()


class Wire:
    """`broker.port.Bus` for one process."""

    def __init__(self, broker: Broker, loop: Loop) -> None:
        self.trouble: str | None = None
        self.on_return: Callable[[Message, Address], None] | None = None
        self.on_trouble: Callable[[str | None], None] | None = None
        self.losses = 0
        self.loop = loop
        self.broker = broker
        self.taps: dict[Tap, None] = {}
        self._ears: list[Ear] = []
        self._gone = False

    async def open(self) -> None:
        """It is connected from the beginning."""

    async def close(self) -> None:
        """The process is gone."""
        self.leave()

    def leave(self) -> None:
        """As when the process has died: what it held is somebody else's."""
        self.cut()
        self._gone = True

    def send(self, to: Address, message: Message) -> None:
        """Publish."""
        if self.trouble is not None:
            self.losses += 1
        elif to.exchange == EVENTS:
            for ear in list(self.broker.ears.values()):
                ear.hear(message)
        elif to.key in self.broker.inboxes:
            self.broker.inboxes[to.key].hear(message)
        elif self.on_return is not None:
            self.loop.call_later(2 * WAY, self.on_return, message, to)

    def post(self, to: Address, message: Message, on_failure: OnFailure) -> None:
        """Publish to a queue."""
        queue = self.broker.queues.get(to.key)
        if self.trouble is not None:
            on_failure(BusDown(self.trouble))
        elif queue is None:
            self.loop.call_later(2 * WAY, on_failure, Unroutable(to.key))
        else:
            self.broker.loop.call_later(WAY, self._put, queue, message, on_failure)

    def publish(self, to: Address, message: Message) -> "asyncio.Future[None]":
        """A usage event: nobody waits for those here."""
        done = self.loop.create_future()
        if self.trouble is None or self._gone:
            done.set_result(None)
        else:
            done.set_exception(BusDown(self.trouble))
        return done

    async def flushed(self) -> None:
        """Nothing is kept on this side."""

    async def consume(self, queue: str, on_delivery: OnDelivery, prefetch: int, priority: int = 0) -> "Tap":
        """Consume a queue; without a connection from the next one on."""
        tap = Tap(self, self.broker.queues[queue], on_delivery, (prefetch, priority))
        self.taps[tap] = None
        if self.trouble is None:
            tap.mend()
        return tap

    async def inbox(
        self, exchange: str, on_message: Callable[[bytes, str], None], on_lost: Callable[[], None]
    ) -> "Ear":
        """An inbox, or an ear on the events."""
        ear = Ear(self, self.broker.ears if exchange == EVENTS else self.broker.inboxes, on_message, on_lost)
        self._ears.append(ear)
        ear.mend()
        return ear

    def cut(self) -> None:
        """The connection is gone: what is held is given to others, what was under way is lost."""
        if self.trouble is not None:
            return
        self.trouble = "connection lost"
        self.losses += 1
        for tap in list(self.taps):
            tap.cut()
        for ear in self._ears:
            ear.cut()

    def mend(self) -> None:
        """The connection is back."""
        if self._gone:
            return
        for ear in self._ears:
            ear.mend()
        self.trouble = None
        for tap in self.taps:
            tap.mend()

    def _put(self, queue: MemoryQueue, message: Message, on_failure: OnFailure) -> None:
        if self.broker.up and not queue.put(message):
            self.loop.call_later(WAY, on_failure, QueueFull("full"))


class Hand:
    """A delivery in a process's hands; void once its connection is gone."""

    __slots__ = ("_held", "_tap", "body", "correlation", "id", "lost", "redelivered", "reply_to")

    def __init__(self, held: MemoryDelivery, tap: "Tap") -> None:
        self.body, self.id, self.correlation, self.reply_to = held.body, held.id, held.correlation, held.reply_to
        self.redelivered, self.lost = held.redelivered, False
        self._held = held
        self._tap = tap

    def ack(self) -> None:
        """It is done."""
        if self._tap.let_go(self):
            self._held.ack()

    def reject(self) -> None:
        """It can never be done."""
        if self._tap.let_go(self):
            self._held.reject()

    def requeue(self) -> None:
        """Somebody else shall do it."""
        if self._tap.let_go(self):
            self._held.requeue()

    def lose(self) -> None:
        """The connection is gone."""
        self.lost = True
        self._held.requeue()


class Tap:
    """A consumer: what this side of the connection and the broker's know of it."""

    def __init__(self, wire: Wire, queue: MemoryQueue, on_delivery: OnDelivery, terms: tuple[int, int]) -> None:
        self._wire = wire
        self._queue = queue
        self._on_delivery = on_delivery
        self._terms = terms
        self._there: MemoryConsumer | None = None
        self._cancelled = False
        self._held: dict[Hand, None] = {}

    async def cancel(self) -> None:
        """No further delivery; what is on its way still comes, as it does before RabbitMQ's `cancel-ok`."""
        self._cancelled = True
        self._leave()

    def mend(self) -> None:
        """Consume."""
        if not self._cancelled:
            self._there = self._queue.consume(self._arrive, *self._terms)

    def cut(self) -> None:
        """What is held is given to others, in its old place."""
        held, self._held = self._held, {}
        for hand in held:
            hand.lose()
        self._leave()

    def let_go(self, hand: Hand) -> bool:
        """It has ended; False if it was not in hand any more."""
        if hand not in self._held:
            return False
        del self._held[hand]
        self._forget()
        return True

    def _leave(self) -> None:
        if self._there is not None:
            self._queue.remove(self._there)
            self._there = None
        self._forget()

    def _forget(self) -> None:
        if self._cancelled and not self._held:
            self._wire.taps.pop(self, None)

    def _arrive(self, held: object) -> None:
        assert isinstance(held, MemoryDelivery)
        hand = Hand(held, self)
        self._held[hand] = None
        self._wire.loop.call_later(WAY, self._take, hand)

    def _take(self, hand: Hand) -> None:
        if not hand.lost:
            self._on_delivery(hand)


class Ear:
    """An inbox: what is sent to it is heard two ways later, in order."""

    def __init__(
        self,
        wire: Wire,
        place: "dict[str, Ear]",
        on_message: Callable[[bytes, str], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.address = ""
        self._wire = wire
        self._place = place
        self._on_message = on_message
        self._on_lost = on_lost

    def mend(self) -> None:
        """There is such an inbox, under a new name."""
        self.address = self._wire.broker.address()
        self._place[self.address] = self

    def cut(self) -> None:
        """There is none any more."""
        self._place.pop(self.address, None)
        self.address = ""
        self._wire.loop.call_soon(self._on_lost)

    def hear(self, message: Message) -> None:
        """Something is on its way here."""
        self._wire.loop.call_later(2 * WAY, self._arrive, message, self.address)

    async def close(self) -> None:
        """It is not wanted any more."""
        self._place.pop(self.address, None)

    def _arrive(self, message: Message, address: str) -> None:
        if address == self.address:
            self._on_message(message.body, message.correlation)


def _forget(_message: Message) -> None:
    """What dies in a queue."""


_: type[Bus] = Wire
