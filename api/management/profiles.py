"""Users as LiteLLM shows them, also as members of something."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from api.management import amounts
from api.management.linked_budgets import by_id, linked, period_of
from api.management.metadata import masked
from api.management.office import Office
from api.management.sight import sees
from ledger import tenants
from ledger.balances import Spent, spent
from ledger.pool import Asked
from ledger.tenants import Row
from policy.periods import window
from schemas.access import Access, Account

_MOST_PLACES = 100_000
KNOWN_TO_ALL = ("user_id", "user_email", "user_alias", "user_role")
"""What everybody learns of a user who is in the same team or organization: who he is."""
_ABSENT: Mapping[str, Any] = {
    "allowed_cache_controls": [],
    "policies": [],
    "model_spend": {},
    "object_permission": None,
    "object_permission_id": None,
    "organization_id": None,
    "team_id": None,
    "password_reset_required": None,
    "last_breach_check_at": None,
    "model_max_budget_usage": None,
}
"""What LiteLLM shows of a user who was given none."""


async def shown(on: Asked, office: Office, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Users with the teams and organizations that they are in, and what they have spent."""
    ids = [row["user_id"] for row in rows]
    teams, organizations = defaultdict(list), defaultdict(list)
    for place in await tenants.matching(on, tenants.TEAM_MEMBERS, {"user_id": ids}, limit=_MOST_PLACES):
        teams[place["user_id"]].append(place["team_id"])
    for place in await _in_organizations(on, office, ids):
        organizations[place["user_id"]].append(place)
    expenses = await spent(on, [(Account("user", row["user_id"]), row["budget_duration"]) for row in rows])
    return [
        {
            **_shown(row, expenses[Account("user", row["user_id"])], office),
            "teams": teams[row["user_id"]],
            "organization_memberships": organizations[row["user_id"]],
        }
        for row in rows
    ]


async def _in_organizations(on: Asked, office: Office, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Users' memberships of organizations, with their budgets and what they have spent there."""
    places = await tenants.matching(on, tenants.ORGANIZATION_MEMBERS, {"user_id": ids}, limit=_MOST_PLACES)
    terms = await by_id(on, [place["budget_id"] for place in places])
    accounts = [Account("organization_member", place["organization_id"], place["user_id"]) for place in places]
    periods = [period_of(terms.get(place["budget_id"])) for place in places]
    sums = await spent(on, list(zip(accounts, periods, strict=True))) if places else {}
    return [
        {**place, "spend": sums[account].window, "litellm_budget_table": linked(terms.get(place["budget_id"]), office)}
        for place, account in zip(places, accounts, strict=True)
    ]


async def shown_to(on: Asked, office: Office, access: Access, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """As `shown`; of a user whom the caller may not see only who he is."""
    found = await shown(on, office, rows)
    return [
        user if await sees(on, access, user["user_id"]) else {name: user[name] for name in KNOWN_TO_ALL}
        for user in found
    ]


async def one(on: Asked, office: Office, row: Row) -> dict[str, Any]:
    """A single user, see `shown`."""
    return (await shown(on, office, [row]))[0]


def _shown(row: Row, expense: Spent, office: Office) -> dict[str, Any]:
    period = row["budget_duration"]
    return {
        **_ABSENT,
        **row["extra"],
        **{name: value for name, value in row.items() if name != "extra"},
        "metadata": masked(row["metadata"]),
        "model_max_budget": amounts.of_models(row["model_max_budget"]),
        "spend": expense.window,
        "total_spend": expense.total,
        "budget_reset_at": window(period, office.now(), office.zone)[1] if period else None,
    }
