"""A key gets a new secret when somebody asks for it. Its id, spend and terms stay.

A new secret that nobody asked for would have nobody to go to, and its key would be lost: keys that are due stay as they
are, and show a `key_rotation_at` in the past.
"""

from datetime import datetime
from typing import Any

from api.management.fields import Json
from api.management.keys import rights, terms
from api.management.keys.bodies import RotatedKey
from api.management.keys.changing import peppered, revised, spend_as_asked, wanted
from api.management.keys.desk import Work
from api.management.keys.issuing import with_secret
from api.management.keys.rights import Act
from api.management.keys.shown import shown
from api.management.metadata import recorded
from api.management.office import forbidden
from ledger import keys as stored_keys
from ledger.tenants import Row
from policy.periods import after, duration
from schemas.failures import Kind, Refused

_WEEK = "7d"


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
        _may_last(work, body, await rights.has_charge(on, work, before))
        now = work.office.now()
        values |= _renewed(before | values, secret, now)
        hash, until = pepper.hash(secret.encode()), _until(body.grace_period or work.keys.rules.grace, now)
        row = await stored_keys.rotate(on, before["key_id"], hash, values, now, until)
        await change.record("rotated", "key", row["key_id"], recorded(before), recorded(row))
        await spend_as_asked(on, work, body, row)
        found = (await shown(on, work.office, [row]))[0]
    return with_secret(found, secret)


def _may_last(work: Work, body: RotatedKey, charge: bool) -> None:
    """An owner keeps an old secret for a week, or as long as the configuration does, else a 400."""
    grace = body.grace_period
    if charge or not grace:
        return
    if duration(grace).seconds > max(duration(one).seconds for one in (_WEEK, work.keys.rules.grace) if one):
        message = f"grace_period {grace} is longer than the owner of a key may keep its old secret."
        raise Refused(Kind.INVALID_REQUEST, message, param="grace_period")


def _renewed(row: Row, secret: str, now: datetime) -> Json:
    due = after(now, row["rotation_interval"]) if row["auto_rotate"] and row["rotation_interval"] else None
    return {"key_name": terms.name_of(secret), "key_rotation_at": due}


def _until(grace: str, now: datetime) -> datetime | None:
    return after(now, grace) if grace else None
