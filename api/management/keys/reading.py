"""Keys as somebody may see them: one, several, a page of all, their aliases, and whether one is well."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, Field

from api.management.fields import Order
from api.management.keys import rights
from api.management.keys.bodies import MOST, Which
from api.management.keys.changing import peppered
from api.management.keys.desk import Work
from api.management.keys.rights import Act
from api.management.keys.shown import shown, status, usage
from api.management.office import forbidden
from ledger import key_listing, tenants
from ledger import keys as stored_keys
from ledger.key_listing import Filter, Sight
from ledger.pages import Slice
from ledger.pool import Asked
from ledger.tenants import Row
from schemas.failures import Kind, Refused
from schemas.usage import KEY_ACTOR

Page = Annotated[int, Field(ge=1, le=10**9)]
Size = Annotated[int, Field(ge=1, le=100)]
Text = Annotated[str | None, Field(max_length=300)]


async def info(work: Work, given: str | None) -> dict[str, Any]:
    """A key and all that is known of it; without `given` the caller's own. 404 when there is none, 403 when hidden."""
    pepper, now = await peppered(work), work.office.now()
    own = work.access.caller.key_hash
    with work.office.reading() as pool:
        if given is None:
            row = await tenants.find(pool, tenants.KEYS, own)
        else:
            row = await stored_keys.named(pool, pepper, given, now)
        if row is None:
            return await _gone(pool, work, (own,) if given is None else pepper.candidates(given), given or own)
        if not await rights.may_read(pool, work, row):
            raise forbidden("see this key")
        found = await _told(pool, work, row)
    return {"key": given or own, "info": {**found, "status": status(row, now)}}


async def infos(work: Work, body: Which) -> dict[str, Any]:
    """Those of these keys that the caller may see."""
    pepper = await peppered(work)
    with work.office.reading() as pool:
        names = await stored_keys.identify(pool, pepper, body.keys or [], work.office.now())
        rows = await tenants.matching(pool, tenants.KEYS, {"key_id": list(names.values())}, limit=MOST)
        rows += await tenants.matching(pool, tenants.KEYS, {"key_alias": body.key_aliases or []}, limit=MOST)
        seen = {row["key_id"]: row for row in rows if await rights.may_read(pool, work, row)}
        found = [await _told(pool, work, row) for row in seen.values()]
    return {"key": body.keys, "info": found}


class KeyQuery(BaseModel):
    """The query of `/key/list`."""

    page: Page = 1
    size: Size = 10
    user_id: Text = None
    team_id: Text = None
    organization_id: Text = None
    key_hash: Text = None
    key_alias: Text = None
    search: Text = None
    return_full_object: bool = False
    include_team_keys: bool = False
    include_created_by_keys: bool = False
    sort_by: Literal["spend", "max_budget", "created_at", "updated_at", "token", "key_alias"] | None = None
    sort_order: Order = "desc"
    expand: list[str] = []
    status: Literal["active", "expired", "revoked", "deleted"] | None = None
    expires: Literal["active", "expired"] | None = None
    project_id: Text = None
    agent_id: Text = None
    access_group_id: Text = None
    substring_matching: bool = False


async def listing(work: Work, asked: KeyQuery) -> dict[str, Any]:
    """A page of the keys that the caller may see: their ids, or all of each."""
    pepper = await peppered(work)
    full = asked.return_full_object or "user" in asked.expand
    part = Slice(asked.size, (asked.page - 1) * asked.size, asked.sort_by or "created_at", asked.sort_order == "desc")
    with work.office.reading() as pool:
        sight = await _sight(pool, work, asked)
        named = [one for one in (asked.key_hash, asked.search) if one]
        ids = await stored_keys.identify(pool, pepper, named, work.office.now())
        wanted = _filter(work, asked, ids)
        if asked.status == "deleted":
            total, gone = await key_listing.removed(pool, sight, wanted, part)
            keys: list[Any] = [_removed(row) if full else _removed(row)["token"] for row in gone]
        else:
            total, found = await key_listing.find(pool, sight, wanted, part)
            keys = list(await _full(pool, work, found, "user" in asked.expand) if full else found)
    return {"keys": keys, **_page(total, asked.page, asked.size)}


async def aliases(work: Work, search: str | None, team: str | None, page: int, size: int) -> dict[str, Any]:
    """A page of the aliases of one's own keys and those of one's teams; of all keys for who sees everything."""
    access = work.access
    sight = Sight(
        everything=access.reads_all, own=work.user or None, teams=sorted(access.teams | access.admin_of_teams)
    )
    with work.office.reading() as pool:
        total, found = await key_listing.aliases(pool, sight, search, team, Slice(size, (page - 1) * size))
    return {"aliases": found, **_page(total, page, size), "size": size}


async def health(work: Work) -> dict[str, Any]:
    """Whether the logging that the caller's own key asks for is named as it should be; nothing is sent anywhere."""
    with work.office.reading() as pool:
        row = await tenants.find(pool, tenants.KEYS, work.access.caller.key_hash)
    logging = None if row is None else row["metadata"].get("logging")
    if logging is None:
        return {"key": "healthy", "logging_callbacks": None}
    each = logging if isinstance(logging, list) else [logging]
    names = [one["callback_name"] for one in each if isinstance(one, dict) and one.get("callback_name")]
    well = len(names) == len(each)
    details = "Every callback has a name; nothing was sent." if well else "A callback has no callback_name."
    state = "healthy" if well else "unhealthy"
    return {"key": state, "logging_callbacks": {"callbacks": names, "status": state, "details": details}}


