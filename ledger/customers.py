"""Which customers there are: those who were made, and those who have called."""

from ledger.pool import Asked
from ledger.sql import query


async def known(on: Asked, *, limit: int, offset: int = 0) -> list[str]:
    """Their ids, in order."""
    return [row["user_id"] for row in await on.fetch(query("customers_known"), limit, offset)]
