"""A database of LiteLLM's, opened read-only: which tables and columns this version of it has, and its rows."""

import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from ledger.pool import Connection, connect
from ledger.sql import query

Row = dict[str, Any]
_BATCH = 500


class Source:
    """One snapshot of the database. JSON columns are read as JSON, times as they stand there: UTC without a zone."""

    def __init__(self, on: Connection, columns: Mapping[str, frozenset[str]]) -> None:
        self._on = on
        self.columns = columns

    def has(self, table: str) -> bool:
        """Whether this version has the table; its name is Prisma's less `LiteLLM_`."""
        return f"LiteLLM_{table}" in self.columns

    async def batches(self, table: str, *order: str, size: int = _BATCH) -> AsyncIterator[list[Row]]:
        """All rows, some hundred at a time, ordered by those of the columns that there are. None without the table."""
        if not self.has(table):
            return
        name = f"LiteLLM_{table}"
        by = [f'"{column}"' for column in order if column in self.columns[name]]
        ordered = f" ORDER BY {', '.join(by)}" if by else ""
        async for rows in self.asked(f'SELECT * FROM "{name}"{ordered}', size=size):  # noqa: S608
            yield rows

    async def rows(self, table: str, *order: str) -> list[Row]:
        """All rows of a table that is known to be small."""
        return [row async for batch in self.batches(table, *order) for row in batch]

    async def asked(self, statement: str, *given: Any, size: int = _BATCH) -> AsyncIterator[list[Row]]:
        """The rows of any statement, some at a time."""
        cursor = await self._on.cursor(statement, *given)
        while rows := await cursor.fetch(size):
            yield [dict(row) for row in rows]

    async def filled(self, but: Collection[str]) -> list[str]:
        """Which tables other than these have rows."""
        found = []
        for name in sorted(self.columns):
            if name.removeprefix("LiteLLM_") in but:
                continue
            quoted = name.replace('"', '""')
            if await self._on.fetchval(f'SELECT EXISTS (SELECT FROM "{quoted}")'):  # noqa: S608 (a table's own name)
                found.append(name)
        return found


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Source]:
    """The database at `url`. Raises what connecting raises, and `LookupError` when LiteLLM has no table there."""
    connection = await connect(url)
    try:
        await connection.execute("SET default_transaction_read_only = on")
        for name in ("json", "jsonb"):
            await connection.set_type_codec(name, schema="pg_catalog", encoder=json.dumps, decoder=_json)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            columns: dict[str, frozenset[str]] = {
                row["name"]: frozenset(row["columns"]) for row in await connection.fetch(query("litellm_columns"))
            }
            if not columns:
                raise LookupError("there is no table of LiteLLM's in this database")
            yield Source(connection, columns)
    finally:
        await connection.close()


def _json(text: str) -> Any:
    """Numbers stay the exact decimals that were written."""
    return json.loads(text, parse_float=Decimal)
