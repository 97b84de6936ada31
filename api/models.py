"""`GET /v1/models`: the model groups that a client may name."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends

from api.entry import may_name
from schemas.access import Access
from schemas.catalog import Catalog
from schemas.failures import Kind, Refused

_CREATED = 1_677_610_602  # models here have no birthday; LiteLLM's constant


def routes(catalog: Callable[[], Catalog], admit: Callable[..., Any]) -> APIRouter:
    """The model routes, with and without `/v1`; `catalog` gives the present one, `admit` the caller's `Access`."""
    router = APIRouter(tags=["models"])
    caller = Depends(admit)

    @router.get("/v1/models")
    @router.get("/models", include_in_schema=False)
    async def models(access: Access = caller) -> dict[str, Any]:
        """Every model group that the key may name, OpenAI's list shape."""
        known = catalog()
        names = dict.fromkeys([*access.aliases, *known.listing()])
        return {"object": "list", "data": [_entry(name) for name in names if may_name(access, name, known)]}

    @router.get("/v1/models/{model:path}")
    @router.get("/models/{model:path}", include_in_schema=False)
    async def model(model: str, access: Access = caller) -> dict[str, Any]:
        """One model group, or a 404."""
        if not may_name(access, model, catalog()):
            raise Refused(Kind.UNKNOWN_MODEL, f"The model '{model[:200]}' does not exist.", param="model")
        return _entry(model)

    return router


def _entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "penstock"}
