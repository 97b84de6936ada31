"""Health: is the process alive, can it do its part, and what the API sees of the pools."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec
from fastapi import APIRouter, Depends, Response

from api.asker import Asker
from policy.roster import Roster

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


def overview(asker: Asker, roster: Roster, admit: Callable[..., object]) -> APIRouter:
    """What an API process sees; with a key."""
    router = APIRouter(tags=["health"], dependencies=[Depends(admit)])

    @router.get("/health")
    async def health() -> dict[str, object]:
        """Requests that wait here, in which lines and how long, and how each deployment is doing in each worker."""
        return {
            "waiting": asker.waiting,
            "lines": asker.lines.overview(),
            "workers": {
                process: [msgspec.structs.asdict(row) for row in serving]
                for process, serving in roster.serving().items()
            },
        }

    return router
