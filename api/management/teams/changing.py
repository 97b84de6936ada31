"""A team's row with new values, or gone: in the audit log and told to everybody."""

from collections.abc import Mapping
from typing import Any

from api.management.attachments import remove_keys
from api.management.metadata import OWNED, recorded
from api.management.office import Change
from ledger import teams, tenants
from ledger.tenants import Row


async def changed(change: Change, before: Row, values: Mapping[str, Any], action: str = "updated") -> Row:
    """The team with new values. `before`: the row, locked."""
    team_id = before["team_id"]
    known = {**values, "updated_by": change.access.caller.user}
    row = await tenants.change(change.connection, tenants.TEAMS, [team_id], known)
    assert row is not None
    await change.record(action, "team", team_id, recorded(before), recorded(row))
    return row


async def remove(change: Change, team: Row) -> None:
    """The team is gone, with its keys, its memberships and the budget that its members had by default."""
    team_id = team["team_id"]
    await remove_keys(change, {"team_id": team_id})
    change.touches("user", *await teams.remove_members(change.connection, team_id))
    if (budget_id := team["metadata"].get(OWNED)) is not None:
        await tenants.remove(change.connection, tenants.BUDGETS, budget_id)
    await tenants.remove(change.connection, tenants.TEAMS, team_id)
    await change.record("deleted", "team", team_id, recorded(team), None)
