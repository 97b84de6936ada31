"""Pages of virtual keys and of their aliases, among those that somebody may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ledger.pages import Found, Slice, containing
from ledger.pool import Asked, Pool
from ledger.sql import query
from ledger.tenants import Row


@dataclass(frozen=True, slots=True)
class Sight:
    """Which keys are seen: those to which any of these applies.

    `own` is the user that keys belong to (a part of the name when `own_is_part`), `teams` are those whose keys are all
    seen, `service_teams` those of which only the keys without a user are. `creator` is who made the key, if it is in
    no team or in one of `creator_teams`.
    """

    everything: bool = False
    own: str | None = None
    own_is_part: bool = False
    teams: Sequence[str] = ()
    service_teams: Sequence[str] = ()
    organizations: Sequence[str] = ()
    creator: str | None = None
    creator_teams: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which of the keys seen are wanted; None is any. `status` and `expires`: active, expired or revoked at `now`.

    `ids` are those that somebody has named; `search` looks for a part of the alias beside `searched_ids`.
    """

    now: datetime
    ids: Sequence[str] | None = None
    team: str | None = None
    organization: str | None = None
    alias: str | None = None
    alias_is_part: bool = False
    search: str | None = None
    searched_ids: Sequence[str] = ()
    project: str | None = None
    agent: str | None = None
    access_group: str | None = None
    status: str | None = None
    expires: str | None = None


async def find(pool: Pool, sight: Sight, wanted: Filter, part: Slice) -> Found:
    """Keys by created_at, updated_at, token, key_alias, max_budget, or spend: that of the budget's present window."""
    values = (
        sight.everything,
        containing(sight.own) if sight.own_is_part else None,
        None if sight.own_is_part else sight.own,
        list(sight.teams) or None,
        list(sight.service_teams) or None,
        list(sight.organizations) or None,
        sight.creator,
        list(sight.creator_teams),
        wanted.now,
        None if wanted.ids is None else list(wanted.ids),
        wanted.team,
        wanted.organization,
        containing(wanted.alias) if wanted.alias_is_part else None,
        None if wanted.alias_is_part else wanted.alias,
        containing(wanted.search),
        list(wanted.searched_ids),
        wanted.project,
        wanted.agent,
        wanted.access_group,
        wanted.status,
        wanted.expires,
        part.by,
        part.descending,
        part.limit,
        part.offset,
    )
    async with pool.acquire() as connection, connection.transaction():
        # Prepared anew each time, so that Postgres plans for these values: a plan for all values reads every key.
        statement = await connection.prepare(query("keys_found"))
        row = await statement.fetchrow(*values)
    assert row is not None
    return Found(row["total"], row["ids"])


async def aliases(on: Asked, sight: Sight, search: str | None, team: str | None, part: Slice) -> Found:
    """Aliases in alphabetical order; of `sight` only `everything`, `own` and `teams` count."""
    row = await on.fetchrow(
        query("key_aliases"),
        sight.everything,
        sight.own,
        list(sight.teams),
        containing(search),
        team,
        part.limit,
        part.offset,
    )
    assert row is not None
    return Found(row["total"], row["ids"])


async def removed(on: Asked, sight: Sight, wanted: Filter, part: Slice) -> tuple[int, list[Row]]:
    """Keys that are gone, the last one first, from the audit log: how many; before (JSON), at, actor, actor_key.

    Of `sight` count `everything`, `own`, `teams` and `organizations`, of the filter ids, team, organization and alias.
    """
    rows = await on.fetch(
        query("keys_removed"),
        sight.everything,
        sight.own,
        list(sight.teams),
        list(sight.organizations),
        None if wanted.ids is None else list(wanted.ids),
        wanted.team,
        wanted.organization,
        wanted.alias,
        part.limit,
        part.offset,
    )
    found = [dict(row) for row in rows]
    total = found[0]["total"] if found else 0
    return total, [row for row in found if row["before"] is not None]
