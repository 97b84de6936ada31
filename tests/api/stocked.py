"""The routes about models over a real ledger, with a configuration file and no queue."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from api import app
from api.management import models
from ledger.pool import Pool
from ledger.prices import PriceBook
from penstock.current import Current
from penstock.needs import Needs, Source
from penstock.stock import LiveStock
from policy.roster import Roster
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.support.office import read

WHO = Caller(key_hash="hash", key_alias="alias", user="somebody")
FILED = {"model_name": "filed", "litellm_params": {"model": "openai/x", "rpm": 60}, "model_info": {"id": "filed-1"}}


class Instantly(Roster):
    """Every deployment is served: nobody waits for a worker."""

    def standing(self, deployment: str, model: str = "") -> Any:
        return type("Standing", (), {"alive": True})()


@dataclass
class Shop:
    """The application, its file and its configuration."""

    http: httpx.AsyncClient
    pool: Pool
    current: Current
    path: Path
    may: Callable[[str], bool]

    async def post(self, path: str, status: int = 200, **body: Any) -> Any:
        """The answer's JSON; its status must be this."""
        return read(await self.http.post(path, json=body), status)

    async def patch(self, path: str, status: int = 200, **body: Any) -> Any:
        return read(await self.http.patch(path, json=body), status)

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        return read(await self.http.get(path, params=query), status)

    def ids(self) -> list[str]:
        """The deployments that are configured now."""
        return [deployment.id for deployment in self.current.config.deployments]

    async def said(self) -> str:
        """All that the ledger keeps of models."""
        rows = [*await self.pool.fetch("SELECT * FROM models"), *await self.pool.fetch("SELECT * FROM audit_log")]
        return repr([dict(row) for row in rows])

    async def actions(self) -> list[tuple[str, str, str, str]]:
        """The audit log: who, what, which."""
        rows = await self.pool.fetch("SELECT actor, action, entity, entity_id FROM audit_log ORDER BY id")
        return [tuple(row) for row in rows]


def settings(salt: str | None = "a salt") -> dict[str, str]:
    """The environment of such a process."""
    return {"PENSTOCK_MASTER_KEY": "sk-0123456789", **({} if salt is None else {"PENSTOCK_SALT_KEY": salt})}


@asynccontextmanager
async def shop(pool: Pool, folder: Path, salt: str | None = "a salt", **sections: Any) -> AsyncIterator[Shop]:
    """A process with one model in its file, and whatever the ledger has."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"model_list": [FILED], **sections}))
    environ = {**settings(salt), "PENSTOCK_STATE_DIR": str(folder), "OUTSIDE": os.devnull}
    source = Source(path, Needs(embedded=salt is not None), environ)
    if salt is None:
        environ |= {"AMQP_URL": "amqp://nowhere/", "DATABASE_URL": "postgresql://nowhere/x"}
    written = source.read()
    current = Current(source, written, source.config(written))
    await current.begin(pool)
    stock, prices = LiveStock(current, Instantly(lambda: 0.0)), PriceBook()

    async def admin() -> Access:
        """Everybody is an administrator here."""
        return Access(caller=WHO, role=Role.ADMIN)

    found: list[Shop] = []
    routers = models.routers(pool, stock, prices, admin, lambda _: found[0].may)
    transport = httpx.ASGITransport(app.bare(routers, "test"))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        found.append(Shop(http, pool, current, path, lambda _: True))
        yield found[0]
