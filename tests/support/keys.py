"""The routes for keys over a real ledger, asked by whomever a test wants to be, with a clock that a test sets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from fastapi import FastAPI, Request

from api import app
from api.management.keys import ROUTER, KeyDesk, KeyRules
from api.management.office import Office
from ledger import tenants
from ledger.pepper import Pepper, Seal, pepper
from ledger.pool import Pool
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.support.office import ADMIN, Bureau, read

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@dataclass
class KeyBureau(Bureau):
    """A bureau whose time is `now`; `pepper` hashes keys as its ledger does."""

    now: datetime = NOON
    rules: KeyRules = field(default_factory=KeyRules)
    pepper: Pepper = field(default_factory=lambda: Pepper(b""))
    application: FastAPI = field(default_factory=FastAPI)

    def hash(self, secret: str) -> str:
        """What is stored of a key."""
        return self.pepper.hash(secret.encode())

    async def generate(self, **body: Any) -> Any:
        """A new key, made by an admin whoever asks now."""
        asking, self.access = self.access, ADMIN
        try:
            return await self.post("/key/generate", **body)
        finally:
            self.access = asking

    async def listed(self, **query: Any) -> Any:
        """What `/key/list` answers, which must be a 200."""
        return read(await self.http.get("/key/list", params=query), 200)

    async def row(self, key_id: str) -> tenants.Row:
        """A key's row."""
        found = await tenants.find(self.pool, tenants.KEYS, key_id)
        assert found is not None
        return found


def someone(user: str = "u", key: str = "", team: str = "", role: Role = Role.USER, **more: Any) -> Access:
    """The access of a key of this user."""
    return Access(caller=Caller(key_hash=key or f"key of {user}", user=user, team=team), role=role, **more)


@asynccontextmanager
async def key_bureau(pool: Pool, rules: KeyRules | None = None, seal: Seal | None = None) -> AsyncIterator[KeyBureau]:
    """The routes for keys, admin at first. `seal` is the salt key's."""
    application = app.bare([ROUTER], "0")
    salt = await pepper(pool, None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as http:
        found = KeyBureau(http, pool, rules=rules or KeyRules(), pepper=salt, application=application)

        async def admit(_request: Request) -> Access:
            return found.access

        async def salted() -> Pepper:
            return salt

        application.state.office = Office(pool, admit, found.told.append, now=lambda: found.now)
        application.state.keys = KeyDesk(salted, found.rules, seal=seal)
        yield found


async def add_team(pool: Pool, team_id: str, *members: str, admins: tuple[str, ...] = (), **columns: Any) -> None:
    """A team with members."""
    async with pool.acquire() as on:
        await tenants.insert(on, tenants.TEAMS, {"team_id": team_id, **columns})
        for user, role in [*((one, "user") for one in members), *((one, "admin") for one in admins)]:
            await tenants.insert(on, tenants.TEAM_MEMBERS, {"team_id": team_id, "user_id": user, "role": role})


async def add(pool: Pool, table: tenants.Table, **columns: Any) -> None:
    """A row."""
    async with pool.acquire() as on:
        await tenants.insert(on, table, columns)
