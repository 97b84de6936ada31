"""What the ledger forgets by itself. Spend logs, sums, totals and the audit log are never among it."""

from ledger.pool import Pool
from ledger.sql import query

_WINDOWS = 100 * 86400.0  # seconds after its end for which a budget's window is kept: late events still count in it


async def recorded_until(pool: Pool, process: str, at: float | None = None) -> None:
    """An accounting process's word: of what was in its hands, calls that ended before `at` are recorded.

    `at` in seconds since the epoch, -inf: none may be; None: it begins, and has nothing in its hands. No lease lapses
    beyond the least of what accounting processes said; one that says nothing for a minute counts no more.
    """
    await pool.execute(query("recorded"), process, at)


async def leave(pool: Pool, process: str) -> None:
    """An accounting process has ended, and holds nothing any more."""
    await pool.execute(query("recorded_leave"), process)


async def tidy(pool: Pool) -> None:
    """Delete what is over. Any number of processes may do so at the same time."""
    await pool.execute(query("upkeep"), _WINDOWS)
