"""`/organization/list` and `/organization/info`: everybody sees the organizations that he is in."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.management.fields import Body, Name
from api.management.linked_budgets import MOST_SHOWN
from api.management.office import Caller, Desk, answer, missing
from api.management.organizations.rights import check_reads, own
from api.management.organizations.shown import one, shown
from ledger import organizations, tenants

ROUTER = APIRouter(tags=["organizations"])


class Organizations(Body):
    """The body of `POST /organization/info`."""

    organizations: Annotated[list[Name], Field(min_length=1, max_length=MOST_SHOWN)]


@ROUTER.get("/organization/list")
async def listing(
    desk: Desk,
    caller: Caller,
    org_id: str | None = None,
    org_alias: str | None = None,
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    page_size: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = MOST_SHOWN,
) -> Response:
    """Organizations with this id, or this in their alias; the oldest first. A page of them."""
    ids = None if caller.reads_all else own(caller)
    if org_id:
        ids = frozenset({org_id}) if ids is None else ids & {org_id}
    with desk.reading() as pool:
        found = await organizations.search(
            pool,
            None if ids is None else sorted(ids),
            org_alias or None,
            limit=page_size,
            offset=(page - 1) * page_size,
        )
        return answer(await shown(pool, desk, await tenants.in_order(pool, tenants.ORGANIZATIONS, found)))


@ROUTER.get("/organization/info")
async def info(organization_id: str, desk: Desk, caller: Caller) -> Response:
    """One organization."""
    check_reads(caller, organization_id)
    with desk.reading() as pool:
        row = await tenants.find(pool, tenants.ORGANIZATIONS, organization_id)
        if row is None:
            raise missing("organization", organization_id)
        return answer(await one(pool, desk, row))


@ROUTER.post("/organization/info")
async def infos(body: Organizations, desk: Desk, caller: Caller) -> Response:
    """Those of these organizations that there are."""
    for id in body.organizations:
        check_reads(caller, id)
    wanted = sorted(set(body.organizations))
    with desk.reading() as pool:
        rows = await tenants.matching(pool, tenants.ORGANIZATIONS, {"organization_id": wanted}, limit=len(wanted))
        return answer(await shown(pool, desk, rows))
