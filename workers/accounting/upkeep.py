"""Tidies the ledger now and then, beside accounting."""

import asyncio
import logging

from ledger.pool import FAILED, Pool, described
from ledger.upkeep import tidy

_LOG = logging.getLogger("penstock.accounting")
_EVERY = 600.0  # seconds


async def keep_tidy(pool: Pool, every: float = _EVERY) -> None:
    """For ever; the first time at once. A ledger that is away is tidied later."""
    while True:
        try:
            await tidy(pool)
        except FAILED as problem:
            _LOG.warning("the ledger could not be tidied: %s", described(problem))
        await asyncio.sleep(every)
