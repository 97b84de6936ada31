"""The budgets of a team's members: one that all have by default, and a member's own.

They are rows of `budgets`. The default's id is in the team's metadata; a member's own begins as a copy of it, but for
the budgets of single models: who has none of his own has the default's, whatever it says then (ledger/terms.py).
"""

import secrets
from collections.abc import Mapping
from typing import Any

from api.management.metadata import OWNED
from api.management.office import Change
from ledger import teams, tenants
from ledger.tenants import Row

_TERMS = ("max_budget", "budget_duration", "rpm_limit", "tpm_limit", "allowed_models", "extra")


async def set_default(change: Change, team: Row, terms: Mapping[str, Any]) -> Row:
    """Set terms that all members of a team have who have none of their own; the team as it is then.

    Without `budget_duration` a new default follows the team's period.
    """
    if (default := await _default(change, team)) is not None:
        await tenants.change(change.connection, tenants.BUDGETS, [default["budget_id"]], terms)
        change.touches("budget", default["budget_id"])
    elif all(value in (None, {}) for value in terms.values()):
        return team
    else:
        default = await _new(change, {"budget_duration": team["budget_duration"], **terms}, "team-budget")
        metadata = {**team["metadata"], OWNED: default["budget_id"]}
        changed = await tenants.change(change.connection, tenants.TEAMS, [team["team_id"]], {"metadata": metadata})
        assert changed is not None
        team = changed
    change.touches("user", *await teams.give_budget(change.connection, team["team_id"], default["budget_id"]))
    return team


async def for_new_member(change: Change, team: Row, terms: Mapping[str, Any]) -> str | None:
    """The budget of somebody who joins with these terms (columns; those that are None are not given); its id."""
    given = {name: value for name, value in terms.items() if value is not None}
    if "allowed_models" not in given and (models := team["extra"].get("default_team_member_models")):
        given["allowed_models"] = models
    default = await _default(change, team)
    if not given:
        return None if default is None else str(default["budget_id"])
    return str((await _new(change, {**_copied(default), **given}, "member-budget"))["budget_id"])


async def set_own(
    change: Change, team: Row, member: Row, terms: Mapping[str, Any], more: Mapping[str, Any]
) -> str | None:
    """Change a member's terms; his budget's id. The default, and what others have too, is copied, not changed.

    `more` are fields of the budget that have no column; null takes one away. Who has no terms of his own left gets the
    default again.
    """
    default, budget_id = await _default(change, team), member["budget_id"]
    present = None if budget_id is None else await tenants.find(change.connection, tenants.BUDGETS, budget_id)
    own = {} if present in (None, default) else {"model_max_budget": present["model_max_budget"]}
    wanted = {**_copied(present), **own, **terms}
    extra = {**(wanted.pop("extra", None) or {}), **more}
    if not any(wanted.values()) and not _says_zero(wanted):
        return None if default is None else str(default["budget_id"])
    wanted["extra"] = {name: value for name, value in extra.items() if value is not None}
    if present is None or await _shared(change, budget_id):
        return str((await _new(change, wanted, "member-budget"))["budget_id"])
    await tenants.change(change.connection, tenants.BUDGETS, [budget_id], wanted)
    change.touches("budget", budget_id)
    return str(budget_id)


async def default_of(change: Change, team: Row) -> Row | None:
    """The budget that the team's members have by default."""
    return await _default(change, team)


def _says_zero(terms: Mapping[str, Any]) -> bool:
    """A limit of 0 forbids everything, which is not the same as none."""
    return any(terms.get(name) == 0 for name in ("max_budget", "rpm_limit", "tpm_limit") if terms.get(name) is not None)


async def _default(change: Change, team: Row) -> Row | None:
    budget_id = team["metadata"].get(OWNED)
    return None if budget_id is None else await tenants.find(change.connection, tenants.BUDGETS, budget_id)


async def _shared(change: Change, budget_id: str) -> bool:
    if not budget_id.startswith("member-budget-"):
        return True
    return await tenants.count(change.connection, tenants.TEAM_MEMBERS, {"budget_id": budget_id}) > 1


def _copied(row: Row | None) -> dict[str, Any]:
    return {} if row is None else {name: row[name] for name in _TERMS}


async def _new(change: Change, terms: Mapping[str, Any], kind: str) -> Row:
    who = change.access.caller.user
    values = {**terms, "budget_id": f"{kind}-{secrets.token_hex(16)}", "created_by": who, "updated_by": who}
    return await tenants.insert(change.connection, tenants.BUDGETS, values)
