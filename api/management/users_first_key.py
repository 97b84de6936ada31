"""The key that comes with a new user."""

from datetime import datetime
from typing import Any

from api.management.keys.desk import KeyDesk
from api.management.office import Change
from api.management.users_bodies import NewUser
from ledger import keys
from ledger.tenants import Row
from policy.periods import after


async def first_key(change: Change, desk: KeyDesk, body: NewUser, user: Row, now: datetime) -> dict[str, Any]:
    """A key for the user; the fields of the answer that tell of it, with the secret.

    When an organization's admin has made the user, the key belongs to the organization: its limits bound it.
    """
    secret = desk.secret()
    who = change.access.caller.user
    row = await keys.add(
        change.connection,
        (await desk.pepper()).hash(secret.encode()),
        {
            "key_name": f"sk-...{secret[-4:]}",
            "key_alias": body.key_alias,
            "user_id": user["user_id"],
            "team_id": body.team_id,
            "organization_id": body.organizations[0] if body.organizations and not change.access.is_admin else None,
            "models": user["models"],
            "expires": None if body.duration is None else after(now, body.duration),
            "created_by": who,
            "updated_by": who,
        },
    )
    await change.record("created", "key", row["key_id"], None, row)
    return {
        "key": secret,
        "key_name": row["key_name"],
        "key_alias": row["key_alias"],
        "token": row["key_id"],
        "token_id": row["key_id"],
        "expires": row["expires"],
    }
