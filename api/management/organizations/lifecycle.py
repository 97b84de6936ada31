"""`/organization/new`, `update` and `delete`: teams and keys that share models, a budget and admins."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field, model_validator

from api.management.attachments import remove_keys
from api.management.fields import Body, Json, Name
from api.management.linked_budgets import TERMS, WithBudget, settle
from api.management.metadata import closed, merged, recorded
from api.management.office import Caller, Change, Desk, answer, forbidden, missing
from api.management.organizations.shown import one
from api.management.rules import ForTeams
from api.management.teams.changing import remove
from ledger import organizations, tenants
from ledger.pepper import Seal
from ledger.tenants import Row
from schemas.access import Access

ROUTER = APIRouter(tags=["organizations"])

_ANSWERED = frozenset(
    (
        *("spend", "total_spend", "model_spend", "litellm_budget_table", "budget_reset_at", "users", "members"),
        *("teams", "object_permission_id", "created_at", "created_by", "updated_at", "updated_by"),
    )
)
"""Fields of answers: sent back, they change nothing."""


class OrganizationFields(WithBudget):
    """What an organization can be given. The budget's fields may also be in `litellm_budget_table`, as in answers."""

    organization_id: Name | None = None
    organization_alias: Name | None = None
    models: list[Name] | None = None
    metadata: Json | None = None

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, values: Any) -> Any:
        nested = values.get("litellm_budget_table") if isinstance(values, dict) else None
        if not isinstance(nested, dict):
            return values
        return {**values, **{name: value for name, value in nested.items() if name in _NESTED}}

    def columns(self, stored: Mapping[str, Any], seal: Seal | None) -> dict[str, Any]:
        """The columns that change, the budget aside. `stored`: metadata and extra as they are."""
        values = {name: value for name, value in self.own().items() if value is not None and name in _COLUMNS}
        unknown = {name: value for name, value in self.unknown().items() if name not in _ANSWERED}
        metadata = merged(_added(stored["metadata"], self.metadata), unknown, stored["metadata"])
        values["metadata"] = closed(metadata, stored["metadata"], seal)
        values["extra"] = stored["extra"] | unknown
        return values


class NewOrganization(OrganizationFields):
    """The body of `/organization/new`."""

    organization_alias: Name


class OrganizationUpdate(OrganizationFields):
    """The body of `/organization/update`: what is given changes; null clears only a term of the budget."""

    organization_id: Name


class OrganizationIds(Body):
    """The body of `/organization/delete`."""

    organization_ids: Annotated[list[Name], Field(min_length=1, max_length=100)]


_COLUMNS = frozenset({"organization_alias", "models"})
_MOST_TEAMS = 1_000_000
_NESTED = TERMS | {"budget_id"}


@ROUTER.post("/organization/new")
async def new(body: NewOrganization, desk: Desk, caller: Caller, rules: ForTeams) -> Response:
    """A new organization, with the budget that is named, or one of its own."""
    _must_change(caller)
    who = caller.caller.user
    async with desk.change(caller) as change:
        values = {
            **body.columns({"metadata": {}, "extra": {}}, rules.seal),
            "organization_id": body.organization_id or str(uuid.uuid4()),
            "budget_id": await settle(change, body.terms(), body.budget_id, None, always=True),
            "created_by": who,
            "updated_by": who,
        }
        row = await tenants.insert(change.connection, tenants.ORGANIZATIONS, values)
        await change.record("created", "organization", row["organization_id"], None, recorded(row))
        shown = await one(change.connection, desk, row)
    return answer(shown)


@ROUTER.patch("/organization/update")
@ROUTER.post("/organization/update", include_in_schema=False)
async def update(body: OrganizationUpdate, desk: Desk, caller: Caller, rules: ForTeams) -> Response:
    """Change the fields that are given; metadata is added to what is there."""
    _must_change(caller)
    async with desk.change(caller) as change:
        before = await _locked(change, body.organization_id)
        values = {**body.columns(before, rules.seal), "updated_by": caller.caller.user}
        values["budget_id"] = await settle(change, body.terms(), body.budget_id, before["budget_id"], always=True)
        row = await tenants.change(change.connection, tenants.ORGANIZATIONS, [body.organization_id], values)
        assert row is not None
        await change.record("updated", "organization", body.organization_id, recorded(before), recorded(row))
        shown = await one(change.connection, desk, row)
    return answer(shown)


@ROUTER.delete("/organization/delete")
async def delete(body: OrganizationIds, desk: Desk, caller: Caller) -> Response:
    """Remove organizations with their teams, members and keys, all or none. What they were."""
    _must_change(caller)
    gone = []
    async with desk.change(caller) as change:
        for id in sorted(set(body.organization_ids)):
            row = await _locked(change, id)
            gone.append(await one(change.connection, desk, row))
            await _remove(change, row)
    return answer(gone)


def _must_change(caller: Access) -> None:
    if not caller.is_admin:
        raise forbidden("make, change or delete organizations")


async def _locked(change: Change, id: str) -> Row:
    row = await tenants.find(change.connection, tenants.ORGANIZATIONS, id, lock=True)
    if row is None:
        raise missing("organization", id)
    return row


def _added(stored: Json, given: Json | None) -> Json:
    """Metadata with more: nulls change nothing, what is in objects is added to them."""
    found = dict(stored)
    for name, value in (given or {}).items():
        if isinstance(value, dict) and isinstance(found.get(name), dict):
            found[name] = {**found[name], **value}
        elif value is not None:
            found[name] = value
    return found


async def _remove(change: Change, row: Row) -> None:
    on, id = change.connection, row["organization_id"]
    found = await tenants.matching(on, tenants.TEAMS, {"organization_id": id}, limit=_MOST_TEAMS)
    await remove_keys(change, {"organization_id": id})
    for team in found:
        await remove(change, team)
    change.touches("user", *await organizations.remove_members(on, id))
    await tenants.remove(on, tenants.ORGANIZATIONS, id)
    await change.record("deleted", "organization", id, recorded(row), None)
