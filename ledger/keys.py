"""Virtual keys and their hashes: found by whatever names them, made, given a new secret, removed, their spend set.

Nothing here ever sees a key's secret: `hash` is what `ledger.pepper.Pepper` makes of it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from ledger.pepper import Pepper
from ledger.pool import Asked, Connection
from ledger.sql import query
from ledger.tenants import KEYS, Row, change, find, insert, remove
from schemas.access import Account
from schemas.failures import Kind, Refused


class Allocated(NamedTuple):
    """What the keys of a team or organization may use in a minute all together, also by model."""

    requests: int
    tokens: int
    model_requests: Mapping[str, int]
    model_tokens: Mapping[str, int]


async def identify(on: Asked, pepper: Pepper, given: Sequence[str], now: datetime) -> dict[str, str]:
    """The ids of keys, by what names them: the key itself, its SHA-256 or its id. Who names none is missing.

    A secret names its key as long as it works; an old one does not any more.
    """
    named = {one: pepper.candidates(one) for one in given}
    ids = [hash for one, hashes in named.items() if not one.startswith("sk-") for hash in hashes]
    every = [hash for hashes in named.values() for hash in hashes]
    found = {row["hash"]: row["key_id"] for row in await on.fetch(query("key_identify"), every, ids, now)}
    return {one: found[hash] for one, hashes in named.items() for hash in hashes if hash in found}


async def named(on: Asked, pepper: Pepper, given: str, now: datetime, *, lock: bool = False) -> Row | None:
    """The key that `given` names, see `identify`."""
    key_id = (await identify(on, pepper, [given], now)).get(given)
    return None if key_id is None else await find(on, KEYS, key_id, lock=lock)


async def add(on: Connection, hash: str, values: Mapping[str, Any]) -> Row:
    """A new key, whose id is this hash. Raises `Refused(INVALID_REQUEST)` when a key has or had the same secret."""
    await _unused(on, hash, hash)
    row = await insert(on, KEYS, {**values, "key_id": hash})
    await on.execute(query("key_hash_add"), hash, hash)
    return row


async def rotate(
    on: Connection, key_id: str, hash: str, values: Mapping[str, Any], now: datetime, until: datetime | None
) -> Row:
    """The key has a new secret; those that it had work until then, None: no longer. The row as it is now."""
    await _unused(on, hash, key_id)
    await on.execute(query("key_hashes_retire"), key_id, until)
    await on.execute(query("key_hash_add"), hash, key_id)
    stored = await find(on, KEYS, key_id, lock=True)
    assert stored is not None
    count = {"rotation_count": stored["rotation_count"] + 1, "last_rotation_at": now}
    row = await change(on, KEYS, [key_id], {**values, **count})
    assert row is not None
    return row


async def drop(on: Connection, key_ids: Sequence[str]) -> None:
    """Remove keys with their hashes and balances; their totals and their rows in the spend logs stay."""
    for key_id in key_ids:
        await remove(on, KEYS, key_id)
    await on.execute(query("key_balances_remove"), list(key_ids))


async def reset_spend(
    on: Connection,
    account: Account,
    value: Decimal,
    now: datetime,
    period: str = "",
    bounds: tuple[datetime, datetime] | None = None,
) -> None:
    """The account has spent this much: in all, and in the window of `period` that now lies in.

    `bounds` are that window's: it begins with this, should nothing have been spent in it. Windows of other lengths show
    no more than that.
    """
    await on.execute(query("spend_total_set"), *account, value)
    if bounds is not None:
        await on.execute(query("spend_window_begin"), *account, period, *bounds)
    await on.execute(query("spend_balances_set"), *account, value, now, period)


async def allocated(on: Asked, *, team: str | None = None, organization: str | None = None, but: str = "") -> Allocated:
    """What the keys of a team, or of an organization, are allowed a minute, less the key `but`."""
    row = await on.fetchrow(query("keys_allocated"), team, organization, but)
    assert row is not None
    models = await on.fetch(query("keys_allocated_by_model"), team, organization, but)
    by_model: dict[str, dict[str, int]] = {"model_rpm_limit": {}, "model_tpm_limit": {}}
    for one in models:
        by_model[one["field"]][one["model"]] = one["amount"]
    return Allocated(row["requests"], row["tokens"], by_model["model_rpm_limit"], by_model["model_tpm_limit"])


async def outranks(on: Asked, user: str, teams: Sequence[str]) -> bool:
    """Whether a user may do more than somebody who administers these teams and nothing else."""
    found: bool = await on.fetchval(query("user_outranks"), user, list(teams))
    return found


async def _unused(on: Connection, hash: str, key_id: str) -> None:
    """Nobody else's key has, or began with, this hash. That of two at once only one is stored, the table holds."""
    if await on.fetchval(query("key_hash_taken"), hash, key_id):
        raise Refused(Kind.INVALID_REQUEST, "There is a key with this secret already.", param="key")
