"""The stage of teams: with each come its members, their budgets and what they have spent in it."""

from collections.abc import Mapping
from datetime import timedelta

from ledger import tenants
from ledger.litellm import entities
from ledger.litellm.source import Row
from ledger.litellm.store import Verdict
from ledger.litellm.values import name
from ledger.litellm.work import Work, ended
from schemas.access import Account

_MEMBER = "team_member"
Places = dict[tuple[str, str], Row]
"""Rows of LiteLLM's memberships by team and user."""


async def teams(work: Work) -> None:
    """All teams. Memberships and claims that no team knows of are named."""
    aliases = {row["id"]: row.get("aliases") for row in await work.source.rows("ModelTable", "id")}
    places = {(row["team_id"], row["user_id"]): row for row in await work.source.rows("TeamMembership", "team_id")}
    async for batch in work.source.batches("TeamTable", "team_id"):
        await _teams(work, batch, aliases, places)
    for team, user in sorted(places):
        work.report.skip(_MEMBER, f"{user} in {team}", "the team does not list this member")


async def _teams(work: Work, batch: list[Row], aliases: Mapping[int, object], places: Places) -> None:
    rows = [
        entities.team(
            row,
            aliases.get(row.get("model_id") or 0),
            work.permission(row),
            work.calendar,
            work.report.about("team", row["team_id"]),
        )
        for row in batch
    ]
    verdicts = await work.store("team", tenants.TEAMS, rows)
    work.spend(
        verdicts,
        [
            entities.spending(Account("team", row["team_id"]), there, None, ended(row, there))
            for row, there in zip(rows, batch, strict=True)
        ],
    )
    for row, verdict in zip(batch, verdicts, strict=True):
        await _members(work, row, places, here=verdict is not Verdict.DELETED_HERE)


async def _members(work: Work, team: Row, places: Places, *, here: bool) -> None:
    """The members of a team that is `here`. One whose team is not here is a member of nothing."""
    id = team["team_id"]
    roles = entities.team_members(team, work.by_email, work.report.about("team", id))
    found = {user: places.pop((id, user), {}) for user in roles}
    if not here:
        return
    rows = [
        {
            "team_id": id,
            "user_id": user,
            "role": roles[user],
            "budget_id": name(place.get("budget_id")),
            "created_at": work.calendar.now + timedelta(microseconds=n),  # they are shown in this order
        }
        for n, (user, place) in enumerate(found.items())
    ]
    verdicts = await work.store(_MEMBER, tenants.TEAM_MEMBERS, rows)
    work.spend(
        verdicts,
        [
            entities.spending(Account("member", id, user), place, place.get("total_spend"), work.linked(place))
            for user, place in found.items()
        ],
    )
    written = [row["user_id"] for row, verdict in zip(rows, verdicts, strict=True) if verdict.written]
    work.report.touched.update(f"user:{user}" for user in written)
    for user in sorted(work.claims.get(id, set()) - roles.keys()):
        work.report.skip(_MEMBER, f"{user} in {id}", "the user names the team, which does not list this member")
