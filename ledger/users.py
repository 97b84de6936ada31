"""Users found by what is known of them, and what is kept about them elsewhere: passwords, invitations, memberships.

Single rows are `ledger/tenants.py`'s. Emails are compared without regard to case.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ledger.pages import Found, Slice, containing
from ledger.pool import Asked, Connection
from ledger.sql import query
from ledger.tenants import Table

_STAMPS = ("created_at", "created_by", "updated_at", "updated_by")
INVITATIONS = Table(
    "invitations",
    ("id",),
    frozenset(("id", "user_id", "is_accepted", "accepted_at", "expires_at", *_STAMPS)),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which users; None is any."""

    role: str | None = None
    ids: Sequence[str] | None = None
    id_part: str | None = None
    email: str | None = None  # a part of it
    search: str | None = None  # a part of the id or of the email
    sso_ids: Sequence[str] | None = None
    team: str | None = None
    organizations: Sequence[str] | None = None  # a member of one of them


class Traces(NamedTuple):
    """What a removed user was in."""

    teams: list[str]
    organizations: list[str]


async def find(on: Asked, wanted: Wanted, part: Slice) -> Found:
    """Users by `user_id`, `user_email`, `user_alias`, `user_role`, `created_at` or `spend` (all in all)."""
    row = await on.fetchrow(
        query("users_found"),
        wanted.role,
        None if wanted.ids is None else list(wanted.ids),
        containing(wanted.id_part),
        containing(wanted.email),
        containing(wanted.search),
        None if wanted.sso_ids is None else list(wanted.sso_ids),
        wanted.team,
        part.by,
        part.descending,
        part.limit,
        part.offset,
        None if wanted.organizations is None else list(wanted.organizations),
    )
    assert row is not None
    return Found(row["total"], row["ids"])


async def with_email(on: Asked, email: str) -> list[str]:
    """The ids of users with this email, two at most."""
    return [row["user_id"] for row in await on.fetch(query("users_with_email"), email)]


async def hold_email(on: Connection, email: str) -> None:
    """Until the transaction ends nobody else who asks for this may give a user this email."""
    await on.execute(query("user_email_lock"), email)


async def key_counts(on: Asked, users: Sequence[str]) -> dict[str, int]:
    """How many keys each of these users has; a user without keys is missing."""
    return {row["id"]: row["keys"] for row in await on.fetch(query("key_counts_of_users"), list(users))}


async def remove_traces(on: Connection, user_id: str) -> Traces:
    """End the user's memberships; password and invitations (also those that he made) go too."""
    row = await on.fetchrow(query("user_traces_remove"), user_id)
    assert row is not None
    return Traces(row["teams"], row["organizations"])


async def password(on: Asked, user_id: str) -> str | None:
    """The hash of the user's password; None when there is none."""
    found: str | None = await on.fetchval(query("password"), user_id)
    return found


async def set_password(on: Connection, user_id: str, hashed: str, *, reset_required: bool) -> None:
    """Keep the hash of a new password. `reset_required`: the user is to choose another one."""
    await on.execute(query("password_set"), user_id, hashed, reset_required)
