"""Users and teams as an identity provider names them: found, and added or changed where the configuration wants that.

Every change is in the audit log, as done by `ACTOR`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

import asyncpg

from ledger import tenants, users
from ledger.audit import Entry, record
from ledger.pool import Connection, Pool, ledger_needed, storable

ACTOR = "jwt"
_MOST = 1000


class Registrar(Protocol):
    """Who comes, with what the configuration and the team give to everybody who is new, and who goes; audited."""

    async def user(self, on: Connection, id: str, email: str) -> None:
        """A new user."""

    async def team(self, on: Connection, id: str) -> None:
        """A new team."""

    async def join(self, on: Connection, team: str, user: str) -> None:
        """A new member of a team, which must exist."""

    async def leave(self, on: Connection, team: str, user: str) -> None:
        """The user is in the team no more."""


class Directory:
    """`tell` gets the names of changed entities, for every process. All raise `Refused`: 503 when Postgres is away."""

    def __init__(self, pool: Pool, tell: Callable[[frozenset[str]], None], registrar: Registrar) -> None:
        self._pool = pool
        self._tell = tell
        self._registrar = registrar

    async def user(self, id: str, email: str) -> str | None:
        """The user with this id, else with this id at the provider, else the only one with this email."""
        with _reading():
            if await tenants.find(self._pool, tenants.USERS, id) is not None:
                return id
            rows = await tenants.matching(self._pool, tenants.USERS, {"sso_user_id": id}, limit=2)
            found = [row["user_id"] for row in rows] or (await users.with_email(self._pool, email) if email else [])
        return found[0] if len(found) == 1 else None

    async def role(self, user: str) -> str | None:
        """The role that is stored of a user."""
        with _reading():
            row = await tenants.find(self._pool, tenants.USERS, user)
        return None if row is None else row["user_role"]

    async def add_user(self, id: str, email: str) -> None:
        """A new user, unless there is one."""
        await self._add(f"user:{id}", lambda on: self._registrar.user(on, id, email))

    async def set_role(self, user: str, role: str) -> None:
        """The user has this role from now on."""
        async with self._changing() as connection:
            before = await tenants.find(connection, tenants.USERS, user, lock=True)
            if before is None or before["user_role"] == role:
                return
            await tenants.change(connection, tenants.USERS, [user], {"user_role": role, "updated_by": ACTOR})
            entry = Entry(ACTOR, "", "updated", "user", user, {"user_role": before["user_role"]}, {"user_role": role})
            await record(connection, entry)
        self._tell(frozenset({f"user:{user}"}))

    async def teams(self, ids: Sequence[str]) -> list[str]:
        """Those of these teams that exist, in this order."""
        with _reading():
            rows = await tenants.matching(self._pool, tenants.TEAMS, {"team_id": list(ids)}, limit=_MOST)
        known = {row["team_id"] for row in rows}
        return [id for id in ids if id in known]

    async def team_called(self, alias: str) -> str | None:
        """The team with this alias; None when there is none, or several."""
        with _reading():
            rows = await tenants.matching(self._pool, tenants.TEAMS, {"team_alias": alias}, limit=2)
        return rows[0]["team_id"] if len(rows) == 1 else None

    async def organization_called(self, alias: str) -> str | None:
        """The organization with this alias; None when there is none, or several."""
        with _reading():
            rows = await tenants.matching(self._pool, tenants.ORGANIZATIONS, {"organization_alias": alias}, limit=2)
        return rows[0]["organization_id"] if len(rows) == 1 else None

    async def add_team(self, id: str) -> None:
        """A new team, unless there is one."""
        await self._add(f"team:{id}", lambda on: self._registrar.team(on, id))

    async def join(self, user: str, teams: Sequence[str], *, leave_others: bool = False) -> None:
        """The user is a member of these teams, which must exist, and with `leave_others` of no other."""
        async with self._changing() as connection:
            await tenants.find(connection, tenants.USERS, user, lock=True)  # his tokens may come several at once
            rows = await tenants.matching(connection, tenants.TEAM_MEMBERS, {"user_id": user}, limit=_MOST)
            present = {row["team_id"] for row in rows}
            joined = [team for team in teams if team not in present]
            left = sorted(present.difference(teams)) if leave_others else []
            for team in joined:
                await self._registrar.join(connection, team, user)
            for team in left:
                await self._registrar.leave(connection, team, user)
        if joined or left:
            self._tell(frozenset({f"user:{user}", *(f"team:{team}" for team in (*joined, *left))}))

    async def _add(self, name: str, add: Callable[[Connection], Awaitable[None]]) -> None:
        try:
            async with self._changing() as connection:
                await add(connection)
        except asyncpg.UniqueViolationError:  # another request of the same somebody was first
            return
        self._tell(frozenset({name}))

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[Connection]:
        with ledger_needed():
            async with self._pool.acquire() as connection, connection.transaction():
                yield connection


@contextmanager
def _reading() -> Iterator[None]:
    with ledger_needed(), storable():
        yield
