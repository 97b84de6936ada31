"""`/customer/*`, also as `/end_user/*`: the end users whom requests name in `user`. Admins change, viewers read."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.management.fields import Body, EndUser, Name
from api.management.linked_budgets import MOST_NAMED, MOST_SHOWN, WithBudget, settle, standings
from api.management.office import Caller, Change, Desk, Office, answer, forbidden
from ledger import customers, tenants
from ledger.balances import spent
from ledger.pool import Asked
from schemas.access import Access, Account
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["customers"])

_IN_EXTRA = ("allowed_model_region", "default_model", "metadata", "object_permission")
_ANSWERED = frozenset({"spend", "total_spend", "litellm_budget_table", "budget_reset_at", "object_permission_id"})
"""Fields of answers: sent back, they change nothing."""


class ChangedCustomer(WithBudget):
    """The body of `/customer/update`: fields that are null or missing stay as they are."""

    user_id: EndUser
    alias: Name | None = None
    blocked: bool | None = None
    models: list[Name] | None = None
    allowed_model_region: Literal["eu", "us"] | None = None
    default_model: Name | None = None
    metadata: dict[str, Any] | None = None
    object_permission: dict[str, Any] | None = None

    def columns(self) -> dict[str, Any]:
        """The columns that are to change, `extra` aside."""
        return {n: v for n, v in self.own().items() if v is not None and n not in _IN_EXTRA and n in _COLUMNS}

    def kept(self) -> dict[str, Any]:
        """What goes into `extra`."""
        declared = {name: value for name, value in self.own().items() if name in _IN_EXTRA}
        kept = {**{n: v for n, v in self.unknown().items() if n not in _ANSWERED}, **declared}
        return {name: value for name, value in kept.items() if value is not None}


class NewCustomer(ChangedCustomer):
    """The body of `/customer/new`."""

    spend: Annotated[float, Field(ge=0, le=0)] | None = None


class CustomerIds(Body):
    """The body of `/customer/block`, `unblock` and `delete`."""

    user_ids: Annotated[list[EndUser], Field(min_length=1, max_length=MOST_NAMED)]


_COLUMNS = tenants.CUSTOMERS.columns


@ROUTER.post("/end_user/new", include_in_schema=False)
@ROUTER.post("/customer/new")
async def new(body: NewCustomer, desk: Desk, caller: Caller) -> Response:
    """A new customer, with the budget that is named or described. What was spent is the ledger's: `spend` must be 0."""
    _must_change(caller)
    async with desk.change(caller) as change:
        row = await _insert(change, body, await settle(change, body.terms(), body.budget_id, None))
        shown = await _shown(change.connection, desk, [row])
    return answer(shown[0])


@ROUTER.post("/end_user/update", include_in_schema=False)
@ROUTER.post("/customer/update")
async def update(body: ChangedCustomer, desk: Desk, caller: Caller) -> Response:
    """Change the fields that are given."""
    _must_change(caller)
    terms = {name: value for name, value in body.terms().items() if value is not None}
    async with desk.change(caller) as change:
        before = await tenants.find(change.connection, tenants.CUSTOMERS, body.user_id, lock=True)
        if before is None:
            await _must_be_known(change.connection, [body.user_id])
        budget = await settle(change, terms, body.budget_id, before["budget_id"] if before else None)
        if before is None:
            row = await _insert(change, body, budget)
        else:
            row = await _change(change, before, {**body.columns(), "budget_id": budget}, body.kept())
        shown = await _shown(change.connection, desk, [row])
    return answer(shown[0])


@ROUTER.get("/end_user/info", include_in_schema=False)
@ROUTER.get("/customer/info")
async def info(end_user_id: str, desk: Desk, caller: Caller) -> Response:
    """One customer, also one who was never made but has spent something."""
    _must_read(caller)
    with desk.reading() as pool:
        row = await tenants.find(pool, tenants.CUSTOMERS, end_user_id)
        if row is None:
            await _must_be_known(pool, [end_user_id], "end_user_id")
        shown = await _shown(pool, desk, [row or _unmade(end_user_id)])
    return answer(shown[0])


@ROUTER.get("/end_user/list", include_in_schema=False)
@ROUTER.get("/customer/list")
async def listing(
    desk: Desk,
    caller: Caller,
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    page_size: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = MOST_SHOWN,
) -> Response:
    """Customers by id: those who were made, and those who have called. A page of them."""
    _must_read(caller)
    with desk.reading() as pool:
        ids = await customers.known(pool, limit=page_size, offset=(page - 1) * page_size)
        rows = await tenants.matching(pool, tenants.CUSTOMERS, {"user_id": ids}, limit=len(ids))
        made = {row["user_id"]: row for row in rows}
        shown = await _shown(pool, desk, [made.get(id) or _unmade(id) for id in ids])
    return answer(shown)


