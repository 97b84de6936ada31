"""Beside accounting: says how far it has come, and tidies the ledger now and then."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from broker.port import BusError
from ledger.pool import FAILED, Pool, described
from ledger.upkeep import leave, recorded_until, tidy
from workers.accounting.consumer import Accounting

_LOG = logging.getLogger("penstock.accounting")
_EVERY = 600.0  # seconds
_BEAT = 5.0  # seconds
_FAREWELL = 2.0  # seconds


async def say_how_far(pool: Pool, process: str, accounting: Accounting, beat: float = _BEAT) -> None:
    """For ever, a beat (seconds) after the last time; a try may take one.

    Who could not say it for two to four beats gives back what it holds: soon nobody waits for it, see `leases_lapse`.
    """
    clock = asyncio.get_running_loop().time
    said = clock()
    while True:
        await asyncio.sleep(beat)
        at, now = accounting.recorded_until(), clock()
        if at is None:
            continue
        try:
            await _within(beat, recorded_until(pool, process, at))
            said = now
            await accounting.resume()
        except FAILED as problem:
            _LOG.warning("how far accounting has come could not be said: %s", described(problem))
            if clock() - said >= 2 * beat:
                await accounting.pause(described(problem))
        except BusError as problem:
            _LOG.warning("usage events cannot be taken: %s", problem)


async def say_goodbye(pool: Pool, process: str, accounting: Accounting) -> None:
    """It has stopped, and nobody shall wait for its word; but while it holds something, others do not have that yet."""
    if accounting.held:
        return
    try:
        await _within(_FAREWELL, leave(pool, process))
    except FAILED as problem:
        _LOG.warning("the end of accounting could not be said: %s", described(problem))


async def keep_tidy(pool: Pool, every: float = _EVERY) -> None:
    """For ever; the first time at once. A ledger that is away is tidied later."""
    while True:
        try:
            await tidy(pool)
        except FAILED as problem:
            _LOG.warning("the ledger could not be tidied: %s", described(problem))
        await asyncio.sleep(every)


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Raises `TimeoutError`. What is given up is not waited for: on a dead connection its end takes half a minute."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody else may look at it
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise TimeoutError
        task.result()
    finally:
        task.cancel()
