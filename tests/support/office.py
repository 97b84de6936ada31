"""The management routes over a real ledger, asked by whomever a test wants to be."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from fastapi import APIRouter, Request

from api import app
from api.management.office import Office
from ledger.pool import Pool
from schemas.access import Access, Role
from schemas.usage import Caller

ADMIN = Access(caller=Caller(key_hash="master", key_alias="master", user="default_user_id"), role=Role.ADMIN)


def read(response: httpx.Response, status: int) -> Any:
    """The answer's JSON; its status must be this, and an error has OpenAI's shape."""
    assert response.status_code == status, response.text
    if status >= 400:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    return response.json()


@dataclass
class Bureau:
    """An application with some routers. `access` is who asks; `told` what every process was told of."""

    http: httpx.AsyncClient
    pool: Pool
    access: Access = ADMIN
    told: list[frozenset[str]] = field(default_factory=list)

    async def post(self, path: str, status: int = 200, **body: Any) -> Any:
        """The answer's JSON; its status must be this."""
        return read(await self.http.post(path, json=body), status)

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        """The answer's JSON; its status must be this."""
        return read(await self.http.get(path, params=query), status)


@asynccontextmanager
async def bureau(
    pool: Pool, *routers: APIRouter, now: Callable[[], datetime] | None = None, **state: Any
) -> AsyncIterator[Bureau]:
    """The routes of these routers, admin at first; `state` as in `app.bare`."""
    application = app.bare(routers, "0", **state)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as http:
        found = Bureau(http, pool)

        async def admit(_request: Request) -> Access:
            return found.access

        application.state.office = Office(pool, admit, found.told.append, now=now or (lambda: datetime.now(UTC)))
        yield found
