"""Rows into the tables of `ledger/tenants.py`, once: what was changed here since they came stays as it is.

Of every row that came, `imported_rows` keeps a digest. A row that still has it was not touched here, and follows the
source; one that is gone was deleted here, and does not come back. When and by whom a row was changed is no difference.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ledger.pool import Connection
from ledger.tenants import Row, Table

_AT_ONCE = 1000
_STAMPS = "'{created_at,created_by,updated_at,updated_by}'::text[]"


class Verdict(StrEnum):
    """What became of a row."""

    NEW = "new"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    CHANGED_HERE = "changed here"
    DELETED_HERE = "deleted here"

    @property
    def written(self) -> bool:
        """Whether it stands here now as it stands there."""
        return self in (Verdict.NEW, Verdict.UPDATED)


async def carry(on: Connection, entity: str, table: Table, rows: Sequence[Row], *, overwrite: bool) -> list[Verdict]:
    """Store these rows, no two of which have the same key; what became of each. They need all columns of the table."""
    verdicts: list[Verdict] = []
    for first in range(0, len(rows), _AT_ONCE):
        part = rows[first : first + _AT_ONCE]
        found = await on.fetch(_compared(table), _encoded(part), entity)
        verdicts += [_verdict(row, overwrite) for row in found]
        wanted = [row for row, verdict in zip(part, verdicts[first:], strict=True) if verdict.written]
        if wanted:
            await on.execute(_written(table), _encoded(wanted), entity)
    return verdicts


def complete(table: Table, values: Row, now: datetime) -> Row:
    """The row with who made it and when, where nothing is known of that."""
    stamps: Row = {"created_at": now, "updated_at": now, "created_by": "", "updated_by": ""}
    found = {name: value for name, value in stamps.items() if name in table.columns}
    return found | {name: value for name, value in values.items() if value is not None or name not in found}


def _verdict(row: Any, overwrite: bool) -> Verdict:
    if not row["present"]:
        return Verdict.DELETED_HERE if row["remembered"] and not overwrite else Verdict.NEW
    if row["same"]:
        return Verdict.UNCHANGED
    return Verdict.UPDATED if overwrite or row["untouched"] else Verdict.CHANGED_HERE


def _compared(table: Table) -> str:
    """In the order given: present, same, remembered, untouched."""
    key = " AND ".join(f"t.{name} = g.{name}" for name in table.key)
    return f"""
        WITH given AS (
            SELECT g.*, o.n FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS o (value, n)
            CROSS JOIN LATERAL jsonb_populate_record(NULL::{table.name}, o.value) AS g
        ),
        here AS (
            SELECT g.n, to_jsonb(t) - {_STAMPS} AS value
            FROM given AS g JOIN {table.name} AS t ON {key} FOR UPDATE OF t
        )
        SELECT h.n IS NOT NULL AS present, m.digest IS NOT NULL AS remembered,
            coalesce(h.value = to_jsonb(g) - 'n' - {_STAMPS}, false) AS same,
            coalesce(m.digest = {_digest("h.value")}, false) AS untouched
        FROM given AS g
        LEFT JOIN here AS h USING (n)
        LEFT JOIN imported_rows AS m ON m.entity = $2 AND m.id = {_id(table, "g")}
        ORDER BY g.n
    """  # noqa: S608 (names of our own tables and columns)


def _written(table: Table) -> str:
    kept = {*table.key, "created_at", "created_by"}
    settings = ", ".join(f"{name} = excluded.{name}" for name in sorted(table.columns - kept))
    return f"""
        WITH written AS (
            INSERT INTO {table.name} SELECT * FROM jsonb_populate_recordset(NULL::{table.name}, $1::jsonb)
            ON CONFLICT ({", ".join(table.key)}) DO UPDATE SET {settings}
            RETURNING *
        )
        INSERT INTO imported_rows (entity, id, digest)
        SELECT $2, {_id(table, "w")}, {_digest(f"to_jsonb(w) - {_STAMPS}")} FROM written AS w
        ON CONFLICT (entity, id) DO UPDATE SET digest = excluded.digest
    """  # noqa: S608 (names of our own tables and columns)


def _id(table: Table, alias: str) -> str:
    return f"jsonb_build_array({', '.join(f'{alias}.{name}' for name in table.key)})::text"


def _digest(value: str) -> str:
    return f"encode(sha256(convert_to(({value})::text, 'UTF8')), 'hex')"


def _encoded(rows: Sequence[Row]) -> str:
    return _ENCODER.encode(rows).decode()


_ENCODER = msgspec.json.Encoder(decimal_format="number")
