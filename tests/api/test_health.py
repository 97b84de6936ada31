"""`GET /health`: an admin sees the pools, a key the deployments of models that it may call."""

from typing import Any

import httpx

from api import app, health
from schemas.access import Access, Role, Scope
from schemas.config import Deployment
from schemas.usage import Caller
from tests.support.inside import Inside, inside

MINE = Deployment(id="mine-1", group="mine", provider="demo", model="demo")
OTHER = Deployment(id="other-1", group="other", provider="demo", model="demo")


async def seen(system: Inside, access: Access) -> Any:
    """What the holder of this access is shown."""

    async def admit() -> Access:
        return access

    router = health.overview(system.asker, system.roster, lambda: system.planner.catalog, admit)
    transport = httpx.ASGITransport(app.bare([router], "test"))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return (await http.get("/health")).json()


async def test_who_sees_what() -> None:
    async with inside(MINE, OTHER) as system:
        for role in (Role.ADMIN, Role.VIEWER):
            found = await seen(system, Access(caller=Caller(), role=role))
            assert [row["deployment"] for row in found["workers"]["worker-1"]] == ["mine-1", "other-1"]
        for role in (Role.NONE, Role.USER, Role.USER_VIEWER, Role.TEAM):
            limited = Access(caller=Caller(), role=role, scopes=(Scope("key", ("mine",)),))
            served = {"model_name": "mine", "deployment": "mine-1", "alive": True}
            assert await seen(system, limited) == {"deployments": [served]}


async def test_a_deployment_that_nobody_serves_is_not_alive() -> None:
    async with inside(MINE, workers=False) as system:
        found = await seen(system, Access(caller=Caller()))
        assert found == {"deployments": [{"model_name": "mine", "deployment": "mine-1", "alive": False}]}
