"""A consumer whose prefetch can change: RabbitMQ lets no live one change it, so another takes its place."""

import asyncio
import logging
from collections.abc import Callable

from broker.port import Bus, BusError, Consumer, OnDelivery

_LOG = logging.getLogger("penstock.worker")
_HYSTERESIS = 0.25  # seconds between two changes, and the fraction by which a prefetch must differ to be changed


class Tap:
    """Opened, resized and shut by `want`; what was delivered stays valid. Needs a running event loop."""

    def __init__(self, bus: Bus, queue: str, on_delivery: OnDelivery, priority: int = 0) -> None:
        self._bus = bus
        self._queue = queue
        self._on_delivery = on_delivery
        self.priority = priority
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._consumer: Consumer | None = None
        self._has = 0
        self._wanted = 0
        self._changed = self._clock() - _HYSTERESIS
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def want(self, prefetch: int) -> None:
        """How much to have in hand from now on; 0: nothing. Small changes, and too early ones, are left out."""
        if self._closed or prefetch == self._wanted or not self._matters(prefetch):
            return
        now = self._clock()
        if now - self._changed < _HYSTERESIS:
            return
        self._wanted, self._changed = prefetch, now
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow(), name=f"tap {self._queue}")

    async def start(self, prefetch: int) -> None:
        """Open for the first time. Raises `BusError` when there is no such queue."""
        self._wanted = prefetch
        await self._turn()

    async def close(self) -> None:
        """Shut for good; returns when nothing more will be delivered."""
        self._closed = True
        self._wanted = 0
        if self._task is not None:
            await asyncio.wait({self._task})
        await self._turn()

    def _matters(self, prefetch: int) -> bool:
        if not prefetch or not self._wanted:
            return True
        return abs(prefetch - self._wanted) > max(1.0, self._wanted * _HYSTERESIS)

    async def _follow(self) -> None:
        while self._has != self._wanted:
            try:
                await self._turn()
            except BusError as error:
                _LOG.warning("the queue %s cannot be consumed: %s", self._queue, error)
                self._wanted = self._has  # the next `want` tries again
                return

    async def _turn(self) -> None:
        wanted, old, new = self._wanted, self._consumer, None
        if wanted:
            new = await self._bus.consume(self._queue, self._on_delivery, wanted, self.priority)
        self._consumer, self._has = new, wanted
        if old is not None:
            await old.cancel()
