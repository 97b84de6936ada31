"""What the ledger forgets by itself. Spend logs, sums, totals and the audit log are never among it."""

from ledger.pool import Pool
from ledger.sql import query

_WINDOWS = 100 * 86400.0  # seconds after its end for which a budget's window is kept: late events still count in it


async def recorded_until(pool: Pool, at: float) -> None:
    """Calls that ended before this moment (seconds since the epoch) are recorded: leases may lapse until then."""
    await pool.execute(query("recorded"), at)


async def tidy(pool: Pool) -> None:
    """Delete what is over. Any number of processes may do so at the same time."""
    await pool.execute(query("upkeep"), _WINDOWS)
