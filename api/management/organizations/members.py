"""`/organization/member_*`: who is in an organization and as what. Its admins decide; who is not a user becomes one."""

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BeforeValidator, Field

from api.management import profiles
from api.management.fields import Body, Money, Name
from api.management.linked_budgets import settle
from api.management.office import Caller, Change, Desk, Office, answer, missing
from api.management.organizations.rights import check_manages, check_member, check_own_budget, check_taken
from api.management.organizations.shown import memberships
from api.management.people import OneUser, meant, resolved
from api.management.rules import ForUsers
from ledger import organizations, tenants
from ledger.tenants import Row
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["organizations"])

_MOST = 500
OrganizationRole = Literal["org_admin", "internal_user", "internal_user_viewer"]


class NewMember(OneUser):
    """Somebody, and what he is to be in the organization."""

    role: OrganizationRole


class NewMembers(Body):
    """The body of `/organization/member_add`. `member` is one or a list."""

    organization_id: Name
    member: Annotated[
        list[NewMember],
        BeforeValidator(lambda value: [value] if isinstance(value, dict) else value),
        Field(min_length=1, max_length=_MOST),
    ]
    max_budget_in_organization: Money | None = None


class OneMember(OneUser):
    """The body of `/organization/member_delete`."""

    organization_id: Name


class ChangedMember(OneMember):
    """The body of `/organization/member_update`: what is null stays."""

    role: OrganizationRole | None = None
    max_budget_in_organization: Money | None = None


@ROUTER.post("/organization/member_add")
async def add(body: NewMembers, desk: Desk, caller: Caller, rules: ForUsers) -> Response:
    """Put people into an organization, all or none; who is not a user yet is made one."""
    check_manages(caller, body.organization_id)
    added, joined = [], []
    async with desk.change(caller) as change:
        if await tenants.find(change.connection, tenants.ORGANIZATIONS, body.organization_id, lock=True) is None:
            raise missing("organization", body.organization_id)
        for person in body.member:
            user = await resolved(change, person, rules)
            check_member(caller, user["user_role"])
            await check_taken(change.connection, caller, user)
            added.append(user)
            joined.append(await _join(change, body, user["user_id"], person.role))
        shown = await profiles.shown(change.connection, desk, added)
        members = [await _shown(change, desk, row) for row in joined]
    found = {"organization_id": body.organization_id, "updated_users": shown}
    return answer({**found, "updated_organization_memberships": members})


@ROUTER.patch("/organization/member_update")
async def update(body: ChangedMember, desk: Desk, caller: Caller) -> Response:
    """Change somebody's role, or what he may spend; his place as it is then."""
    check_manages(caller, body.organization_id)
    async with desk.change(caller) as change:
        if await tenants.find(change.connection, tenants.ORGANIZATIONS, body.organization_id) is None:
            said = f"There is no organization '{body.organization_id}'."
            raise Refused(Kind.INVALID_REQUEST, said, param="organization_id")  # LiteLLM's status: 400
        before = await _member(change, body)
        values = {"user_role": before["user_role"] if body.role is None else body.role}
        if body.max_budget_in_organization is not None:
            check_own_budget(caller, before["user_id"])
            terms = {"max_budget": body.max_budget_in_organization}
            values["budget_id"] = await settle(change, terms, None, before["budget_id"])
        key = (body.organization_id, before["user_id"])
        row = await tenants.change(change.connection, tenants.ORGANIZATION_MEMBERS, key, values)
        assert row is not None
        await _record(change, "member_updated", before, row)
        shown = await _shown(change, desk, row)
    return answer(shown)


@ROUTER.delete("/organization/member_delete")
async def delete(body: OneMember, desk: Desk, caller: Caller) -> Response:
    """Take somebody out of an organization; the place that he had."""
    check_manages(caller, body.organization_id)
    async with desk.change(caller) as change:
        before = await _member(change, body)
        if before["budget_id"] is not None:
            check_own_budget(caller, before["user_id"])  # else who comes back would be rid of it
        shown = await _shown(change, desk, before)
        await tenants.remove(change.connection, tenants.ORGANIZATION_MEMBERS, body.organization_id, before["user_id"])
        await _record(change, "member_removed", before, None)
    return answer(shown)


async def _join(change: Change, body: NewMembers, user: str, role: str) -> Row:
    terms = {"max_budget": body.max_budget_in_organization}
    budget = await settle(change, terms, None, None)
    values = {"organization_id": body.organization_id, "user_id": user, "user_role": role, "budget_id": budget}
    row = await tenants.insert(change.connection, tenants.ORGANIZATION_MEMBERS, values)
    await _record(change, "member_added", None, row)
    return row


async def _member(change: Change, person: OneMember) -> Row:
    """The place of the one who is meant, locked. Raises `Refused`."""
    user_id = person.user_id or await meant(change.connection, person)
    key = (person.organization_id, user_id)
    row = await tenants.find(change.connection, tenants.ORGANIZATION_MEMBERS, *key, lock=True)
    if user_id is None or row is None:
        raise Refused(Kind.NOT_FOUND, f"'{user_id or person.user_email}' is not in the organization.", param="user_id")
    user = await tenants.find(change.connection, tenants.USERS, user_id)
    check_member(change.access, user["user_role"] if user else None)
    return row


async def _record(change: Change, action: str, before: Row | None, after: Row | None) -> None:
    place = after or before
    assert place is not None
    change.touches("user", place["user_id"])
    await change.record(action, "organization", place["organization_id"], before, after)


async def _shown(change: Change, office: Office, row: Row) -> Row:
    rows = await organizations.members(change.connection, [row["organization_id"]], user=row["user_id"])
    return (await memberships(change.connection, office, rows))[0]
