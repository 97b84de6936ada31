"""Teams, users and organizations as the tests of their routes need them: an office with all of it, and people."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from api.management import teams, users
from api.management.keys.desk import KeyDesk
from api.management.rules import TeamRules, UserRules
from ledger import tenants
from ledger.pepper import Pepper
from ledger.pool import Pool
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.support.office import Bureau, bureau

Table = list[tuple[str, dict[str, Any], set[str]]]
"""Method and path, body or query, and who may."""

PEPPER = Pepper(b"p" * 32)
ROUTERS = (*teams.ROUTERS, *users.ROUTERS)


async def _pepper() -> Pepper:
    return PEPPER


@asynccontextmanager
async def tenancy(
    pool: Pool, *, for_teams: TeamRules | None = None, for_users: UserRules | None = None
) -> AsyncIterator[Bureau]:
    """The routes of teams and users. A proxy admin does not join the teams that he makes, unless rules say so."""
    rules = {"teams": for_teams or TeamRules(adds_admin=False), "users": for_users or UserRules()}
    async with bureau(pool, *ROUTERS, keys=KeyDesk(_pepper), **rules) as found:
        yield found


def person(
    user: str,
    role: Role = Role.USER,
    *,
    teams: tuple[str, ...] = (),
    admin_of: tuple[str, ...] = (),
    organizations: tuple[str, ...] = (),
) -> Access:
    """The access of a user's own key. `organizations`: whose admin he is."""
    return Access(
        caller=Caller(key_hash=f"key-of-{user}", key_alias=user, user=user),
        role=role,
        teams=frozenset(teams) | frozenset(admin_of),
        admin_of_teams=frozenset(admin_of),
        admin_of_organizations=frozenset(organizations),
        organizations=frozenset(organizations),
    )


async def organization(pool: Pool, organization_id: str, *, models: tuple[str, ...] = (), **terms: Any) -> None:
    """An organization; with terms it has a budget."""
    async with pool.acquire() as connection:
        values: dict[str, Any] = {"organization_id": organization_id, "models": list(models)}
        if terms:
            values["budget_id"] = f"budget-of-{organization_id}"
            await tenants.insert(connection, tenants.BUDGETS, {"budget_id": values["budget_id"], **terms})
        await tenants.insert(connection, tenants.ORGANIZATIONS, values)


async def belongs(pool: Pool, organization_id: str, user_id: str, role: str = "internal_user") -> None:
    """A user becomes a member of an organization."""
    async with pool.acquire() as connection:
        values = {"organization_id": organization_id, "user_id": user_id, "user_role": role}
        await tenants.insert(connection, tenants.ORGANIZATION_MEMBERS, values)


async def key(pool: Pool, key_id: str, **values: Any) -> None:
    """A key with these columns."""
    async with pool.acquire() as connection:
        await tenants.insert(connection, tenants.KEYS, {"key_id": key_id, "key_name": "sk-...abcd", **values})


_KEPT = ("users", "teams", "team_members", "budgets", "organizations", "organization_members")
_KEPT += ("virtual_keys", "passwords", "invitations")


async def save(pool: Pool) -> None:
    """Remember the rows of people and what they have, for `restore`."""
    for table in _KEPT:
        await pool.execute(f"CREATE TABLE saved_{table} AS TABLE {table}")


async def restore(pool: Pool) -> None:
    """The rows are again what they were at `save`."""
    await pool.execute(f"TRUNCATE {', '.join(_KEPT)} CASCADE")
    for table in _KEPT:
        await pool.execute(f"INSERT INTO {table} TABLE saved_{table}")


async def hold(office: Bureau, table: Table, people: dict[str, Access]) -> None:
    """What each row names works for those whom it names, each on the same ledger, and for nobody else."""
    await save(office.pool)
    for what, body, allowed in table:
        method, path = what.split()
        sent: dict[str, Any] = {"json": body} if method == "POST" else {"params": body}
        told = len(office.told)
        for who in sorted(people, key=lambda one: one in allowed):
            office.access = people[who]
            response = await office.http.request(method, path, **sent)
            expected = 200 if who in allowed else 403
            assert response.status_code == expected, (what, body, who, response.text)
            if who in allowed:
                await restore(office.pool)
            else:
                assert len(office.told) == told, (what, body, who, "a refusal changes nothing")
