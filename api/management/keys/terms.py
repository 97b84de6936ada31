"""What a request makes of a key's row: columns, metadata, lifetime and rotation."""

from datetime import datetime
from typing import Any

from api.management.keys import guarded
from api.management.keys.bodies import KeyTerms, KeyType
from api.management.keys.desk import Work
from api.management.metadata import check_metadata, closed
from ledger.tenants import Row
from policy.periods import after
from schemas.failures import Kind, Refused

SHOWN_OF_NAME = 4
"""How many characters of a secret its key's name shows."""


def name_of(secret: str) -> str:
    """What is shown of a secret, `sk-...AbCd`."""
    return f"sk-...{secret[-SHOWN_OF_NAME:]}"


def values_of(work: Work, body: KeyTerms, stored: Row | None) -> dict[str, Any]:
    """The columns that a request sets, of a new key or of this one. Raises `Refused` for what does not go together."""
    before: Row = stored or {"metadata": {}, "extra": {}, "auto_rotate": False, "rotation_interval": None}
    now = work.office.now()
    values = body.columns()
    if stored is None:
        values = {name: value for name, value in values.items() if value is not None}
    routes = guarded.routes(body)
    if routes is not None:
        values["allowed_routes"] = routes
    if body.key_type is not None:
        values["key_type"] = KeyType(body.key_type).value
    metadata = guarded.metadata(work, body, before["metadata"])
    check_metadata(metadata)
    values["metadata"] = closed(metadata, before["metadata"], work.keys.seal)
    extra = before["extra"] | body.in_extra()
    values["extra"] = {name: value for name, value in extra.items() if value is not None}
    return values | _lifetime(body, now) | _rotation(body, before, now)


def _lifetime(body: KeyTerms, now: datetime) -> dict[str, Any]:
    if "duration" not in body.model_fields_set or body.duration == "":
        return {}
    return {"expires": None if body.duration in (None, "-1") else after(now, body.duration)}


def _rotation(body: KeyTerms, before: Row, now: datetime) -> dict[str, Any]:
    """When the key is to be rotated next, if the request says anything about it."""
    if not {"auto_rotate", "rotation_interval"} & body.model_fields_set:
        return {}
    rotates = before["auto_rotate"] if body.auto_rotate is None else body.auto_rotate
    interval = body.rotation_interval if "rotation_interval" in body.model_fields_set else before["rotation_interval"]
    if not rotates:
        return {"auto_rotate": False, "rotation_interval": interval, "key_rotation_at": None}
    if interval is None:
        raise Refused(Kind.INVALID_REQUEST, "auto_rotate needs a rotation_interval.", param="rotation_interval")
    return {"auto_rotate": True, "rotation_interval": interval, "key_rotation_at": after(now, interval)}
