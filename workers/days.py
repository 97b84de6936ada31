"""Limits per day: the ledger counts what everybody has used, and each process may use its part of what is left."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from ledger.days import day_of, used_since
from ledger.pool import FAILED, Pool, described
from workers.gate import Gate

_LOG = logging.getLogger("penstock.worker")
_EVERY = 5.0  # seconds between two counts
_MORE_OFTEN = 1.0  # when little is left


class Days:
    """Grants the gates of one process their part of the day, again and again. `gates` may change meanwhile.

    Between two counts a process uses at most what it was granted. Its own calls under way are not in the ledger yet,
    and are taken off. While the ledger is away the last grant holds.
    """

    def __init__(self, pool: Pool, gates: Sequence[Gate], now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._gates = gates
        self._now = now
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Count once, then go on counting."""
        await self.count()
        self._task = asyncio.create_task(self._run(), name="count days")

    async def stop(self) -> None:
        """Count no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def count(self) -> bool:
        """Ask the ledger and grant; True if little is left somewhere."""
        scarce = False
        for gate in [gate for gate in self._gates if gate.limiter.day is not None]:
            try:
                scarce = await self._grant(gate) or scarce
            except FAILED as problem:
                self._assume(gate)
                _LOG.warning("the day's use of %s is not known: %s", gate.deployment.id, described(problem))
        return scarce

    async def _grant(self, gate: Gate) -> bool:
        day, limits = gate.limiter.day, gate.deployment.limits
        assert day is not None
        now = self._now()
        begin, end = day_of(now, limits.daily_reset)
        used = await used_since(self._pool, gate.deployment.id, begin)
        copies, running = gate.limiter.copies, gate.running
        until = asyncio.get_running_loop().time() + (end - now).total_seconds()
        requests = _part(limits.rpd, used.requests, copies) - running
        tokens = _part(limits.tpd, used.tokens, copies) - running * gate.limiter.typical
        day.grant(requests, tokens, until)
        return requests < copies * 10 + running

    def _assume(self, gate: Gate) -> None:
        """The ledger is away: what was granted holds for its day, and of a new one nothing is used yet."""
        day, limits, clock = gate.limiter.day, gate.deployment.limits, asyncio.get_running_loop().time
        assert day is not None
        if clock() >= day.until:
            now = self._now()
            until = clock() + (day_of(now, limits.daily_reset)[1] - now).total_seconds()
            copies = gate.limiter.copies
            day.grant(_part(limits.rpd, 0, copies), _part(limits.tpd, 0, copies), until)

    async def _run(self) -> None:
        scarce = False
        while True:
            await asyncio.sleep(_MORE_OFTEN if scarce else _EVERY)
            scarce = await self.count()


def _part(limit: float | None, used: int, copies: int) -> float:
    return float("inf") if limit is None else max(0.0, limit - used) / copies
