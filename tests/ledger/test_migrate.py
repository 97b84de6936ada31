import asyncio
from itertools import chain

import pytest

from ledger.migrate import Migration, SchemaError, behind, known, migrate
from ledger.pool import connect, open_pool

ONE = Migration("0001_one", "CREATE TABLE one (n int); INSERT INTO one VALUES (1);", "c1")
TWO = Migration("0002_two", "INSERT INTO one VALUES (2);", "c2")
BROKEN = Migration("0003_broken", "INSERT INTO one VALUES (3); SELECT 1/0;", "c3")


async def test_a_new_database_gets_everything_once(database_url: str) -> None:
    pool = await open_pool(database_url)
    assert await behind(pool)
    assert await migrate(database_url) == [migration.name for migration in known()]
    assert not await behind(pool)
    assert await migrate(database_url) == []
    await pool.close()


async def test_concurrent_starters_apply_each_migration_once(database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(database_url, (ONE, TWO)) for _ in range(6)))
    assert sorted(chain(*applied)) == ["0001_one", "0002_two"]
    connection = await connect(database_url)
    assert [row["n"] for row in await connection.fetch("SELECT n FROM one ORDER BY n")] == [1, 2]
    await connection.close()


async def test_a_migration_that_fails_leaves_nothing(database_url: str) -> None:
    with pytest.raises(Exception, match="division by zero"):
        await migrate(database_url, (ONE, TWO, BROKEN))
    assert await migrate(database_url, (ONE, TWO)) == []
    connection = await connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM one") == 2
    await connection.close()


async def test_a_newer_database_is_refused_by_name(database_url: str) -> None:
    await migrate(database_url, (ONE, TWO))
    with pytest.raises(SchemaError, match="newer than this Penstock: it has the migration 0002_two"):
        await migrate(database_url, (ONE,))


async def test_a_newer_schema_is_not_behind(database_url: str) -> None:
    await migrate(database_url)
    await migrate(database_url, (*known(), Migration("9999_later", "SELECT 1", "c")))
    pool = await open_pool(database_url)
    assert not await behind(pool)
    await pool.close()


async def test_a_changed_migration_is_refused(database_url: str) -> None:
    await migrate(database_url, (ONE,))
    with pytest.raises(SchemaError, match="0001_one was applied with another text"):
        await migrate(database_url, (ONE._replace(checksum="other"), TWO))
