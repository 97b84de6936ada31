"""Teams and memberships as LiteLLM shows them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.management import amounts
from api.management.linked_budgets import by_id, linked, period_of
from api.management.metadata import masked
from api.management.office import Office
from ledger import teams
from ledger.balances import Spent, spent
from ledger.pool import Asked
from ledger.tenants import Row
from policy.periods import window
from schemas.access import Account

_ABSENT: Mapping[str, Any] = {
    "team_member_permissions": None,
    "budget_limits": None,
    "router_settings": None,
    "access_group_ids": None,
    "default_team_member_models": None,
    "policies": None,
    "object_permission": None,
    "object_permission_id": None,
    "model_id": None,
    "model_spend": {},
    "allow_team_guardrail_config": False,
    "access_group_models": None,
    "access_group_mcp_server_ids": None,
    "access_group_skill_names": None,
    "unresolved_access_group_ids": None,
    "access_group_agent_ids": None,
    "access_group_details": None,
}
"""What LiteLLM shows of a team that was given none."""


async def shown(on: Asked, office: Office, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Teams with their members and what they have spent."""
    people: dict[str, list[Row]] = defaultdict(list)
    for member in await teams.members(on, [row["team_id"] for row in rows]):
        people[member["team_id"]].append(member)
    expenses = await spent(on, [(_account(row), row["budget_duration"]) for row in rows])
    return [_shown(row, people[row["team_id"]], expenses[_account(row)], office) for row in rows]


async def one(on: Asked, office: Office, row: Row) -> dict[str, Any]:
    """A single team, see `shown`."""
    return (await shown(on, office, [row]))[0]


def _account(row: Row) -> Account:
    return Account("team", row["team_id"])


def _shown(row: Row, people: Iterable[Row], expense: Spent, office: Office) -> dict[str, Any]:
    period, extra = row["budget_duration"], row["extra"]
    aliases = extra.get("model_aliases")
    people = list(people)
    return {
        **_ABSENT,
        **extra,
        **{name: row[name] for name in row if name != "extra"},
        "metadata": masked(row["metadata"]),
        "model_max_budget": amounts.of_models(row["model_max_budget"]),
        "budget_limits": amounts.of_windows(extra.get("budget_limits"), office),
        "spend": expense.window,
        "total_spend": expense.total,
        "budget_reset_at": window(period, office.now(), office.zone)[1] if period else None,
        "admins": [person["user_id"] for person in people if person["role"] == "admin"],
        "members": [person["user_id"] for person in people],
        "members_with_roles": [
            {name: person[name] for name in ("user_id", "user_email", "user_alias", "role")} for person in people
        ],
        "litellm_model_table": None if aliases is None else {"model_aliases": aliases},
    }


async def memberships(on: Asked, office: Office, people: Sequence[Row]) -> list[dict[str, Any]]:
    """Members of teams with their budgets and what they have spent in the team. `people`: of `teams.members`."""
    terms = await by_id(on, [person["budget_id"] for person in people])
    asked = [(_membership(person), period_of(terms.get(person["budget_id"]))) for person in people]
    expenses = await spent(on, asked)
    return [
        {
            "user_id": person["user_id"],
            "team_id": person["team_id"],
            "role": person["role"],
            "user_email": person["user_email"],
            "budget_id": person["budget_id"],
            "spend": expenses[account].window,
            "total_spend": expenses[account].total,
            "litellm_budget_table": linked(terms.get(person["budget_id"]), office),
        }
        for person, (account, _) in zip(people, asked, strict=True)
    ]


def _membership(person: Row) -> Account:
    return Account("member", person["team_id"], person["user_id"])
