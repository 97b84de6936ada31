"""Models that were added while Penstock ran: entries like those of `model_list`, what is secret of them sealed.

All functions raise what asyncpg raises; `ledger.pool.AWAY` of it means "later".
"""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import asyncpg

from ledger.pool import Connection, Pool
from ledger.sql import query


class Model(NamedTuple):
    """What is kept of a model. `sealed` holds the `litellm_params` that are secret: a JSON object, sealed."""

    id: str
    name: str
    params: Mapping[str, Any]
    sealed: bytes | None = None
    info: Mapping[str, Any] = {}
    blocked: bool = False


class Row(NamedTuple):
    """A model in the ledger, with when and by whom it was made and changed."""

    model: Model
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


async def everything(on: Pool) -> tuple[Row, ...]:
    """All models, the oldest first. None where the schema is older than they are."""
    try:
        return tuple(_row(found) for found in await on.fetch(query("models_all")))
    except asyncpg.UndefinedTableError:
        return ()


async def locked(on: Connection, id: str) -> Row | None:
    """The model, which nobody else changes until the transaction ends."""
    found = await on.fetchrow(query("models_locked"), id)
    return None if found is None else _row(found)


async def insert(on: Connection, model: Model, by: str) -> Row | None:
    """Add a model; None when its id is taken."""
    found = await on.fetchrow(query("models_insert"), *_values(model), by)
    return None if found is None else _row(found)


async def update(on: Connection, model: Model, by: str) -> Row | None:
    """Put a model in the place of the one with its id; None when there is none."""
    found = await on.fetchrow(query("models_update"), *_values(model), by)
    return None if found is None else _row(found)


async def delete(on: Connection, id: str) -> bool:
    """Remove a model; False when there is none."""
    return await on.execute(query("models_delete"), id) == "DELETE 1"


def _values(model: Model) -> tuple[Any, ...]:
    params, info = json.dumps(model.params, default=_exact), json.dumps(model.info, default=_exact)
    return model.id, model.name, params, model.sealed, info, model.blocked


def _row(found: Any) -> Row:
    model = Model(
        found["model_id"],
        found["model_name"],
        _json(found["litellm_params"]),
        found["sealed"],
        _json(found["model_info"]),
        found["blocked"],
    )
    return Row(model, found["created_at"], found["created_by"], found["updated_at"], found["updated_by"])


def _json(text: str) -> Any:
    """Prices stay the exact decimals that were written."""
    return json.loads(text, parse_float=Decimal)


def _exact(value: object) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(type(value).__name__)
