"""`GET /v1/models`: the model groups that a client may name."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends

from schemas.catalog import Catalog
from schemas.failures import Kind, Refused

_CREATED = 1_677_610_602  # models here have no birthday; LiteLLM's constant


def routes(catalog: Catalog, admit: Callable[..., object]) -> APIRouter:
    """The model routes, with and without `/v1`."""
    router = APIRouter(tags=["models"], dependencies=[Depends(admit)])

    @router.get("/v1/models")
    @router.get("/models", include_in_schema=False)
    async def models() -> dict[str, Any]:
        """Every model group, OpenAI's list shape."""
        return {"object": "list", "data": [_entry(name) for name in catalog.listing()]}

    @router.get("/v1/models/{model:path}")
    @router.get("/models/{model:path}", include_in_schema=False)
    async def model(model: str) -> dict[str, Any]:
        """One model group, or a 404."""
        if catalog.resolve(model) is None:
            raise Refused(Kind.UNKNOWN_MODEL, f"The model '{model[:200]}' does not exist.", param="model")
        return _entry(model)

    return router


def _entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "penstock"}
