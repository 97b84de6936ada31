"""Rows of the entities that may call and pay: found, inserted, changed, removed. Which columns there are is said here.

The statements are put together from the names below, never from anything that a client wrote; values are parameters.
All functions raise what asyncpg raises, and `KeyError` for a column that the table does not have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ledger.pool import Asked, Connection

Row = dict[str, Any]

_STAMPS = ("created_at", "created_by", "updated_at", "updated_by")
_LIMITS = ("rpm_limit", "tpm_limit", "tpd_limit", "max_parallel_requests")
_TERMS = ("max_budget", "soft_budget", "budget_duration", "model_max_budget", *_LIMITS)


@dataclass(frozen=True, slots=True)
class Table:
    """A table, its primary key, its other columns, and which of them are JSON."""

    name: str
    key: tuple[str, ...]
    columns: frozenset[str]
    json: frozenset[str] = frozenset()


def _table(name: str, key: tuple[str, ...], columns: str, *more: str, json: str = "") -> Table:
    return Table(name, key, frozenset((*key, *columns.split(), *more)), frozenset(json.split()))


BUDGETS = _table("budgets", ("budget_id",), "allowed_models extra", *_TERMS, *_STAMPS, json="model_max_budget extra")
ORGANIZATIONS = _table(
    "organizations",
    ("organization_id",),
    "organization_alias budget_id models metadata extra",
    *_STAMPS,
    json="metadata extra",
)
ORGANIZATION_MEMBERS = _table(
    "organization_members", ("organization_id", "user_id"), "user_role budget_id created_at updated_at"
)
USERS = _table(
    "users",
    ("user_id",),
    "user_alias user_email user_role sso_user_id models metadata extra",
    *_TERMS,
    *_STAMPS,
    json="metadata model_max_budget extra",
)
TEAMS = _table(
    "teams",
    ("team_id",),
    "team_alias organization_id models metadata blocked extra",
    *_TERMS,
    *_STAMPS,
    json="metadata model_max_budget extra",
)
TEAM_MEMBERS = _table("team_members", ("team_id", "user_id"), "role budget_id created_at updated_at")
KEYS = _table(
    "virtual_keys",
    ("key_id",),
    """key_name key_alias user_id team_id organization_id models aliases metadata blocked expires budget_id
    budget_limits allowed_routes key_type service auto_rotate rotation_interval rotation_count last_rotation_at
    key_rotation_at extra""",
    *_TERMS,
    *_STAMPS,
    json="aliases metadata budget_limits model_max_budget extra",
)
CUSTOMERS = _table("customers", ("user_id",), "alias blocked budget_id models extra", *_STAMPS, json="extra")
TAGS = _table("tags", ("tag_name",), "description models budget_id extra", *_STAMPS, json="extra")


async def find(on: Asked, table: Table, *key: Any, lock: bool = False) -> Row | None:
    """The row with this primary key. `lock` keeps it as it is until the transaction ends."""
    statement = f"SELECT * FROM {table.name} WHERE {_equal(table.key)}{' FOR UPDATE' if lock else ''}"  # noqa: S608
    return _shown(table, await on.fetchrow(statement, *key))


async def insert(on: Connection, table: Table, values: Mapping[str, Any]) -> Row:
    """A new row, as it is stored. Raises `asyncpg.UniqueViolationError` when there is one with its key:
    `ledger.pool.storable` makes a refusal of it."""
    names = _checked(table, values)
    places = ", ".join(f"${number}" for number in range(1, len(names) + 1))
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places}) RETURNING *"  # noqa: S608
    row = _shown(table, await on.fetchrow(statement, *_stored(table, names, values)))
    assert row is not None
    return row


async def change(on: Connection, table: Table, key: Sequence[Any], values: Mapping[str, Any]) -> Row | None:
    """Give columns new values; the row as it is now, None when there is none. `updated_at` is set."""
    names = _checked(table, values)
    settings = [f"{name} = ${number}" for number, name in enumerate(names, len(table.key) + 1)]
    if "updated_at" in table.columns and "updated_at" not in values:
        settings.append("updated_at = now()")
    statement = f"UPDATE {table.name} SET {', '.join(settings)} WHERE {_equal(table.key)} RETURNING *"  # noqa: S608
    return _shown(table, await on.fetchrow(statement, *key, *_stored(table, names, values)))


async def remove(on: Connection, table: Table, *key: Any) -> Row | None:
    """Delete the row; what it was, None when there was none."""
    return _shown(table, await on.fetchrow(f"DELETE FROM {table.name} WHERE {_equal(table.key)} RETURNING *", *key))  # noqa: S608


async def matching(
    on: Asked,
    table: Table,
    where: Mapping[str, Any],
    *,
    order: Sequence[str] = (),
    limit: int = 1000,
) -> list[Row]:
    """Rows whose columns have these values (a list: one of them; None: NULL).

    Ordered by these columns (`-name` descends), then by the key.
    """
    condition, given = _condition(table, where)
    by = [*order, *table.key]
    _checked(table, dict.fromkeys(name.lstrip("-") for name in by))
    ordered = ", ".join(f"{name.lstrip('-')} {'DESC' if name[0] == '-' else 'ASC'} NULLS LAST" for name in by)
    statement = f"SELECT * FROM {table.name} WHERE {condition} ORDER BY {ordered} LIMIT {limit:d}"  # noqa: S608
    return [row for found in await on.fetch(statement, *given) if (row := _shown(table, found)) is not None]


async def in_order(on: Asked, table: Table, ids: Sequence[str]) -> list[Row]:
    """The rows with these ids, in this order. The table's key is one column."""
    (key,) = table.key
    rows = {row[key]: row for row in await matching(on, table, {key: list(ids)}, limit=len(ids))}
    return [rows[id] for id in ids if id in rows]


async def count(on: Asked, table: Table, where: Mapping[str, Any]) -> int:
    """How many rows match, see `matching`."""
    condition, given = _condition(table, where)
    found: int = await on.fetchval(f"SELECT count(*) FROM {table.name} WHERE {condition}", *given)  # noqa: S608
    return found


def _condition(table: Table, where: Mapping[str, Any]) -> tuple[str, list[Any]]:
    parts, given = ["true"], []
    for name in _checked(table, where):
        value = where[name]
        if value is None:
            parts.append(f"{name} IS NULL")
            continue
        given.append(value)
        parts.append(f"{name} = ANY(${len(given)})" if isinstance(value, list) else f"{name} = ${len(given)}")
    return " AND ".join(parts), given


def _equal(key: tuple[str, ...]) -> str:
    return " AND ".join(f"{name} = ${number}" for number, name in enumerate(key, 1))


def _checked(table: Table, values: Mapping[str, Any]) -> list[str]:
    for name in values:
        if name not in table.columns:
            raise KeyError(f"{table.name} has no column {name}")
    return list(values)


def _stored(table: Table, names: Sequence[str], values: Mapping[str, Any]) -> list[Any]:
    return [msgspec.json.encode(values[name]).decode() if name in table.json else values[name] for name in names]


def _shown(table: Table, row: Any) -> Row | None:
    if row is None:
        return None
    return {name: msgspec.json.decode(value) if name in table.json else value for name, value in row.items()}
