"""Providers' credentials under a name, for models to refer to: what is secret of them sealed.

All functions raise what asyncpg raises; `ledger.pool.AWAY` of it means "later".
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from ledger.pool import Connection, Pool
from ledger.sql import query


class Credential(NamedTuple):
    """What is kept of a credential. `sealed` holds the values that are secret: a JSON object, sealed."""

    name: str
    values: Mapping[str, Any]
    sealed: bytes | None = None
    info: Mapping[str, Any] = {}
    display_name: str | None = None
    updated_at: datetime | None = None  # the ledger says when


async def everything(on: Pool) -> tuple[Credential, ...]:
    """All of them by their names. None where the schema is older than they are."""
    try:
        return tuple(_credential(found) for found in await on.fetch(query("credentials_all")))
    except asyncpg.UndefinedTableError:
        return ()


async def locked(on: Connection, name: str) -> Credential | None:
    """The credential, which nobody else changes until the transaction ends."""
    found = await on.fetchrow(query("credentials_locked"), name)
    return None if found is None else _credential(found)


async def insert(on: Connection, credential: Credential, by: str) -> bool:
    """Add one; False when its name is taken."""
    return await on.execute(query("credentials_insert"), *_values(credential), by) == "INSERT 0 1"


async def update(on: Connection, credential: Credential, by: str) -> None:
    """Put one in the place of that with its name."""
    await on.execute(query("credentials_update"), *_values(credential), by)


async def delete(on: Connection, name: str) -> None:
    """Remove one."""
    await on.execute(query("credentials_delete"), name)


def _values(credential: Credential) -> tuple[Any, ...]:
    given, info = json.dumps(credential.values), json.dumps(credential.info)
    return credential.name, given, credential.sealed, info, credential.display_name


def _credential(found: Any) -> Credential:
    return Credential(
        found["credential_name"],
        json.loads(found["credential_values"]),
        found["sealed"],
        json.loads(found["credential_info"]),
        found["display_name"],
        found["updated_at"],
    )