async def _told(on: Asked, work: Work, row: Row) -> dict[str, Any]:
    found = (await shown(on, work.office, [row]))[0]
    return {**found, **await usage(on, row)}


async def _full(on: Asked, work: Work, ids: Sequence[str], with_users: bool) -> list[dict[str, Any]]:
    ordered = await shown(on, work.office, await tenants.in_order(on, tenants.KEYS, ids))
    if with_users:
        who = sorted({one for key in ordered for one in (key["user_id"], key["created_by"]) if one})
        found = await tenants.matching(on, tenants.USERS, {"user_id": who}, limit=len(who))
        users = {user["user_id"]: user for user in found}
        for key in ordered:
            _with_users(key, users)
    return ordered


def _with_users(key: dict[str, Any], users: dict[str, Row]) -> None:
    if key["user_id"] in users:
        key["user"] = users[key["user_id"]]
    maker = users.get(key["created_by"])
    if maker is not None:
        key["created_by_user"] = {name: maker[name] for name in ("user_id", "user_email", "user_alias")}


async def _sight(on: Asked, work: Work, asked: KeyQuery) -> Sight:
    access = work.access
    if access.reads_all:
        return Sight(
            everything=not asked.user_id,
            own=asked.user_id,
            own_is_part=asked.substring_matching,
            creator=asked.user_id if asked.include_created_by_keys else None,
        )
    if not work.user:
        raise forbidden("list keys: there is no user behind it")
    if asked.user_id not in (None, "", work.user):
        raise forbidden("list another user's keys")
    organizations = access.organizations | access.admin_of_organizations
    if asked.organization_id and asked.organization_id not in organizations:
        raise forbidden("list this organization's keys")
    if asked.team_id and not await _sees_team(on, work, asked.team_id):
        raise forbidden("list this team's keys")
    return await _own_sight(on, work, asked)


async def _own_sight(on: Asked, work: Work, asked: KeyQuery) -> Sight:
    access = work.access
    more = asked.include_team_keys
    members = sorted(access.teams) if more or asked.include_created_by_keys else []
    listed = await _teams_that_show(on, members) if more else set()
    return Sight(
        own=work.user,
        teams=sorted(access.admin_of_teams | listed) if more else [],
        service_teams=members,
        organizations=sorted(access.admin_of_organizations) if more or asked.organization_id else [],
        # What a key without a user has made is no user's, whatever the user is called.
        creator=work.user if asked.include_created_by_keys and not work.user.startswith(KEY_ACTOR) else None,
        creator_teams=members,
    )


async def _sees_team(on: Asked, work: Work, team_id: str) -> bool:
    if work.access.reads_team(team_id):
        return True
    team = await tenants.find(on, tenants.TEAMS, team_id)
    return team is not None and work.access.reads_team(team_id, team["organization_id"])


async def _teams_that_show(on: Asked, teams: list[str]) -> set[str]:
    """Those of these teams that let their members list all keys."""
    rows = await tenants.matching(on, tenants.TEAMS, {"team_id": teams}, limit=max(1, len(teams)))
    return {row["team_id"] for row in rows if Act.LIST in rights.grants(row)}


def _filter(work: Work, asked: KeyQuery, ids: dict[str, str]) -> Filter:
    found = asked.search and ids.get(asked.search)
    return Filter(
        now=work.office.now(),
        ids=[ids.get(asked.key_hash, asked.key_hash)] if asked.key_hash else None,
        team=asked.team_id or None,
        organization=asked.organization_id or None,
        alias=asked.key_alias or None,
        alias_is_part=asked.substring_matching,
        search=asked.search or None,
        searched_ids=[found] if found else [],
        project=asked.project_id or None,
        agent=asked.agent_id or None,
        access_group=asked.access_group_id or None,
        status=asked.status,
        expires=asked.expires,
    )


async def _gone(on: Asked, work: Work, ids: Sequence[str], given: str) -> dict[str, Any]:
    """A key that is no more, from the audit log."""
    _, rows = await key_listing.removed(on, Sight(everything=True), Filter(work.office.now(), ids=ids), Slice(1))
    if not rows:
        raise Refused(Kind.NOT_FOUND, "Key not found in database", param="key")
    found = _removed(rows[0])
    if not work.access.reads_all and (not work.user or found.get("user_id") != work.user):
        raise forbidden("see this key")
    return {"key": given, "info": {**found, "status": "deleted"}}


def _removed(row: Row) -> dict[str, Any]:
    before = msgspec.json.decode(row["before"])
    id = before.pop("key_id")
    before |= before.pop("extra", {})
    for name in ("max_budget", "soft_budget"):
        before[name] = None if before[name] is None else Decimal(before[name])
    return {**before, "token": id, "deleted_at": row["at"], "deleted_by": row["actor"]}


def _page(total: int, page: int, size: int) -> dict[str, int]:
    return {"total_count": total, "current_page": page, "total_pages": -(-total // size)}
