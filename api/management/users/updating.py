"""What `/user/update` and `/user/bulk_update` do to one user."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.management.metadata import closed, recorded
from api.management.office import Change, Office, forbidden, missing
from api.management.people import check_email, made, meant
from api.management.rules import UserRules
from api.management.spending import set_spend
from api.management.teams.joining import place
from api.management.teams.rights import absent_team
from api.management.users.bodies import Joining, UserFields, UserUpdate
from api.management.users.passwords import hash_of
from ledger import tenants, users
from ledger.pepper import Seal
from ledger.tenants import Row
from schemas.access import Access, Account
from schemas.failures import Kind

_OWN = frozenset({"user_alias"})
"""What somebody may change of his own user: nothing that limits him, and no email, which says who he is."""
_NEW: Row = {"metadata": {}, "extra": {}}


@dataclass(frozen=True, slots=True)
class Updating:
    """One call's changes to users."""

    change: Change
    office: Office
    rules: UserRules
    seal: Seal | None

    @property
    def _access(self) -> Access:
        return self.change.access

    async def one(self, body: UserUpdate) -> Row:
        """Do to the user who is named what is asked; the row. A proxy admin makes the user when there is none.

        Raises `Refused`.
        """
        hashed = await self._hashed(body)
        row = await self._named(body)
        if row is None:
            row = await self._made(body)
        else:
            row = await self.fields(row, body)
        if hashed is not None:
            await users.set_password(self.change.connection, row["user_id"], hashed, reset_required=True)
            await self.change.record("password_set", "user", row["user_id"])
        await self._surroundings(row, body)
        return row

    async def fields(self, before: Row, body: UserFields) -> Row:
        """Change a user's fields that are given."""
        values = self._columns(before, body)
        self._check(before, values)
        email = values.get("user_email")
        if email is not None and email.lower() != (before["user_email"] or "").lower():
            await check_email(self.change, email)
        values["updated_by"] = self._access.caller.user
        row = await tenants.change(self.change.connection, tenants.USERS, [before["user_id"]], values)
        assert row is not None
        await self.change.record("updated", "user", row["user_id"], recorded(before), recorded(row))
        return row

    def _columns(self, before: Row, body: UserFields) -> dict[str, Any]:
        values = body.columns(before)
        values["metadata"] = closed(values["metadata"], before["metadata"], self.seal)
        internal = self.rules.internal({"user_role": values.get("user_role")})
        return {name: limit for name, limit in internal.items() if name not in values} | values

    def _check(self, before: Row, values: Mapping[str, Any]) -> None:
        if self._access.is_admin:
            return
        if before["user_id"] != self._access.caller.user:
            raise forbidden("change another user")
        changed = {name for name, value in values.items() if value != before[name]}
        if refused := sorted(changed - _OWN):
            raise forbidden(f"change {refused[0]} of its own user")

    async def _named(self, body: UserUpdate) -> Row | None:
        """The user, locked. Who is named by id may be given the email."""
        user_id = body.user_id
        if user_id is None and body.user_email is not None:
            await users.hold_email(self.change.connection, body.user_email)
            user_id = await meant(self.change.connection, body)
        row = None
        if user_id is not None:
            row = await tenants.find(self.change.connection, tenants.USERS, user_id, lock=True)
        if row is None and not self._access.is_admin:
            raise missing("user", user_id or body.user_email)
        return row

    async def _made(self, body: UserUpdate) -> Row:
        if body.user_email is not None:
            await check_email(self.change, body.user_email)
        values = {**self._columns(_NEW, body), "user_id": body.user_id or str(uuid.uuid4())}
        return await made(self.change, values, self.rules)

    async def _hashed(self, body: UserUpdate) -> str | None:
        if body.password is None:
            return None
        if not self._access.is_admin:
            raise forbidden("set a password: /user/password/change changes one's own")
        return await hash_of(body.password.get_secret_value())

    async def _surroundings(self, row: Row, body: UserUpdate) -> None:
        """What is kept apart from the user's row."""
        if body.spend is None and not body.teams:
            return
        if not self._access.is_admin:
            raise forbidden("say what a user has spent or which teams he is in")
        if body.spend is not None:
            account, period = Account("user", row["user_id"]), row["budget_duration"] or ""
            await set_spend(self.change.connection, self.office, account, body.spend, period)
            await self.change.record("spend_set", "user", row["user_id"], None, {"spend": body.spend})
        await join_teams(self.change, row["user_id"], body.teams or [])


async def join_teams(change: Change, user_id: str, teams: list[Joining]) -> None:
    """A user joins teams. The caller may put him there. Raises `Refused` for a team that is not there."""
    for joining in sorted(teams, key=lambda one: one.team_id):
        team = await tenants.find(change.connection, tenants.TEAMS, joining.team_id, lock=True)
        if team is None:
            raise absent_team(joining.team_id, Kind.INVALID_REQUEST)
        terms = {"max_budget": joining.max_budget_in_team}
        await place(change, team, user_id, joining.user_role, terms)
