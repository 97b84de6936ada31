"""What the configuration says of users and teams: what new ones get, and what may be changed by whom.

What is `present` holds one `UserRules` (`users`) and one `TeamRules` (`teams`); without them nothing is special.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Depends, Request

from api.management.office import present
from ledger.pepper import Seal
from schemas.access import Access, Role

PRIVILEGED = frozenset({Role.ADMIN, Role.VIEWER})
"""Roles that only a proxy admin gives, and whose users only he touches."""


@dataclass(frozen=True, slots=True)
class Place:
    """A team that every new user joins."""

    team_id: str
    max_budget_in_team: Decimal | None = None
    role: str = "user"


@dataclass(frozen=True, slots=True)
class UserRules:
    """LiteLLM's `default_internal_user_params` and what belongs to them.

    `defaults` are columns of `users` (user_role, max_budget, budget_duration, models, tpm_limit, …).
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    teams: tuple[Place, ...] = ()
    available_teams: frozenset[str] = frozenset()  # anybody may join them
    internal_budget: Decimal | None = None  # max_internal_user_budget
    internal_budget_duration: str | None = None

    def completed(self, values: Mapping[str, Any], access: Access) -> dict[str, Any]:
        """A new user's columns with what was left out. Nobody but a proxy admin makes a privileged user."""
        found = dict(values)
        if found.get("user_role") != Role.ADMIN:
            for name, value in self.defaults.items():
                if found.get(name) is None or (name == "models" and not found[name]):
                    found[name] = value
        if found.get("user_role") in PRIVILEGED and not access.is_admin:
            found["user_role"] = Role.USER_VIEWER
        return found | self.internal(found)

    def internal(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What an internal user gets who is given no budget."""
        limits = {"max_budget": self.internal_budget, "budget_duration": self.internal_budget_duration}
        if values.get("user_role") != Role.USER:
            return {}
        return {name: limit for name, limit in limits.items() if limit is not None and values.get(name) is None}


@dataclass(frozen=True, slots=True)
class TeamRules:
    """LiteLLM's `default_team_params`, `team_admin_editable_team_fields`, `disable_auto_add_proxy_admin_to_teams`.

    `seal` is the salt key's; without it callbacks with credentials are refused.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)  # fields of `/team/new`
    editable: frozenset[str] = frozenset()  # what a team's admin may change of max_budget, tpm_limit, rpm_limit
    adds_admin: bool = True  # a proxy admin becomes a member of the teams that he makes
    seal: Seal | None = None


async def _users(request: Request) -> UserRules:
    found: UserRules = getattr(present(request), "users", None) or UserRules()
    return found


async def _teams(request: Request) -> TeamRules:
    found: TeamRules = getattr(present(request), "teams", None) or TeamRules()
    return found


ForUsers = Annotated[UserRules, Depends(_users)]
"""The rules for users, as a route's parameter."""
ForTeams = Annotated[TeamRules, Depends(_teams)]
"""The rules for teams, as a route's parameter."""
