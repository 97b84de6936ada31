"""`POST /config/reload`: read the configuration file again, in every process."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends

from api.management.models.stock import Stock


def routes(stock: Stock, admin: Callable[..., Any]) -> APIRouter:
    """The route. `admin` is a dependency that lets proxy admins pass."""
    router = APIRouter(tags=["configuration"], dependencies=[Depends(admin)])

    @router.post("/config/reload")
    async def reload() -> dict[str, Any]:
        """What has changed. A file with errors changes nothing anywhere: a 400 that names them."""
        return await stock.reload()

    return router
