"""`/invitation/*`: links by which a user sets his first password. Who has one's id may do so once, for a week."""

import secrets
from datetime import timedelta

from fastapi import APIRouter, Response

from api.management.fields import Body, Name
from api.management.office import Caller, Change, Desk, answer, forbidden
from api.management.users.rights import governs, leads
from ledger import tenants, users
from ledger.tenants import Row
from schemas.access import Access
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["users"])
_LIFE = timedelta(days=7)


class NewInvitation(Body):
    """The body of `/invitation/new`."""

    user_id: Name


class InvitationId(Body):
    """The body of `/invitation/delete`."""

    invitation_id: Name


class InvitationUpdate(InvitationId):
    """The body of `/invitation/update`."""

    is_accepted: bool


@ROUTER.post("/invitation/new")
async def new(body: NewInvitation, desk: Desk, caller: Caller) -> Response:
    """Invite a user who is there already."""
    now, who = desk.now(), caller.caller.user
    async with desk.change(caller) as change:
        await _check_invited(change, body.user_id)
        row = await tenants.insert(
            change.connection,
            users.INVITATIONS,
            {
                "id": secrets.token_urlsafe(24),
                "user_id": body.user_id,
                "expires_at": now + _LIFE,
                "created_at": now,
                "created_by": who,
                "updated_at": now,
                "updated_by": who,
            },
        )
        await change.record("invited", "user", body.user_id)
    return answer(row)


@ROUTER.get("/invitation/info")
async def info(invitation_id: Name, desk: Desk, caller: Caller) -> Response:
    """An invitation."""
    if not caller.is_admin:  # not for viewers: the id is all that an invitation needs
        raise forbidden("see invitations")
    with desk.reading() as pool:
        row = await tenants.find(pool, users.INVITATIONS, invitation_id)
    return answer(_there(row))


@ROUTER.post("/invitation/update")
async def update(body: InvitationUpdate, desk: Desk, caller: Caller) -> Response:
    """Say that an invitation was accepted. Only a proxy admin opens one again."""
    async with desk.change(caller) as change:
        before = await _own(change, body.invitation_id, invited=True)
        if not body.is_accepted and not caller.is_admin:
            raise forbidden("open an invitation again")
        accepted = desk.now() if body.is_accepted else None
        values = {"is_accepted": body.is_accepted, "accepted_at": accepted, "updated_by": caller.caller.user}
        row = await tenants.change(change.connection, users.INVITATIONS, [body.invitation_id], values)
        await change.record("invitation_updated", "user", before["user_id"], None, {"is_accepted": body.is_accepted})
    return answer(row)


@ROUTER.post("/invitation/delete")
async def delete(body: InvitationId, desk: Desk, caller: Caller) -> Response:
    """Take an invitation back."""
    async with desk.change(caller) as change:
        row = await _own(change, body.invitation_id)
        await tenants.remove(change.connection, users.INVITATIONS, body.invitation_id)
        await change.record("invitation_deleted", "user", row["user_id"])
    return answer(row)


async def _check_invited(change: Change, user_id: str) -> None:
    """Whether the caller may invite this user. An invitation sets a password: it must not open another's account."""
    access = change.access
    row = await tenants.find(change.connection, tenants.USERS, user_id)
    if row is None and (access.is_admin or access.admin_of_organizations or access.admin_of_teams):
        raise Refused(Kind.INVALID_REQUEST, f"There is no user '{user_id}'.", param="user_id")
    if row is None or not await _may_invite(change, access, row):
        raise forbidden(f"invite the user '{user_id}'")


async def _may_invite(change: Change, access: Access, row: Row) -> bool:
    if access.is_admin:
        return True
    if await users.password(change.connection, row["user_id"]) is not None:
        return False
    return await governs(change.connection, access, row) or await leads(change.connection, access, row)


async def _own(change: Change, invitation_id: str, *, invited: bool = False) -> Row:
    """An invitation that the caller made, or any for a proxy admin, or with `invited` his own."""
    access, me = change.access, change.access.caller.user
    row = await tenants.find(change.connection, users.INVITATIONS, invitation_id, lock=True)
    if (
        row is not None
        and not access.is_admin
        and (not me or me not in (row["created_by"], invited and row["user_id"]))
    ):
        raise forbidden("change this invitation")
    return _there(row)


def _there(row: Row | None) -> Row:
    if row is None:
        raise Refused(Kind.INVALID_REQUEST, "There is no such invitation.", param="invitation_id")
    return row
