"""A team's row with new values, in the audit log and told to everybody."""

from collections.abc import Mapping
from typing import Any

from api.management.office import Change
from api.management.teams.shown import recorded
from ledger import tenants
from ledger.tenants import Row


async def changed(change: Change, before: Row, values: Mapping[str, Any], action: str = "updated") -> Row:
    """The team with new values. `before`: the row, locked."""
    team_id = before["team_id"]
    known = {**values, "updated_by": change.access.caller.user}
    row = await tenants.change(change.connection, tenants.TEAMS, [team_id], known)
    assert row is not None
    await change.record(action, "team", team_id, recorded(before), recorded(row))
    return row
