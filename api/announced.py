"""Attempts that were announced to us and have not ended: the ones that nobody else would tell the ledger about.

One that has no end by its deadline and a grace, or whose worker is gone, is recorded as lost: its cost estimated from
what was sent and what came back. If its own event arrives after all, that replaces the estimate (`ledger.spend`).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from api.pending import Pending
from broker.outbox import Outbox
from schemas.attempt import End, usage_event
from schemas.envelope import Started
from schemas.failures import Kind
from schemas.usage import Status, Usage, UsageEvent

_LOG = logging.getLogger("penstock.api")
_GRACE = 10.0  # seconds after its deadline until an attempt without an end counts as lost

Price = Callable[[str, str, Usage], Decimal | None]
"""(deployment id, model, usage) -> US dollars, None if unknown."""


@dataclass(frozen=True, slots=True)
class Announced:
    """An attempt under way, and the request that it is for."""

    started: Started
    pending: Pending
    expires: float


class AnnouncedAttempts:
    """The register of one API process. Times in seconds since the epoch."""

    def __init__(self, outbox: Outbox, price: Price, now: Callable[[], float]) -> None:
        self._outbox = outbox
        self._price = price
        self._now = now
        self._open: dict[str, Announced] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __contains__(self, attempt: str) -> bool:
        return attempt in self._open

    def begin(self, started: Started, pending: Pending) -> None:
        """The attempt is about to call its upstream."""
        self._open[started.attempt] = Announced(started, pending, pending.request.deadline + _GRACE)

    def end(self, attempt: str) -> None:
        """The attempt has told its end; its worker tells the ledger."""
        self._open.pop(attempt, None)

    def by_worker(self, process: str) -> list[Announced]:
        """What this worker process had begun and not ended."""
        return [announced for announced in self._open.values() if announced.started.worker == process]

    def lose(self, attempt: str) -> None:
        """Tell the ledger that nobody knows how this attempt ended."""
        announced = self._open.pop(attempt, None)
        if announced is not None:
            task = asyncio.create_task(self._outbox.report(self._lost(announced)), name="report lost attempt")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def sweep(self) -> None:
        """Lose what is overdue; an answer that still streams is not."""
        now = self._now()
        for attempt, announced in list(self._open.items()):
            if announced.expires < now and not (announced.pending.opened and not announced.pending.done):
                self.lose(attempt)

    async def close(self, patience: float) -> None:
        """Lose all that is left; what the bus does not take within `patience` seconds stays in the outbox."""
        for attempt in list(self._open):
            self.lose(attempt)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cost(self, started: Started, usage: Usage) -> Decimal | None:
        try:
            return self._price(started.deployment, started.model, usage)
        except Exception:  # noqa: BLE001 (a price that cannot be told is unknown; row and sweep must not end over it)
            _LOG.exception("no price could be told for %r", started.model)
            return None

    def _lost(self, announced: Announced) -> UsageEvent:
        started, pending = announced.started, announced.pending
        usage = Usage(prompt=pending.course.prompt, completion=pending.events, estimated=True)
        cost = self._cost(started, usage)
        end = End(int(self._now() * 1e6), Status.LOST, usage, cost, Kind.WORKER_LOST.value)
        return usage_event(pending.request, started, end)
