"""Tags as requests have used them, from the daily sums."""

from datetime import date
from typing import NamedTuple

from ledger.pool import Asked
from ledger.sql import query


class Used(NamedTuple):
    """A tag, and the first and the last day of its use."""

    name: str
    first: date
    last: date


async def only_used(on: Asked, since: date | None, until: date | None, *, limit: int) -> list[Used]:
    """Tags without a row of their own that were used in these days (both included); the latest first."""
    return [Used(*row) for row in await on.fetch(query("tags_only_used"), since, until, limit)]


async def most_used(on: Asked, *, limit: int) -> list[str]:
    """Names by the number of sums they have, without those of a form `kind:value` other than `User-Agent:…`."""
    return [row["value"] for row in await on.fetch(query("tags_most_used"), limit)]
