"""Users, teams and members as an identity provider has them: they come and go as if somebody had brought them."""

from pydantic import ValidationError

from api.management.office import Change
from api.management.people import made
from api.management.rules import TeamRules, UserRules
from api.management.teams import lifecycle
from api.management.teams.bodies import NewTeam
from api.management.teams.joining import leave, place
from ledger import tenants
from ledger.directory import ACTOR
from ledger.pool import Connection
from schemas.access import Access, Role
from schemas.failures import Kind, Refused
from schemas.usage import Caller

_BY = Access(caller=Caller(user=ACTOR))


class Registrar:
    """As `ledger.directory.Registrar` has it."""

    def __init__(self, users: UserRules, teams: TeamRules) -> None:
        self._users = users
        self._teams = teams

    async def user(self, on: Connection, id: str, email: str) -> None:
        """With the default role, or as an internal user; nobody becomes a privileged one in this way."""
        role = None if self._users.defaults.get("user_role") else Role.USER
        await made(Change(on, _BY), {"user_id": id, "user_email": email or None, "user_role": role}, self._users)

    async def team(self, on: Connection, id: str) -> None:
        """Called by its id. Raises `Refused(FORBIDDEN)` for one that no team could have."""
        try:
            body = NewTeam.model_validate({"team_id": id, "team_alias": id})
        except ValidationError:
            raise Refused(Kind.FORBIDDEN, "The token's team cannot be added: it could not be called so.") from None
        await lifecycle.made(Change(on, _BY), lifecycle.completed(body, self._teams), self._teams)

    async def join(self, on: Connection, team: str, user: str) -> None:
        """With the budget that the team's members have by default."""
        row = await tenants.find(on, tenants.TEAMS, team)
        if row is not None:
            await place(Change(on, _BY), row, user, "user", {})

    async def leave(self, on: Connection, team: str, user: str) -> None:
        """With the keys that the user has in the team."""
        member = await tenants.find(on, tenants.TEAM_MEMBERS, team, user)
        if member is not None:
            await leave(Change(on, _BY), member)
