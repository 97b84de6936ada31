"""Migrated databases that are used again: one is emptied in a few milliseconds, and made in 100 to 300."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from ledger.migrate import migrate
from ledger.pool import connect
from tests.support.harness import harness
from tests.support.postgres import Postgres

_TABLES = "SELECT format('%I', relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
_ROWS = "SELECT jsonb_agg(t) FROM {} AS t"
_FILL = "INSERT INTO {} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_recordset(NULL::{}, $1)"
_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# What a test may have changed beside rows; statistics too, by which the next one's statements would be planned.
_SHAPE = """
SELECT md5(string_agg(line, ' ' ORDER BY line)) FROM (
    SELECT concat(relnamespace, relname, relkind, reltuples) FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat(proname, md5(prosrc)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT concat(conrelid, conname) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat(tgrelid, tgname, tgenabled) FROM pg_trigger
    UNION ALL SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
    UNION ALL SELECT setconfig::text FROM pg_db_role_setting
) AS found (line)
"""


class Databases:
    """Those of one process of the run. One whose tables, functions or statistics a test has changed is dropped."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._free: list[str] = []
        self._names: list[str] = []
        self._shape = ""
        self._rows: dict[str, str] = {}

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of a database as migration leaves it. Whoever is still connected in the end is thrown out."""
        name = self._free.pop() if self._free else self._make()
        yield self._postgres.url(name)
        if self._again(name):
            self._free.append(name)
        else:
            self._drop(name)

    def close(self) -> None:
        """Drop them all."""
        while self._names:
            self._drop(self._names[0])

    @harness()
    def _make(self) -> str:
        name = f"migrated_{uuid.uuid4().hex[:12]}"
        self._postgres.run(f"create database {name} strategy = file_copy")  # the default strategy takes 120 ms more
        self._names.append(name)
        asyncio.run(self._filled(self._postgres.url(name)))
        return name

    async def _filled(self, url: str) -> None:
        await migrate(url)
        connection = await connect(url)
        self._shape = await connection.fetchval(_SHAPE)
        self._rows = {
            table: rows
            for (table,) in await connection.fetch(_TABLES)
            if (rows := await connection.fetchval(_ROWS.format(table)))
        }
        await connection.close()

    @harness()
    def _again(self, name: str) -> bool:
        try:
            return asyncio.run(self._emptied(self._postgres.url(name)))
        except (asyncpg.PostgresError, OSError):  # somebody else's server may not let us
            return False

    async def _emptied(self, url: str) -> bool:
        connection = await connect(url)
        try:
            await connection.execute(_OTHERS)
            if await connection.fetchval(_SHAPE) != self._shape:
                return False
            async with connection.transaction():
                await connection.execute("SET LOCAL session_replication_role = replica; SET LOCAL lock_timeout = '5s'")
                tables = [table for (table,) in await connection.fetch(_TABLES)]
                await connection.execute("; ".join(f"DELETE FROM {table}" for table in tables))
                for table, rows in self._rows.items():
                    await connection.execute(_FILL.format(table, table), rows)
            return True
        finally:
            await connection.close()

    @harness()
    def _drop(self, name: str) -> None:
        self._names.remove(name)
        self._postgres.run(f"drop database {name} with (force)")
