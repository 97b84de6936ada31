"""The audit log as tests look into it."""

from typing import Any

from ledger.audit_pages import Filter, page
from ledger.pool import Pool


async def audited(pool: Pool, entity: str | None = None, **which: Any) -> list[dict[str, Any]]:
    """The newest hundred entries that match, the newest first; `which` as in `Filter`."""
    entities = None if entity is None else [entity]
    return await page(pool, Filter(entities=entities, **which), 100, 0, oldest_first=False)
