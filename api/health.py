"""Health: is the process alive, can it take a request end to end, and what it sees of the pools."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import APIRouter, Depends, Response

from api.asker import Asker
from api.roster import Roster
from broker.port import Bus

Check = Callable[[], Awaitable[str | None]]
"""Answers with what is wrong, or None."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What health is told from."""

    bus: Bus
    roster: Roster
    asker: Asker
    checks: tuple[tuple[str, Check], ...]
    version: str


def routes(pulse: Pulse, admit: Callable[..., object]) -> APIRouter:
    """The health routes; only `/health` needs a key."""
    router = APIRouter(tags=["health"])

    @router.get("/health/liveliness")
    @router.get("/health/liveness", include_in_schema=False)
    async def liveliness() -> str:
        """This process answers."""
        return "I'm alive!"

    @router.get("/health/readiness")
    async def readiness(response: Response) -> dict[str, object]:
        """200 when a request can be taken end to end, else 503 with the reasons."""
        reasons = {} if pulse.bus.trouble is None else {"queue": pulse.bus.trouble}
        for name, check in pulse.checks:
            trouble = await check()
            if trouble is not None:
                reasons[name] = trouble
        if reasons:
            response.status_code = 503
            return {"status": "unhealthy", "reasons": reasons, "version": pulse.version}
        return {"status": "healthy", "db": "connected", "queue": "connected", "version": pulse.version}

    @router.get("/health", dependencies=[Depends(admit)])
    async def health() -> dict[str, object]:
        """What this process sees: requests waiting here, and what each worker process serves."""
        return {
            "waiting": pulse.asker.waiting,
            "workers": {
                process: [
                    {"queue": s.queue, "deployment": s.deployment, "slots": s.slots, "in_flight": s.in_flight}
                    for s in serving
                ]
                for process, serving in pulse.roster.serving().items()
            },
        }

    return router
