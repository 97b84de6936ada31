"""What the ledger has recorded."""

from typing import Any

from ledger.logs import Page, Which, page
from ledger.pool import Pool


async def recorded(pool: Pool) -> list[dict[str, Any]]:
    """Every row as `/spend/logs` shows it, the newest last."""
    async with pool.acquire() as connection:
        return await page(connection, Which(), Page(limit=10_000, ascending=True))
