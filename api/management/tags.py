"""`/tag/*`: tags of requests that have a budget or a description, and those that were only ever used. Admins' only."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field

from api.management.fields import Body, Name, emptied
from api.management.linked_budgets import MOST_NAMED, MOST_SHOWN, WithBudget, settle, standings
from api.management.office import Caller, Desk, Office, answer, forbidden
from ledger import tags, tenants
from ledger.pool import Asked
from schemas.access import Access
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["tags"])

_MOST_DISTINCT = 250  # as LiteLLM
_USED_ONLY = "This is just a spend tag that requests came with. It does not control any models."
_ANSWERED = frozenset(
    {"spend", "total_spend", "litellm_budget_table", "created_at", "created_by", "updated_at", "updated_by"}
)
"""Fields of answers: sent back, they change nothing."""


class TagTerms(WithBudget):
    """The body of `/tag/new`, and of `/tag/update`, which changes the fields that are given."""

    name: Name
    description: Annotated[str, Field(max_length=10_000)] | None = None
    models: list[Name] | None = None

    def columns(self) -> dict[str, Any]:
        """The columns of the tag that are to change, `extra` aside."""
        return emptied({name: value for name, value in self.own().items() if name in ("description", "models")})

    def kept(self) -> dict[str, Any]:
        """What goes into `extra`."""
        return {name: value for name, value in self.unknown().items() if name not in _ANSWERED}


class TagName(Body):
    """The body of `/tag/delete`."""

    name: Name


class TagNames(Body):
    """The body of `/tag/info`."""

    names: Annotated[list[Name], Field(max_length=MOST_NAMED)]


@ROUTER.post("/tag/new")
async def new(body: TagTerms, desk: Desk, caller: Caller) -> Response:
    """A new tag, with the budget that is named or described."""
    _must_change(caller)
    async with desk.change(caller) as change:
        who = caller.caller.user
        budget = await settle(change, body.terms(), body.budget_id, None)
        values = {**body.columns(), "tag_name": body.name, "budget_id": budget, "extra": body.kept()}
        row = await tenants.insert(change.connection, tenants.TAGS, {**values, "created_by": who, "updated_by": who})
        await change.record("created", "tag", body.name, None, row)
        shown = await _shown(change.connection, desk, [row])
    return answer({"message": f"Tag {body.name} created successfully", "tag": shown[0]})


@ROUTER.post("/tag/update")
async def update(body: TagTerms, desk: Desk, caller: Caller) -> Response:
    """Change the fields that are given; a term of the budget that is null is no limit any more."""
    _must_change(caller)
    async with desk.change(caller) as change:
        before = await tenants.find(change.connection, tenants.TAGS, body.name, lock=True)
        if before is None:
            raise _missing([body.name], "name")
        budget = await settle(change, body.terms(), body.budget_id, before["budget_id"])
        values = {**body.columns(), "budget_id": budget, "extra": before["extra"] | body.kept()}
        row = await tenants.change(
            change.connection, tenants.TAGS, [body.name], {**values, "updated_by": caller.caller.user}
        )
        assert row is not None
        await change.record("updated", "tag", body.name, before, row)
        shown = await _shown(change.connection, desk, [row])
    return answer({"message": f"Tag {body.name} updated successfully", "tag": shown[0]})


@ROUTER.post("/tag/info")
async def info(body: TagNames, desk: Desk, caller: Caller) -> Response:
    """Tags by their names; all must have been made."""
    _must_read(caller)
    names = sorted(set(body.names))
    with desk.reading() as pool:
        rows = await tenants.matching(pool, tenants.TAGS, {"tag_name": names}, limit=len(names))
        found = {row["tag_name"] for row in rows}
        if len(found) < len(names):
            raise _missing([name for name in names if name not in found], "names")
        shown = await _shown(pool, desk, rows)
    return answer({tag["name"]: tag for tag in shown})


@ROUTER.get("/tag/list")
async def listing(desk: Desk, caller: Caller, start_date: date | None = None, end_date: date | None = None) -> Response:
    """All tags that were made, and at most 1000 that were only used: the latest, in these days when they are given."""
    _must_read(caller)
    if (start_date is None) != (end_date is None):
        said = "start_date and end_date must be given together."
        raise Refused(Kind.INVALID_REQUEST, said, param="end_date" if end_date is None else "start_date")
    if start_date and end_date and start_date > end_date:
        raise Refused(Kind.INVALID_REQUEST, "start_date must not be after end_date.", param="start_date")
    with desk.reading() as pool:
        rows = await tenants.matching(pool, tenants.TAGS, {}, order=["created_at"], limit=10_000)
        shown = await _shown(pool, desk, rows)
        used = await tags.only_used(pool, start_date, end_date, limit=MOST_SHOWN)
    return answer([*shown, *(_only_used(tag) for tag in used)])


@ROUTER.post("/tag/delete")
async def delete(body: TagName, desk: Desk, caller: Caller) -> Response:
    """Forget a tag: requests with it are not limited by it any more."""
    _must_change(caller)
    async with desk.change(caller) as change:
        row = await tenants.remove(change.connection, tenants.TAGS, body.name)
        if row is None:
            raise _missing([body.name], "name")
        await change.record("deleted", "tag", body.name, row, None)
    return answer({"message": f"Tag {body.name} deleted successfully"})


@ROUTER.get("/tag/distinct")
async def distinct(desk: Desk, caller: Caller) -> Response:
    """The 250 tags that were used most, without those of a form `kind:value` other than `User-Agent:…`."""
    _must_read(caller)
    with desk.reading() as pool:
        names = await tags.most_used(pool, limit=_MOST_DISTINCT)
    return answer({"results": [{"tag": name} for name in names]})


def _must_change(caller: Access) -> None:
    if not caller.is_admin:
        raise forbidden("change tags")


def _must_read(caller: Access) -> None:
    if not caller.reads_all:
        raise forbidden("see tags")


def _missing(names: list[str], param: str) -> Refused:
    return Refused(Kind.NOT_FOUND, f"There is no tag '{', '.join(names)[:200]}'.", param=param)


async def _shown(on: Asked, office: Office, rows: list[tenants.Row]) -> list[dict[str, Any]]:
    """Tags as LiteLLM shows them."""
    found = await standings(on, office, "tag", {row["tag_name"]: row["budget_id"] for row in rows})
    return [
        {
            "model_info": {},
            **row["extra"],
            **{name: value for name, value in row.items() if name not in ("extra", "tag_name")},
            "name": row["tag_name"],
            **found[row["tag_name"]],
        }
        for row in rows
    ]


def _only_used(tag: tags.Used) -> dict[str, Any]:
    return {
        "name": tag.name,
        "description": _USED_ONLY,
        "models": None,
        "created_at": tag.first,
        "updated_at": tag.last,
    }
