"""What a deployment has used of its day, from the rows of its calls."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ledger.pool import Pool
from ledger.sql import query

_USED = query("used_since")


class Used(NamedTuple):
    """Calls that have ended, and their tokens."""

    requests: int
    tokens: int


def day_of(now: datetime, reset: int) -> tuple[datetime, datetime]:
    """The day's beginning and end, when days begin `reset` seconds after midnight, UTC."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begin = midnight + timedelta(seconds=reset)
    if begin > now:
        begin -= timedelta(days=1)
    return begin, begin + timedelta(days=1)


async def used_since(pool: Pool, deployment: str, since: datetime) -> Used:
    """What a deployment has used since then, by all processes."""
    row = await pool.fetchrow(_USED, deployment, since)
    assert row is not None
    return Used(row["requests"], row["tokens"])
