"""Beside accounting: says how far it has come, and tidies the ledger now and then."""

import asyncio
import logging
from collections.abc import Callable

from ledger.pool import FAILED, Pool, described
from ledger.upkeep import recorded_until, tidy

_LOG = logging.getLogger("penstock.accounting")
_EVERY = 600.0  # seconds
_BEAT = 5.0  # seconds


async def say_how_far(pool: Pool, until: Callable[[], float | None], every: float = _BEAT) -> None:
    """For ever; `until` gives seconds since the epoch, None while nothing can be said."""
    while True:
        await asyncio.sleep(every)
        at = until()
        try:
            if at is not None:
                await recorded_until(pool, at)
        except FAILED as problem:
            _LOG.warning("how far accounting has come could not be said: %s", described(problem))


async def keep_tidy(pool: Pool, every: float = _EVERY) -> None:
    """For ever; the first time at once. A ledger that is away is tidied later."""
    while True:
        try:
            await tidy(pool)
        except FAILED as problem:
            _LOG.warning("the ledger could not be tidied: %s", described(problem))
        await asyncio.sleep(every)
