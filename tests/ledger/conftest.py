"""A migrated database and a pool on it."""

from collections.abc import AsyncIterator

import pytest

from ledger.migrate import migrate
from ledger.pool import Pool, open_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    await migrate(database_url)
    pool = await open_pool(database_url)
    yield pool
    await pool.close()
