"""Whose daily activity a caller may see, by what is asked for; and the names of who is in it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from api.management.office import forbidden
from api.management.spend.bounds import split
from api.management.spend.metrics import Names
from api.management.spend.sight import View, own
from ledger import tenants
from ledger.activity import Scope
from ledger.sight import EVERYTHING
from schemas.failures import Kind, Refused

_MOST = 50_000
_GRANT = "/team/daily/activity"


class Asked(NamedTuple):
    """What a query asks: ids with commas between them (for users one id), a model, a key as the client names it."""

    ids: str | None
    excluded: str | None
    model: str | None
    api_key: str | None
    key_limit: int


@dataclass(frozen=True, slots=True)
class Whose:
    """A scope that the caller may see, and what to show beside the ids in it."""

    scope: Scope
    names: Callable[[set[str]], Awaitable[Names]]


async def of_user(view: View, asked: Asked) -> Whose:
    """Everybody or anybody for who sees everything, else the caller. Raises `Refused`."""
    scope = await _scope(view, "user", asked)
    user = view.access.caller.user
    if view.access.reads_all:
        scope = replace(scope, entities=None if asked.ids is None else [asked.ids])
    elif asked.ids is not None and asked.ids != user:
        raise forbidden("view another user's spend: non-admin users can only view their own spend data")
    else:
        scope = replace(scope, entities=None, sight=own(view.access))
        if user:
            scope = replace(scope, entities=[user], sight=EVERYTHING)

    async def names(ids: set[str]) -> Names:
        rows = await _rows(view, tenants.USERS, "user_id", ids)
        return {row["user_id"]: {name: row[name] for name in ("user_email", "user_alias")} for row in rows}

    return Whose(scope, names)


async def of_teams(view: View, asked: Asked) -> Whose:
    """Any team for who sees everything, else the caller's: all of a team's activity if he administers every team that
    is asked for or they have granted it, otherwise his own in them. Raises `Refused`."""
    scope = await _scope(view, "team", asked)
    access = view.access
    if not access.reads_all:
        wanted = set(split(asked.ids) or ())
        rows = await _rows(view, tenants.TEAMS, "team_id", wanted) if wanted else await _led(view)
        mine = access.teams | {access.caller.team} - {""}
        theirs = {row["team_id"] for row in rows if access.manages_team(row["team_id"], row["organization_id"])}
        teams = wanted or mine | theirs
        if strange := sorted(teams - mine - theirs):
            raise Refused(Kind.NOT_FOUND, f"User does not belong to Team= {strange[0][:200]}.", param="team_ids")
        granted = {access.caller.team} if _GRANT in access.member_rights else set()
        whole = teams <= theirs | granted | access.admin_of_teams
        scope = replace(scope, entities=sorted(teams), sight=scope.sight if whole else own(access))

    async def names(ids: set[str]) -> Names:
        found = await _rows(view, tenants.TEAMS, "team_id", ids)
        return {row["team_id"]: {"team_alias": row["team_alias"]} for row in found}

    return Whose(scope, names)


async def of_organizations(view: View, asked: Asked) -> Whose:
    """Any organization for who sees everything, else those that the caller administers. Raises `Refused`."""
    scope = await _scope(view, "organization", asked)
    mine = view.access.admin_of_organizations
    if not view.access.reads_all:
        wanted = set(scope.entities or mine)
        if strange := sorted(wanted - mine):
            raise forbidden(f"view this: its user is not org_admin for Organization= {strange[0][:200]}")
        scope = replace(scope, entities=sorted(wanted))

    async def names(ids: set[str]) -> Names:
        rows = await _rows(view, tenants.ORGANIZATIONS, "organization_id", ids)
        return {row["organization_id"]: {"organization_alias": row["organization_alias"]} for row in rows}

    return Whose(scope, names)


async def of_customers(view: View, asked: Asked) -> Whose:
    """Any customer, for who sees everything. Raises `Refused`."""
    if not view.access.reads_all:
        raise forbidden("view the activity of customers: it is for admins only")

    async def names(ids: set[str]) -> Names:
        rows = await _rows(view, tenants.CUSTOMERS, "user_id", ids)
        return {row["user_id"]: {"alias": row["alias"]} for row in rows}

    return Whose(await _scope(view, "customer", asked), names)


async def of_tags(view: View, asked: Asked) -> Whose:
    """Any tag; of what the caller may see."""

    async def names(_: set[str]) -> Names:
        return {}

    return Whose(replace(await _scope(view, "tag", asked), sight=view.sight), names)


async def key_names(view: View, ids: set[str]) -> Mapping[str, Mapping[str, Any]]:
    """What is shown beside a key, of those that there still are."""
    keys = await _rows(view, tenants.KEYS, "key_id", ids)
    users = await _rows(view, tenants.USERS, "user_id", {row["user_id"] for row in keys if row["user_id"]})
    emails = {row["user_id"]: row["user_email"] for row in users}
    return {
        row["key_id"]: {
            "key_alias": row["key_alias"],
            "team_id": row["team_id"],
            "user_id": row["user_id"],
            "user_email": emails.get(row["user_id"]),
            "key_exists": True,
        }
        for row in keys
    }


def with_today(now: datetime, minutes: int, until: date) -> date:
    """The end of a range that ends today where the caller is (`minutes` behind UTC): then today in UTC is in it too."""
    there = (now.astimezone(UTC) - timedelta(minutes=minutes)).date()
    return until if until < there else max(until, now.astimezone(UTC).date())


async def _scope(view: View, dimension: str, asked: Asked) -> Scope:
    return Scope(
        dimension,
        split(asked.ids),
        split(asked.excluded) or (),
        asked.model,
        await view.keys(asked.api_key),
        key_limit=asked.key_limit,
    )


async def _led(view: View) -> list[tenants.Row]:
    """The teams of the organizations that the caller administers."""
    return await _rows(view, tenants.TEAMS, "organization_id", set(view.access.admin_of_organizations))


async def _rows(view: View, table: tenants.Table, column: str, ids: set[str]) -> list[tenants.Row]:
    if not ids:
        return []
    with view.office.reading() as pool:
        return await tenants.matching(pool, table, {column: sorted(ids)}, limit=_MOST)
