"""A queue of the in-process bus, with its deliveries and consumers. It behaves as a RabbitMQ classic queue does."""

import asyncio
from collections import deque
from collections.abc import Callable

from broker.callbacks import tell
from broker.port import Consumer, Delivery, Message, OnDelivery
from broker.topology import Queue


class MemoryDelivery:
    """A message in the queue or in somebody's hands; `holder` is whose."""

    __slots__ = ("body", "correlation", "expires", "holder", "id", "lost", "order", "redelivered", "reply_to")

    def __init__(self, message: Message, order: int, expires: float | None) -> None:
        self.body = message.body
        self.id = message.id
        self.correlation = message.correlation
        self.reply_to = message.reply_to
        self.redelivered = False
        self.lost = False
        self.order = order
        self.expires = expires
        self.holder: MemoryConsumer | None = None

    def ack(self) -> None:
        """It is done."""
        if self.holder is not None:
            self.holder.end(self)

    def reject(self) -> None:
        """It can never be done."""
        if self.holder is not None:
            self.holder.end(self).bury(self)

    def requeue(self) -> None:
        """Somebody else shall do it."""
        if self.holder is not None:
            self.holder.end(self).put_back(self)

    def message(self) -> Message:
        """As it was published, less its time to live."""
        return Message(self.body, self.id, self.correlation, self.reply_to)


class MemoryConsumer:
    """A consumer of one queue."""

    def __init__(self, queue: "MemoryQueue", on_delivery: OnDelivery, prefetch: int, priority: int) -> None:
        self.priority = priority
        self._queue = queue
        self._on_delivery = on_delivery
        self._room = prefetch

    @property
    def has_room(self) -> bool:
        """Whether it may get another one."""
        return self._room > 0

    async def cancel(self) -> None:
        """No further delivery."""
        self._queue.remove(self)

    def take(self, delivery: MemoryDelivery) -> None:
        """Deliver."""
        self._room -= 1
        delivery.holder = self
        tell(self._on_delivery, delivery)

    def end(self, delivery: MemoryDelivery) -> "MemoryQueue":
        """One that we held is out of our hands."""
        self._room += 1
        self._queue.let_go(delivery)
        return self._queue


class MemoryQueue:
    """Messages in order, delivered round-robin on the next turn of the event loop to whoever has room.

    As in RabbitMQ the bound counts what nobody holds, and a message expires when it reaches the head.
    """

    def __init__(self, queue: Queue, clock: Callable[[], float], dead_letter: Callable[[Message], None]) -> None:
        self._queue = queue
        self._clock = clock
        self._dead_letter = dead_letter
        self._loop = asyncio.get_running_loop()
        self._ready: deque[MemoryDelivery] = deque()
        self._bytes = 0
        self._order = 0
        self._consumers: deque[MemoryConsumer] = deque()
        self._held: set[MemoryDelivery] = set()
        self._woken = False
        self._timer: asyncio.TimerHandle | None = None

    def put(self, message: Message) -> bool:
        """Take a message over, or refuse it because the queue is full."""
        size, bound = len(message.body), self._queue.max_bytes
        if self._bytes + size > bound:
            if self._queue.full == "reject-publish":
                return False
            while self._ready and self._bytes + size > bound:
                self._next()
            if size > bound:
                return True  # it was its own head, and is dropped as that
        self._order += 1
        self._bytes += size
        self._ready.append(MemoryDelivery(message, self._order, self._expiry(message.ttl)))
        self.wake()
        return True

    def left(self) -> dict[str, bytes]:
        """The bodies of what waits and of what is in somebody's hands, by message id."""
        return {delivery.id: delivery.body for delivery in (*self._held, *self._ready)}

    def put_back(self, delivery: MemoryDelivery) -> None:
        """A requeued delivery goes where it was; the one in the consumer's hands stays void."""
        again = MemoryDelivery(delivery.message(), delivery.order, delivery.expires)
        again.redelivered = True
        at = 0
        for other in self._ready:
            if other.order > again.order:
                break
            at += 1
        self._ready.insert(at, again)
        self._bytes += len(again.body)
        self.wake()

    def bury(self, delivery: MemoryDelivery) -> None:
        """A message that was rejected or has expired."""
        if self._queue.dead_letters:
            self._dead_letter(delivery.message())

    def consume(self, on_delivery: OnDelivery, prefetch: int, priority: int) -> MemoryConsumer:
        """Add a consumer."""
        consumer = MemoryConsumer(self, on_delivery, prefetch, priority)
        self._consumers.append(consumer)
        self.wake()
        return consumer

    def remove(self, consumer: MemoryConsumer) -> None:
        """Deliver to it no more."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._consumers.clear()
        self._ready.clear()
        for delivery in self._held:
            delivery.holder = None
            delivery.lost = True

    def let_go(self, delivery: MemoryDelivery) -> None:
        """A delivery is ended: there may be room for another one."""
        delivery.holder = None
        self._held.discard(delivery)
        self.wake()

    def wake(self) -> None:
        """Deliver what can be delivered, on the next turn of the event loop."""
        if not self._woken and self._ready:
            self._woken = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        now = self._clock()
        while self._ready:
            expires = self._ready[0].expires
            if expires is not None and expires <= now:
                self.bury(self._next())
                continue
            consumer = self._free_consumer()
            if consumer is None:
                self._wait_for_expiry(expires, now)
                return
            delivery = self._next()
            self._held.add(delivery)
            consumer.take(delivery)

    def _next(self) -> MemoryDelivery:
        delivery = self._ready.popleft()
        self._bytes -= len(delivery.body)
        return delivery

    def _free_consumer(self) -> MemoryConsumer | None:
        """The one of the highest priority with room; equals take turns."""
        free = [consumer for consumer in self._consumers if consumer.has_room]
        if not free:
            return None
        found = max(free, key=lambda consumer: consumer.priority)
        self._consumers.remove(found)
        self._consumers.append(found)
        return found

    def _wait_for_expiry(self, expires: float | None, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if expires is not None:
            self._timer = self._loop.call_later(expires - now, self._deliver)

    def _expiry(self, ttl: float | None) -> float | None:
        keep = self._queue.keep
        if keep is not None:
            ttl = keep if ttl is None else min(ttl, keep)
        return None if ttl is None else self._clock() + ttl


_: tuple[type[Consumer], type[Delivery]] = (MemoryConsumer, MemoryDelivery)
