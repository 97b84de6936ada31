"""Teams found by what is known of them, and their members. Single rows are `ledger/tenants.py`'s."""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.pages import Found, Slice, containing
from ledger.pool import Asked, Connection
from ledger.sql import query
from ledger.tenants import Row

_MOST_MEMBERS = 100_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which teams; None is any. `organization` "" is none at all.

    `within` restricts to teams of these organizations, those that `visitor` is a member of, and the team `own`.
    """

    team_id: str | None = None
    alias: str | None = None  # a part of it
    search: str | None = None  # the id, or a part of the alias
    organization: str | None = None
    member: str | None = None
    within: Sequence[str] | None = None
    visitor: str = ""
    own: str = ""


async def find(on: Asked, wanted: Wanted, part: Slice) -> Found:
    """Teams by `team_id`, `team_alias` or `created_at`."""
    row = await on.fetchrow(
        query("teams_found"),
        wanted.team_id,
        containing(wanted.alias),
        wanted.search,
        containing(wanted.search),
        wanted.organization,
        wanted.member,
        None if wanted.within is None else list(wanted.within),
        part.by,
        part.descending,
        part.limit,
        part.offset,
        wanted.visitor,
        wanted.own,
    )
    assert row is not None
    return Found(row["total"], row["ids"])


async def members(on: Asked, teams: Sequence[str], user: str | None = None) -> list[Row]:
    """Who is in these teams, by team and time: team_id, user_id, role, budget_id, user_email, user_alias."""
    return [dict(row) for row in await on.fetch(query("team_members_of"), list(teams), user, _MOST_MEMBERS)]


async def keys_follow(on: Connection, team_id: str, organization: str | None) -> None:
    """The team's keys are in the organization that it has moved to."""
    await on.execute(query("keys_follow_team"), team_id, organization)


async def remove_members(on: Connection, team_id: str) -> list[str]:
    """Nobody is in the team any more; the ids of those who were."""
    return [row["user_id"] for row in await on.fetch(query("team_members_remove"), team_id)]


async def give_budget(on: Connection, team_id: str, budget_id: str) -> list[str]:
    """The team's members without a budget get this one; their ids."""
    return [row["user_id"] for row in await on.fetch(query("team_members_default_budget"), team_id, budget_id)]


async def key_counts(on: Asked, teams: Sequence[str]) -> dict[str, int]:
    """How many keys each of these teams has; a team without keys is missing."""
    return {row["id"]: row["keys"] for row in await on.fetch(query("key_counts_of_teams"), list(teams))}
