"""Organizations and their members as LiteLLM shows them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from api.management.linked_budgets import by_id, linked, period_of, standings
from api.management.metadata import masked
from api.management.office import Office
from api.management.teams import shown as teams_shown
from ledger import organizations, tenants
from ledger.balances import Spent, spent
from ledger.pool import Asked
from ledger.tenants import Row
from schemas.access import Account

_MOST_TEAMS = 10_000
_ABSENT: Mapping[str, Any] = {
    "model_spend": {},
    "users": None,
    "object_permission": None,
    "object_permission_id": None,
}
"""What LiteLLM shows of an organization that was given none."""


async def shown(on: Asked, office: Office, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Organizations with their members, teams and budgets and what they have spent."""
    ids = [row["organization_id"] for row in rows]
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for member in await memberships(on, office, await organizations.members(on, ids)):
        members[member["organization_id"]].append(member)
    teams: dict[str, list[dict[str, Any]]] = defaultdict(list)
    found = await tenants.matching(on, tenants.TEAMS, {"organization_id": ids}, limit=_MOST_TEAMS)
    for team in await teams_shown.shown(on, office, found):
        teams[team["organization_id"]].append(team)
    standing = await standings(on, office, "organization", {row["organization_id"]: row["budget_id"] for row in rows})
    return [
        {
            **_ABSENT,
            **row["extra"],
            **{name: row[name] for name in row if name != "extra"},
            "metadata": masked(row["metadata"]),
            "members": members[row["organization_id"]],
            "teams": teams[row["organization_id"]],
            **standing[row["organization_id"]],
        }
        for row in rows
    ]


async def one(on: Asked, office: Office, row: Row) -> dict[str, Any]:
    """A single organization, see `shown`."""
    return (await shown(on, office, [row]))[0]


async def memberships(on: Asked, office: Office, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Members with their budgets and what they have spent in the organization. `rows`: of `organizations.members`."""
    terms = await by_id(on, [row["budget_id"] for row in rows])
    asked = [(_account(row), period_of(terms.get(row["budget_id"]))) for row in rows]
    sums = await spent(on, asked)
    return [
        _member(row, terms.get(row["budget_id"]), sums[account], office)
        for row, (account, _) in zip(rows, asked, strict=True)
    ]


def _account(row: Row) -> Account:
    return Account("organization_member", row["organization_id"], row["user_id"])


def _member(row: Row, terms: Row | None, expense: Spent, office: Office) -> dict[str, Any]:
    user = {"user_id": row["user_id"], "user_email": row["user_email"], "user_alias": row["user_alias"]}
    return {
        **{name: row[name] for name in row if name not in ("user_alias", "global_role")},
        "spend": expense.window,
        "user": {**user, "user_role": row["global_role"]},
        "litellm_budget_table": linked(terms, office),
    }
