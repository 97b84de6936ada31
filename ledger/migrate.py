"""Migrations: `migrations/NNNN_what.sql`, applied in order, each in a transaction of its own under an advisory lock."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from ledger.pool import Connection, Pool, connect

_LOCK = 0x70656E73746F636B  # "penstock"; held by the transaction, so that PgBouncer's transaction mode is fine


class SchemaError(Exception):
    """The database's schema is not one that this version of Penstock can work with or bring up to date."""


class Migration(NamedTuple):
    """One step of the schema. `checksum` is the SHA-256 of `sql`."""

    name: str
    sql: str
    checksum: str


@cache
def known() -> tuple[Migration, ...]:
    """The migrations that come with the code, in order."""
    found = sorted(
        (file.name, file.read_text("utf-8"))
        for file in (files("ledger") / "migrations").iterdir()
        if file.name.endswith(".sql")
    )
    return tuple(Migration(name[:-4], sql, hashlib.sha256(sql.encode()).hexdigest()) for name, sql in found)


async def migrate(url: str, migrations: tuple[Migration, ...] | None = None) -> list[str]:
    """Bring the schema up to date; the names of what was applied. Several may start at the same time.

    Raises `SchemaError` when the database is newer than the code or an applied migration's text was changed, and
    what `connect` raises when Postgres is away.
    """
    connection = await connect(url)
    try:
        applied = []
        while (name := await _apply_next(connection, known() if migrations is None else migrations)) is not None:
            applied.append(name)
        return applied
    finally:
        await connection.close()


async def behind(pool: Pool) -> bool:
    """Whether `migrate` has something to do. A newer schema is not behind: old processes outlive a migration."""
    if await pool.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return True
    rows = await pool.fetch("SELECT name FROM schema_migrations")
    return not {migration.name for migration in known()} <= {row["name"] for row in rows}


async def _apply_next(connection: Connection, migrations: tuple[Migration, ...]) -> str | None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        rows = await connection.fetch("SELECT name, checksum FROM schema_migrations ORDER BY name")
        pending = _pending({row["name"]: row["checksum"] for row in rows}, migrations)
        if pending is None:
            return None
        await connection.execute(pending.sql)
        await connection.execute(
            "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)", pending.name, pending.checksum
        )
        return pending.name


def _pending(applied: dict[str, str], migrations: tuple[Migration, ...]) -> Migration | None:
    unknown = sorted(applied.keys() - {migration.name for migration in migrations})
    if unknown:
        raise SchemaError(
            f"the database is newer than this Penstock: it has the migration {unknown[-1]}, which is not known here; "
            "start the version that applied it, or a later one"
        )
    for migration in migrations:
        if migration.name not in applied:
            return migration
        if applied[migration.name] != migration.checksum:
            raise SchemaError(f"the migration {migration.name} was applied with another text than it has here")
    return None


_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
