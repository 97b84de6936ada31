"""Users and teams as an identity provider names them: found, and added or changed where the configuration wants that.

Every change is in the audit log, as done by `ACTOR`.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from ledger import tenants, users
from ledger.audit import Entry, record
from ledger.pool import Connection, Pool, ledger_needed, storable

ACTOR = "jwt"
_MOST = 1000
_NEW_ROLE = "internal_user"


class Directory:
    """`tell` gets the names of changed entities, for every process. All raise `Refused`: 503 when Postgres is away."""

    def __init__(self, pool: Pool, tell: Callable[[frozenset[str]], None]) -> None:
        self._pool = pool
        self._tell = tell

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
        values = {"user_id": id, "user_email": email or None, "user_role": _NEW_ROLE}
        await self._add(tenants.USERS, "user", id, values)

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
        await self._add(tenants.TEAMS, "team", id, {"team_id": id, "team_alias": id})

    async def join(self, user: str, teams: Sequence[str], *, leave_others: bool = False) -> None:
        """The user is a member of these teams, which must exist, and with `leave_others` of no other."""
        async with self._changing() as connection:
            rows = await tenants.matching(connection, tenants.TEAM_MEMBERS, {"user_id": user}, limit=_MOST)
            present = {row["team_id"] for row in rows}
            joined = [team for team in teams if team not in present]
            left = sorted(present.difference(teams)) if leave_others else []
            for team in joined:
                await tenants.insert(connection, tenants.TEAM_MEMBERS, {"team_id": team, "user_id": user})
                await record(connection, Entry(ACTOR, "", "updated", "team", team, None, {"member_added": user}))
            for team in left:
                await tenants.remove(connection, tenants.TEAM_MEMBERS, team, user)
                await record(connection, Entry(ACTOR, "", "updated", "team", team, {"member_removed": user}, None))
        if joined or left:
            self._tell(frozenset({f"user:{user}", *(f"team:{team}" for team in (*joined, *left))}))

    async def _add(self, table: tenants.Table, entity: str, id: str, values: dict[str, str | None]) -> None:
        try:
            async with self._changing() as connection:
                stamped = {**values, "created_by": ACTOR, "updated_by": ACTOR}
                row = await tenants.insert(connection, table, stamped)
                await record(connection, Entry(ACTOR, "", "created", entity, id, None, row))
        except asyncpg.UniqueViolationError:  # another request of the same somebody was first
            return
        self._tell(frozenset({f"{entity}:{id}"}))

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[Connection]:
        with ledger_needed():
            async with self._pool.acquire() as connection, connection.transaction():
                yield connection


@contextmanager
def _reading() -> Iterator[None]:
    with ledger_needed(), storable():
        yield
