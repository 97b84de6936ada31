"""`/model/info` and `/model_group/info`: which models there are, what they cost and can, in LiteLLM's form.

What LiteLLM's price map knows of a model's abilities (`mode`, `supports_…`) stands here as far as `model_info` says it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.management.models.listing import Entry, groups, listed
from api.management.models.stock import Stock
from api.management.office import answer
from ledger.prices import PriceBook
from schemas.access import Access
from schemas.failures import Kind, Refused

May = Callable[[str], bool]
"""Whether the caller may see a model group."""


class Which(BaseModel):
    """Which deployments, and in which order; LiteLLM's names. Other parameters are ignored."""

    model_config = ConfigDict(protected_namespaces=())

    model: str | None = None
    modelId: str | None = None
    search: str | None = None
    wildcard_only: bool = False
    access_group: str | None = None
    sortBy: Literal["model_name", "created_at", "updated_at", "costs", "status"] | None = None
    sortOrder: Literal["asc", "desc"] = "asc"
    page: int = Field(1, ge=1, le=10**9)
    size: int = Field(50, ge=1, le=10**6)

    def fits(self, entry: Entry) -> bool:
        """Whether it is one of those that are asked for."""
        name, info = entry["model_name"], entry["model_info"]
        return (
            self.model in (None, name)
            and self.modelId in (None, info["id"])
            and (self.search or "").lower() in name.lower()
            and (not self.wildcard_only or "*" in name)
            and (self.access_group is None or self.access_group in _texts(info.get("access_groups")))
        )

    def ordered(self, entries: list[Entry]) -> list[Entry]:
        """In the order that is asked for."""
        key = self.sortBy
        return entries if key is None else sorted(entries, key=_BY[key], reverse=self.sortOrder == "desc")


def routes(stock: Stock, prices: PriceBook, member: Callable[..., Any], may_of: Callable[[Access], May]) -> APIRouter:
    """The routes. `member` is a dependency that lets every key pass; `may_of` says what its holder may see."""
    router = APIRouter(tags=["model management"])
    admitted = Depends(member)

    @router.get("/model/info")
    @router.get("/v1/model/info", include_in_schema=False)
    async def info(who: Annotated[Access, admitted], litellm_model_id: str | None = None) -> Response:
        """Every deployment, or the one with this id. Keys are never shown."""
        found = listed(stock, prices, may_of(who))
        if litellm_model_id is not None:
            found = [entry for entry in found if entry["model_info"]["id"] == litellm_model_id][:1]
            if not found:
                said = f"Model id = {litellm_model_id[:200]} not found on litellm proxy"
                raise Refused(Kind.INVALID_REQUEST, said, param="litellm_model_id")
        return answer({"data": found})

    @router.get("/v2/model/info")
    async def info_by_pages(who: Annotated[Access, admitted], which: Annotated[Which, Query()]) -> Response:
        """The same by pages, searched and sorted."""
        found = which.ordered([entry for entry in listed(stock, prices, may_of(who)) if which.fits(entry)])
        page, size = which.page, which.size
        rest = {"total_count": len(found), "current_page": page, "total_pages": -(-len(found) // size), "size": size}
        return answer({"data": found[(page - 1) * size : page * size], **rest})

    @router.get("/model_group/info")
    async def group_info(who: Annotated[Access, admitted], model_group: str | None = None) -> Response:
        """Every model group, or this one: what its deployments have together."""
        found = groups(stock.config, prices, may_of(who))
        return answer({"data": [one for one in found if model_group in (None, one["model_group"])]})

    return router


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _time(name: str) -> Callable[[Entry], datetime]:
    def key(entry: Entry) -> datetime:
        found = entry["model_info"].get(name)
        return found if isinstance(found, datetime) else datetime.min.replace(tzinfo=UTC)

    return key


def _cost(entry: Entry) -> float:
    info = entry["model_info"]
    return float(info["input_cost_per_token"] or 0) + float(info["output_cost_per_token"] or 0)


_BY: dict[str, Callable[[Entry], Any]] = {
    "model_name": lambda entry: entry["model_name"].lower(),
    "created_at": _time("created_at"),
    "updated_at": _time("updated_at"),
    "costs": _cost,
    "status": lambda entry: not entry["model_info"]["db_model"],
}
