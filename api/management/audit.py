"""`/audit`, `/audit/{id}`: who has changed what, for admins and those who may see everything."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from api.management.office import Caller, Desk, answer, forbidden
from ledger import audit_pages
from schemas.access import Access
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["audit"])

TABLES = {
    "key": "LiteLLM_VerificationToken",
    "user": "LiteLLM_UserTable",
    "team": "LiteLLM_TeamTable",
    "organization": "LiteLLM_OrganizationTable",
    "customer": "LiteLLM_EndUserTable",
    "budget": "LiteLLM_BudgetTable",
    "tag": "LiteLLM_TagTable",
    "model": "LiteLLM_ProxyModelTable",
    "credential": "LiteLLM_CredentialsTable",
    "configuration": "LiteLLM_Config",
}
"""What an entity's `table_name` is in LiteLLM; another entity's is its own name."""
_MOST = 100


class Asked(BaseModel):
    """The query of `/audit`. Times without a zone are UTC."""

    page: int = Field(1, ge=1, le=10**9)
    page_size: int = Field(10, ge=1, le=_MOST)
    changed_by: str | None = None
    changed_by_api_key: str | None = None
    action: str | None = None
    table_name: str | None = None
    object_id: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    sort_by: Literal["updated_at", "id"] | None = None
    sort_order: Literal["asc", "desc"] = "desc"

    def filter(self) -> audit_pages.Filter:
        """Which entries are asked for."""
        return audit_pages.Filter(
            entities=None if self.table_name is None else _entities(self.table_name),
            id=self.object_id,
            actor=self.changed_by,
            actor_key=self.changed_by_api_key,
            action=self.action,
            since=_zoned(self.start_date),
            until=_zoned(self.end_date),
        )


@ROUTER.get("/audit")
async def listing(asked: Annotated[Asked, Query()], desk: Desk, caller: Caller) -> Response:
    """Entries that match, the newest first."""
    _admitted(caller)
    which, size = asked.filter(), asked.page_size
    with desk.reading() as pool:
        offset = (asked.page - 1) * size
        rows = await audit_pages.page(pool, which, size, offset, oldest_first=asked.sort_order == "asc")
        total = await audit_pages.count(pool, which)
    return answer(
        {
            "audit_logs": [shown(row) for row in rows],
            "total": total,
            "page": asked.page,
            "page_size": size,
            "total_pages": -(-total // size),
        }
    )


@ROUTER.get("/audit/{id}")
async def entry(id: str, desk: Desk, caller: Caller) -> Response:
    """One entry."""
    _admitted(caller)
    row = None
    if id.isascii() and id.isdigit() and len(id) < 20:
        with desk.reading() as pool:
            row = await audit_pages.entry(pool, int(id))
    if row is None:
        raise Refused(Kind.NOT_FOUND, f"There is no entry '{id[:200]}' in the audit log.", param="id")
    return answer(shown(row))


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """An entry as LiteLLM shows it."""
    return {
        "id": str(row["id"]),
        "updated_at": row["at"],
        "changed_by": row["actor"],
        "changed_by_api_key": row["actor_key"],
        "action": row["action"],
        "table_name": TABLES.get(row["entity"], row["entity"]),
        "object_id": row["entity_id"],
        "before_value": row["before"],
        "updated_values": row["after"],
    }


def _admitted(caller: Access) -> None:
    if not caller.reads_all:
        raise forbidden("read the audit log")


def _entities(table: str) -> list[str]:
    return [entity for entity, name in TABLES.items() if name == table] or [table]


def _zoned(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
