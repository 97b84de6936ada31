"""Health: is the process alive, can it do its part, and what the API sees of the pools."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Response

from api.asker import Asker
from api.model_access import may_name
from policy.roster import Roster
from schemas.access import Access
from schemas.catalog import Catalog

Check = Callable[[], Awaitable[str | None]]
"""Answers with what is wrong, or None."""


def probes(checks: Mapping[str, Check], version: str) -> APIRouter:
    """Liveness and readiness, for every role; without a key."""
    router = APIRouter(tags=["health"])

    @router.get("/health/liveliness")
    @router.get("/health/liveness", include_in_schema=False)
    async def liveliness() -> str:
        """This process answers."""
        return "I'm alive!"

    @router.get("/health/readiness")
    async def readiness(response: Response) -> dict[str, object]:
        """200 when everything that this process needs is there (for an API: to take a request), else 503 and why."""
        reasons = {name: trouble for name, check in checks.items() if (trouble := await check()) is not None}
        if reasons:
            response.status_code = 503
            return {"status": "unhealthy", "reasons": reasons, "version": version}
        return {"status": "healthy", **dict.fromkeys(checks, "ok"), "version": version}

    return router


def overview(asker: Asker, roster: Roster, catalog: Callable[[], Catalog], admit: Callable[..., object]) -> APIRouter:
    """What an API process sees; with a key. `catalog` gives the present one."""
    router = APIRouter(tags=["health"])
    admitted = Depends(admit)

    @router.get("/health")
    async def health(access: Annotated[Access, admitted]) -> dict[str, object]:
        """Which models are served.

        For proxy admins and their viewers: requests that wait here, in which lines and how long, and how each
        deployment is doing in each worker.
        """
        if not access.reads_all:
            return {"deployments": _served(roster, access, catalog())}
        return {
            "waiting": asker.waiting,
            "lines": asker.lines.overview(),
            "workers": {
                process: [msgspec.structs.asdict(row) for row in serving]
                for process, serving in roster.serving().items()
            },
        }

    return router


def _served(roster: Roster, access: Access, catalog: Catalog) -> list[dict[str, object]]:
    """The deployments of models that the key may name, and whether anybody serves them."""
    return [
        {"model_name": group, "deployment": deployment.id, "alive": roster.standing(deployment.id).alive}
        for group, deployments in catalog.groups.items()
        if may_name(access, group, catalog)
        for deployment in deployments
    ]