@ROUTER.post("/end_user/delete", include_in_schema=False)
@ROUTER.post("/customer/delete")
async def delete(body: CustomerIds, desk: Desk, caller: Caller) -> Response:
    """Forget customers, all or none; how many. What they have spent stays in the ledger."""
    _must_change(caller)
    ids = sorted(set(body.user_ids))
    async with desk.change(caller) as change:
        rows = [await tenants.remove(change.connection, tenants.CUSTOMERS, id) for id in ids]
        await _must_be_known(change.connection, [i for i, row in zip(ids, rows, strict=True) if not row], "user_ids")
        for row in filter(None, rows):
            await change.record("deleted", "customer", row["user_id"], row, None)
    message = f"Successfully deleted customers with ids: {body.user_ids}"
    return answer({"deleted_customers": len(ids), "message": message})


@ROUTER.post("/end_user/block", include_in_schema=False)
@ROUTER.post("/customer/block")
async def block(body: CustomerIds, desk: Desk, caller: Caller) -> Response:
    """Refuse the calls of these customers; who is not known yet is made."""
    _must_change(caller)
    async with desk.change(caller) as change:
        rows = [await _blocked(change, id) for id in sorted(set(body.user_ids))]
        shown = await _shown(change.connection, desk, rows)
    return answer({"blocked_users": shown})


@ROUTER.post("/end_user/unblock", include_in_schema=False)
@ROUTER.post("/customer/unblock")
async def unblock(body: CustomerIds, desk: Desk, caller: Caller) -> Response:
    """Admit the calls of these customers again; the ids of those who remain blocked (at most 1000)."""
    _must_change(caller)
    async with desk.change(caller) as change:
        for id in sorted(set(body.user_ids)):
            before = await tenants.find(change.connection, tenants.CUSTOMERS, id, lock=True)
            if before is not None and before["blocked"]:
                await _change(change, before, {"blocked": False}, {}, "unblocked")
        left = await tenants.matching(change.connection, tenants.CUSTOMERS, {"blocked": True}, limit=MOST_SHOWN)
    return answer({"blocked_users": [row["user_id"] for row in left]})


async def _insert(change: Change, body: ChangedCustomer, budget: str | None) -> tenants.Row:
    who = change.access.caller.user
    values = {**body.columns(), "budget_id": budget, "extra": body.kept(), "created_by": who, "updated_by": who}
    row = await tenants.insert(change.connection, tenants.CUSTOMERS, values)
    await change.record("created", "customer", row["user_id"], None, row)
    return row


async def _change(
    change: Change, before: tenants.Row, values: dict[str, Any], extra: dict[str, Any], action: str = "updated"
) -> tenants.Row:
    id = before["user_id"]
    stored = {**values, "user_id": id, "extra": before["extra"] | extra, "updated_by": change.access.caller.user}
    row = await tenants.change(change.connection, tenants.CUSTOMERS, [id], stored)
    assert row is not None
    await change.record(action, "customer", id, before, row)
    return row


async def _blocked(change: Change, id: str) -> tenants.Row:
    before = await tenants.find(change.connection, tenants.CUSTOMERS, id, lock=True)
    if before is not None:
        return await _change(change, before, {"blocked": True}, {}, "blocked")
    return await _insert(change, ChangedCustomer(user_id=id, blocked=True), None)


async def _must_be_known(on: Asked, ids: list[str], param: str = "user_id") -> None:
    """That customers without a row have at least spent something. Raises `Refused(NOT_FOUND)`."""
    sums = await spent(on, [(Account("customer", id), "") for id in ids])
    unknown = [id for id in ids if not sums[Account("customer", id)].total]
    if unknown:
        raise Refused(Kind.NOT_FOUND, f"There is no customer '{', '.join(unknown)[:200]}'.", param=param)


def _must_change(caller: Access) -> None:
    if not caller.is_admin:
        raise forbidden("change customers")


def _must_read(caller: Access) -> None:
    if not caller.reads_all:
        raise forbidden("see customers")


def _unmade(id: str) -> tenants.Row:
    """The row of a customer who has only called."""
    return {"user_id": id, "alias": None, "blocked": False, "budget_id": None, "models": [], "extra": {}}


async def _shown(on: Asked, office: Office, rows: list[tenants.Row]) -> list[dict[str, Any]]:
    """Customers as LiteLLM shows them."""
    found = await standings(on, office, "customer", {row["user_id"]: row["budget_id"] for row in rows})
    none = {**dict.fromkeys(_IN_EXTRA), "object_permission_id": None}
    return [
        {**none, **row["extra"], **{n: v for n, v in row.items() if n != "extra"}, **found[row["user_id"]]}
        for row in rows
    ]
