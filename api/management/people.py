"""Somebody who is named by id or by email: found, or made a user when there is nobody."""

import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from api.management.fields import Body, Name
from api.management.metadata import recorded
from api.management.office import Change, forbidden
from api.management.rules import UserRules
from ledger import tenants, users
from ledger.pool import Asked
from ledger.tenants import Row
from schemas.failures import Kind, Refused


class OneUser(Body):
    """Somebody, by id or by email."""

    user_id: Name | None = None
    user_email: Name | None = None

    @model_validator(mode="after")
    def _somebody(self) -> "OneUser":
        if self.user_id is None and self.user_email is None:
            raise ValueError("either user_id or user_email is needed")
        return self


async def resolved(change: Change, person: OneUser, rules: UserRules) -> Row:
    """The user who is meant, locked; a new one when there is none."""
    if person.user_email is not None:
        await users.hold_email(change.connection, person.user_email)
    user_id = await meant(change.connection, person)
    found = None if user_id is None else await tenants.find(change.connection, tenants.USERS, user_id, lock=True)
    if found is not None:
        return found
    if user_id is not None and not change.access.is_admin:
        raise forbidden(f"make the user '{user_id}': name new members by email")
    values = {"user_id": user_id or str(uuid.uuid4()), "user_email": person.user_email}
    return await made(change, values, rules)


async def meant(on: Asked, person: OneUser) -> str | None:
    """The id of the user who is meant; None when there is nobody. Raises `Refused` when that is not clear."""
    if person.user_email is None:
        return person.user_id
    found = await users.with_email(on, person.user_email)
    if len(found) > 1:
        raise Refused(Kind.INVALID_REQUEST, "Several users have this email: name one by user_id.", param="user_email")
    if found and person.user_id not in (None, found[0]):
        raise Refused(Kind.INVALID_REQUEST, "user_id and user_email are different users.", param="user_email")
    return found[0] if found else person.user_id


async def check_email(change: Change, email: str) -> None:
    """Nobody has this email yet, and nobody gets it before this transaction ends. Raises `Refused`."""
    await users.hold_email(change.connection, email)
    if await users.with_email(change.connection, email):
        raise Refused(Kind.INVALID_REQUEST, "There is a user with this email.", param="user_email")


async def made(change: Change, values: Mapping[str, Any], rules: UserRules) -> Row:
    """A new user with what the rules add."""
    who = change.access.caller.user
    completed = {**rules.completed(values, change.access), "created_by": who, "updated_by": who}
    row = await tenants.insert(change.connection, tenants.USERS, completed)
    await change.record("created", "user", row["user_id"], None, recorded(row))
    return row
