"""A key gets a new secret: when somebody asks for it, or when it is due. Its id, spend and terms stay.

A new secret that nobody asked for has to be delivered somewhere, or its key is lost. So keys that are due are rotated
only where there is a place to deliver to; elsewhere they stay as they are, and show a `key_rotation_at` in the past.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from api.management.fields import Json
from api.management.keys import rights, terms
from api.management.keys.bodies import RotatedKey
from api.management.keys.changing import peppered, revised, spend_as_asked, wanted
from api.management.keys.desk import Work
from api.management.keys.issuing import with_secret
from api.management.keys.rights import Act
from api.management.keys.shown import audited, shown
from api.management.office import forbidden
from ledger import keys as stored_keys
from ledger import tenants
from ledger.pepper import Pepper
from ledger.tenants import Row
from policy.periods import after
from schemas.failures import Kind, Refused

Deliver = Callable[[Row, str], Awaitable[None]]
"""Brings a key's new secret to its owner. What it raises leaves the key with its old one."""
_LOG = logging.getLogger(__name__)


async def regenerate(work: Work, body: RotatedKey, given: str | None = None) -> dict[str, Any]:
    """A new secret, and new terms when the body has some; the key as it is shown, with the secret in `key`.

    The old one works for the grace period; without one it, and every older one, is void at once.
    """
    name = body.key or given
    if name is None:
        raise Refused(Kind.INVALID_REQUEST, "No key was named.", param="key")
    if body.new_key is not None and not work.keys.rules.custom:
        raise forbidden("choose a key: keys are generated here")
    pepper = await peppered(work)
    secret = body.new_key or work.keys.secret()
    async with work.office.change(work.access) as change:
        on = change.connection
        before = await wanted(on, work, pepper, name)
        values = await revised(change, work, body, before, Act.REGENERATE)
        await rights.may_hold(on, work, before)
        now = work.office.now()
        values |= _renewed(before | values, secret, now)
        hash, until = pepper.hash(secret.encode()), _until(body.grace_period or work.keys.rules.grace, now)
        row = await stored_keys.rotate(on, before["key_id"], hash, values, now, until)
        await change.record("rotated", "key", row["key_id"], audited(before), audited(row))
        await spend_as_asked(on, work, body, row)
        found = (await shown(on, work.office, [row]))[0]
    return with_secret(found, secret)


async def rotate_due(work: Work, deliver: Deliver, limit: int = 100) -> int:
    """Rotate the keys that are due, at most `limit`; how many were. Any number of processes may do so at once.

    A secret is delivered before it is stored for good: one whose delivery fails is not, and its key stays due.
    """
    pepper = await peppered(work)
    with work.office.reading() as pool:
        due = await stored_keys.due_for_rotation(pool, work.office.now(), limit)
    rotated = 0
    for key_id in due:
        try:
            rotated += await _rotate_one(work, pepper, key_id, deliver)
        except Exception as problem:  # noqa: BLE001 -- whatever a delivery raises concerns this key alone
            # Only what kind of error: its text may hold the secret.
            _LOG.warning("key %s is due for rotation and could not be rotated: %s", key_id, type(problem).__name__)
    return rotated


async def _rotate_one(work: Work, pepper: Pepper, key_id: str, deliver: Deliver) -> bool:
    now, secret = work.office.now(), work.keys.secret()
    async with work.office.change(work.access) as change:
        before = await tenants.find(change.connection, tenants.KEYS, key_id, lock=True)
        if before is None or not before["auto_rotate"] or (before["key_rotation_at"] or now) > now:
            return False  # somebody else was faster
        values = _renewed(before, secret, now) | {"updated_by": work.actor}
        hash, until = pepper.hash(secret.encode()), _until(work.keys.rules.grace, now)
        row = await stored_keys.rotate(change.connection, key_id, hash, values, now, until)
        await change.record("rotated", "key", key_id, audited(before), audited(row))
        await deliver(row, secret)
    return True


def _renewed(row: Row, secret: str, now: datetime) -> Json:
    due = after(now, row["rotation_interval"]) if row["auto_rotate"] and row["rotation_interval"] else None
    return {"key_name": terms.name_of(secret), "key_rotation_at": due}


def _until(grace: str, now: datetime) -> datetime | None:
    return after(now, grace) if grace else None
