"""The bus inside one process: the same contract as RabbitMQ, without the wire. What it holds dies with the process."""

import asyncio
import functools
import secrets
from collections.abc import Callable, Iterable

from broker.callbacks import tell
from broker.memory_queue import MemoryConsumer, MemoryQueue
from broker.port import Address, Bus, BusDown, BusError, Inbox, Message, OnDelivery, OnFailure, QueueFull, Unroutable
from broker.topology import DEAD, Queue, Topology


class MemoryBus:
    """`broker.port.Bus` for the embedded mode and for tests. `clock` is in seconds, the event loop's by default."""

    def __init__(self, topology: Topology, clock: Callable[[], float] | None = None) -> None:
        self.trouble: str | None = "not connected"
        self.on_return: Callable[[Message, Address], None] | None = None
        self.on_trouble: Callable[[str | None], None] | None = None
        self.losses = 0
        self._topology = topology
        self._clock = clock
        self._queues: dict[str, MemoryQueue] = {}
        self._direct: dict[Address, MemoryQueue] = {}
        self._fanout: dict[str, list[MemoryQueue]] = {}
        self._inboxes: dict[str, dict[str, MemoryInbox]] = {}  # by exchange and address

    async def open(self) -> None:
        """Make the queues."""
        for exchange in self._topology.exchanges:
            self._inboxes[exchange.name] = {}
            if exchange.kind == "fanout":
                self._fanout[exchange.name] = []
        self._make(self._topology.queues)
        self._change(None)

    async def extend(self, topology: Topology) -> None:
        """Make the queues that are not there yet."""
        self._check()
        self._make(queue for queue in topology.queues if queue.name not in self._queues)

    async def close(self) -> None:
        """Stop delivering: what is in hand is void, what waits is gone."""
        self._change("closed")
        for queue in self._queues.values():
            queue.close()
        for inboxes in self._inboxes.values():
            for inbox in list(inboxes.values()):
                inbox.lose()

    def left(self, queue: str) -> dict[str, bytes]:
        """What nobody has ended, by message id: it dies with the process unless somebody keeps it."""
        return self._queues[queue].left()

    def send(self, to: Address, message: Message) -> None:
        """Publish; what no queue took comes back."""
        if isinstance(self._take(to, message), Unroutable) and self.on_return is not None:
            told = functools.partial(self.on_return, message)
            asyncio.get_running_loop().call_soon(tell, told, to)

    def post(self, to: Address, message: Message, on_failure: OnFailure) -> None:
        """Publish; a failure is known at once."""
        error = self._take(to, message)
        if error is not None:
            tell(on_failure, error)

    def publish(self, to: Address, message: Message) -> "asyncio.Future[None]":
        """Publish; the future has ended already."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        error = self._take(to, message)
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
        return done

    async def flushed(self) -> None:
        """Let what is on its way be delivered."""
        await asyncio.sleep(0)

    async def consume(self, queue: str, on_delivery: OnDelivery, prefetch: int, priority: int = 0) -> MemoryConsumer:
        """Consume. Raises Unroutable if there is no such queue."""
        self._check()
        if queue not in self._queues:
            raise Unroutable(f"no queue {queue!r}")
        return self._queues[queue].consume(on_delivery, prefetch, priority)

    async def inbox(
        self, exchange: str, on_message: Callable[[bytes, str], None], on_lost: Callable[[], None]
    ) -> "MemoryInbox":
        """Open an inbox."""
        self._check()
        if exchange not in self._inboxes:
            raise BusDown(f"no exchange {exchange!r}")
        return MemoryInbox(self._inboxes[exchange], on_message, on_lost)

    def _make(self, queues: Iterable[Queue]) -> None:
        clock = self._clock or asyncio.get_running_loop().time
        for queue in queues:
            made = self._queues[queue.name] = MemoryQueue(queue, clock, self._dead_letter)
            if queue.exchange in self._fanout:
                self._fanout[queue.exchange].append(made)
            else:
                self._direct[Address(queue.exchange, queue.name)] = made

    def _check(self) -> None:
        if self.trouble is not None:
            raise BusDown(self.trouble)

    def _take(self, to: Address, message: Message) -> BusError | None:
        if self.trouble is not None:
            return BusDown(self.trouble)
        queue = self._direct.get(to)
        if queue is not None:
            return None if queue.put(message) else QueueFull(f"{to.key!r} is full")
        inboxes = self._inboxes.get(to.exchange, {})
        if to.exchange in self._fanout:
            return self._spread(to, message, inboxes)
        inbox = inboxes.get(to.key)
        if inbox is None:
            return Unroutable(f"no queue for {to.key!r}")
        inbox.put(message)
        return None

    def _spread(self, to: Address, message: Message, inboxes: "dict[str, MemoryInbox]") -> BusError | None:
        queues = self._fanout[to.exchange]
        if not queues and not inboxes:
            return Unroutable(f"nobody listens on {to.exchange!r}")
        for inbox in inboxes.values():
            inbox.put(message)
        taken = [queue.put(message) for queue in queues]
        return None if all(taken) else QueueFull(f"a queue on {to.exchange!r} is full")

    def _dead_letter(self, message: Message) -> None:
        for queue in self._fanout.get(DEAD, ()):
            queue.put(message)

    def _change(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            if self.on_trouble is not None:
                tell(self.on_trouble, trouble)


class MemoryInbox:
    """A private queue: a name on an exchange, and a callback on the next turn of the event loop."""

    def __init__(
        self,
        exchange: "dict[str, MemoryInbox]",
        on_message: Callable[[bytes, str], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.address = f"inbox.{secrets.token_urlsafe(18)}"
        self._exchange = exchange
        self._on_message = on_message
        self._on_lost = on_lost
        self._waiting: list[Message] = []
        self._closed = False
        exchange[self.address] = self

    async def close(self) -> None:
        """Drop the queue."""
        self._closed = True
        self._exchange.pop(self.address, None)

    def put(self, message: Message) -> None:
        """Deliver, soon."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._waiting.append(message)

    def lose(self) -> None:
        """The bus is closed."""
        self._closed = True
        self._exchange.pop(self.address, None)
        tell(lambda _: self._on_lost(), None)

    def _deliver(self) -> None:
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            if not self._closed:
                tell(self._hand_over, message)

    def _hand_over(self, message: Message) -> None:
        self._on_message(message.body, message.correlation)


_: tuple[type[Bus], type[Inbox]] = (MemoryBus, MemoryInbox)
