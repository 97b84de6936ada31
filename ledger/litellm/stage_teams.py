"""The stage of teams: with each come its members, their budgets and what they have spent in it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from ledger import tenants
from ledger.litellm import entities
from ledger.litellm.source import Row
from ledger.litellm.store import Verdict
from ledger.litellm.values import name
from ledger.litellm.windows import Windows, member_windows, spendings
from ledger.litellm.work import Work, ended
from schemas.access import Account

_MEMBER = "team_member"
Places = dict[tuple[str, str], Row]
"""Rows of LiteLLM's memberships by team and user."""


async def teams(work: Work) -> None:
    """All teams. Memberships and claims that no team knows of are named."""
    aliases = {row["id"]: row.get("aliases") for row in await work.source.rows("ModelTable", "id")}
    places = {(row["team_id"], row["user_id"]): row for row in await work.source.rows("TeamMembership", "team_id")}
    windows = await member_windows(work.source)
    async for batch in work.source.batches("TeamTable", "team_id"):
        await _teams(work, batch, aliases, places, windows)
    for team, user in sorted(places):
        work.report.skip(_MEMBER, f"{user} in {team}", "the team does not list this member")


async def _teams(work: Work, batch: list[Row], aliases: Mapping[int, object], places: Places, windows: Windows) -> None:
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
    members: list[_Member] = []
    for row, verdict in zip(batch, verdicts, strict=True):
        members += _members(work, row, places, here=verdict is not Verdict.DELETED_HERE)
    await _store(work, members, windows)


class _Member(NamedTuple):
    row: Row
    place: Row


def _members(work: Work, team: Row, places: Places, *, here: bool) -> list[_Member]:
    """The members of a team, in its order. One whose team is not `here` is a member of nothing."""
    id = team["team_id"]
    roles = entities.team_members(team, work.by_email, work.report.about("team", id))
    found = {user: places.pop((id, user), {}) for user in roles}
    if not here:
        return []
    for user in sorted(work.claims.get(id, set()) - roles.keys()):
        work.report.skip(_MEMBER, f"{user} in {id}", "the user names the team, which does not list this member")
    return [
        _Member(
            {
                "team_id": id,
                "user_id": user,
                "role": roles[user],
                "budget_id": name(place.get("budget_id")),
                "created_at": work.calendar.now + timedelta(microseconds=n),  # they are shown in this order
            },
            place,
        )
        for n, (user, place) in enumerate(found.items())
    ]


async def _store(work: Work, members: list[_Member], windows: Windows) -> None:
    verdicts = await work.store(_MEMBER, tenants.TEAM_MEMBERS, [member.row for member in members])
    work.spend(
        verdicts,
        [
            entities.spending(
                Account("member", row["team_id"], row["user_id"]), place, place.get("total_spend"), work.linked(place)
            )
            for row, place in members
        ],
    )
    for (row, _), verdict in zip(members, verdicts, strict=True):
        by_model = list(spendings(windows, row["team_id"], row["user_id"], work.calendar))
        work.spend([verdict] * len(by_model), by_model)
    written = [one.row["user_id"] for one, verdict in zip(members, verdicts, strict=True) if verdict.written]
    work.report.touched.update(f"user:{user}" for user in written)
