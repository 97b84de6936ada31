"""Usage events from the queue into the ledger, in batches: recorded, committed, and only then acknowledged."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from broker.port import Bus, Consumer, Delivery
from broker.topology import USAGE_QUEUE
from ledger.pool import FAILED, UNFIT, Pool, described
from ledger.rows import unstorable
from ledger.spend import Passed, record
from schemas.usage import UsageEvent, decode

_LOG = logging.getLogger("penstock.accounting")
_QUIET = 2.0  # seconds
_STALL = 12.0  # seconds between two looks at how far it is, after which this process stood still, and cannot know


@dataclass(frozen=True, slots=True)
class Pace:
    """How events are gathered and failures waited out. Times in seconds.

    `linger` is how long the first event of a batch waits for company: a statement costs some 0.5 ms whatever it holds,
    and nobody waits for a row. `prefetch` bounds what is held unacknowledged while Postgres is away.
    """

    prefetch: int = 500
    most: int = 200
    linger: float = 0.05
    retry_first: float = 0.1
    retry_most: float = 5.0
    farewell: float = 5.0  # what `stop` gives the batch in hand


class Accounting:
    """One consumer of the usage queue. Any number of processes may run one; an event that comes twice counts once."""

    def __init__(
        self,
        bus: Bus,
        pool: Pool,
        pace: Pace | None = None,
        jitter: Callable[[], float] = random.random,
        passed: Callable[[Passed], None] | None = None,
    ) -> None:
        self._bus = bus
        self._pool = pool
        self._pace = pace or Pace()
        self._jitter = jitter
        self._passed = passed
        self._waiting: list[tuple[Delivery, UsageEvent]] = []
        self._batch: list[tuple[Delivery, UsageEvent]] = []  # that is being recorded
        self._some = asyncio.Event()  # something waits, or stopping
        self._enough = asyncio.Event()  # a full batch waits, or stopping
        self._stopping = asyncio.Event()
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        """Why events are not being recorded now, or None."""
        self._newest = -math.inf  # microseconds since the epoch at which the last call ended of those that are recorded
        self._arrived = -math.inf  # loop time at which an event came last, or none could come
        self._looked = -math.inf  # loop time

    @property
    def held(self) -> list[UsageEvent]:
        """What is in our hands, and not recorded yet, as far as is known."""
        return [event for delivery, event in (*self._batch, *self._waiting) if not delivery.lost]

    def recorded_until(self) -> float | None:
        """Of all that was in our hands, calls that ended before this moment (seconds since the epoch) are recorded.

        The queue is in the order in which calls ended; it is empty when nothing has come for a while. What others did
        not record comes back into it, and then an older event may be in hand. None: the bus is away, and nothing is.
        """
        now, away, held = asyncio.get_running_loop().time(), self._bus.trouble is not None, self.held
        if away or self._consumer is None or now - self._looked > _STALL:
            self._arrived = now
        self._looked = now
        if held:
            return min(event.ended for event in held) / 1e6
        if away:
            return None
        return time.time() - _QUIET if now - self._arrived > _QUIET else self._newest / 1e6

    async def start(self) -> None:
        """Begin to consume. Raises `BusError`."""
        self._arrived = self._looked = asyncio.get_running_loop().time()
        self._consumer = await self._bus.consume(USAGE_QUEUE, self._took, self._pace.prefetch)
        self._task = asyncio.create_task(self._run(), name="accounting")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Take nothing more, record what is in hand, and leave what cannot be recorded in the queue."""
        if self._consumer is not None:
            await self._consumer.cancel()
        for event in (self._stopping, self._some, self._enough):
            event.set()
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=self._pace.farewell)
            for task in late:
                task.cancel()
                await asyncio.wait({task})

    async def pause(self, why: str) -> None:
        """Give back what is in hand, for others to record, and take nothing until `resume`."""
        if self._consumer is None:
            return
        consumer, self._consumer = self._consumer, None
        self._in_trouble(why)
        await consumer.cancel()
        if self._task is not None:
            self._task.cancel()  # what it records now may be recorded twice, and counts once
        held, self._batch, self._waiting = (*self._batch, *self._waiting), [], []
        for delivery, _ in held:
            delivery.requeue()

    async def resume(self) -> None:
        """Take events again after a pause. Raises `BusError`: then the pause goes on."""
        if self._consumer is None and not self._stopping.is_set():
            await self.start()
            self._in_trouble(None)

    def _took(self, delivery: Delivery) -> None:
        try:
            event = decode(delivery.body)
            wrong = unstorable(event)
        except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
            wrong = type(problem).__name__
        if wrong is not None:
            self._refuse(delivery, wrong)
            return
        if len(self._waiting) >= self._pace.prefetch:  # a new connection delivers again what the old one lost
            self._waiting = [held for held in self._waiting if not held[0].lost]
        self._waiting.append((delivery, event))
        self._arrived = asyncio.get_running_loop().time()
        self._some.set()
        if len(self._waiting) >= self._pace.most:
            self._enough.set()

    def _refuse(self, delivery: Delivery, why: str) -> None:
        _LOG.error("usage event %s cannot be recorded (%s): to the dead letters", delivery.id or "?", why)
        delivery.reject()

    async def _run(self) -> None:
        while await self._some.wait():
            if not self._waiting and self._stopping.is_set():
                return
            try:
                async with asyncio.timeout(self._pace.linger):
                    await self._enough.wait()
            except TimeoutError:
                pass
            self._batch, self._waiting = self._waiting[: self._pace.most], self._waiting[self._pace.most :]
            if not await self._persist(self._batch):
                return
            self._batch = []
            if not self._stopping.is_set():
                _set(self._some, bool(self._waiting))
                _set(self._enough, len(self._waiting) >= self._pace.most)

    async def _persist(self, batch: list[tuple[Delivery, UsageEvent]]) -> bool:
        """Record a batch in one transaction, however long Postgres is away; False when stopping came first.

        If Postgres refuses a value, each half is tried, until the event that holds it is alone.
        """
        pause = self._pace.retry_first
        while batch := [held for held in batch if not held[0].lost]:  # somebody else gets what was lost
            try:
                await record(self._pool, [event for _, event in batch], self._passed)
            except UNFIT as problem:
                if middle := len(batch) // 2:
                    return await self._persist(batch[:middle]) and await self._persist(batch[middle:])
                self._refuse(batch[0][0], type(problem).__name__)
                return True
            except FAILED as problem:
                self._in_trouble(described(problem))
            else:
                self._in_trouble(None)
                self._newest = max(event.ended for _, event in batch)
                for delivery, _ in batch:
                    delivery.ack()
                return True
            if await self._stopped_within(pause * (0.5 + self._jitter() / 2)):
                return False
            pause = min(pause * 2, self._pace.retry_most)
        return True

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    def _in_trouble(self, trouble: str | None) -> None:
        if trouble is not None and self.trouble is None:
            _LOG.warning("usage events wait in the queue: %s", trouble)
        if trouble is None and self.trouble is not None:
            _LOG.warning("usage events are recorded again")
        self.trouble = trouble

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        self.trouble = f"accounting stopped: {type(task.exception()).__name__}"
        _LOG.critical("accounting stopped", exc_info=task.exception())


def _set(event: asyncio.Event, wanted: bool) -> None:
    if wanted:
        event.set()
    else:
        event.clear()
