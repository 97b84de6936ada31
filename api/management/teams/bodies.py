"""The bodies of the team routes, and the columns that they set."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from api.management.fields import (
    Body,
    Count,
    Json,
    ModelBudgets,
    Money,
    Name,
    Period,
    Windows,
    WithTerms,
    emptied,
    kept,
)
from api.management.metadata import merged
from api.management.people import OneUser
from ledger.tenants import Row

_MOST_MEMBERS = 500
_SHOWN = {"admins", "members", "members_with_roles", "members_count", "team_memberships", "keys", "keys_count"}
_SHOWN |= {"spend", "total_spend", "model_spend", "budget_reset_at", "model_id", "litellm_model_table"}
_SHOWN |= {"organization_models", "caller_edit_access", "team_member_budget_table"}
_SHOWN |= {"created_at", "created_by", "updated_at", "updated_by"}
"""What answers show and no client sets."""

MEMBER_TERMS = {
    "team_member_budget": "max_budget",
    "team_member_budget_duration": "budget_duration",
    "team_member_rpm_limit": "rpm_limit",
    "team_member_tpm_limit": "tpm_limit",
    "team_member_model_max_budget": "model_max_budget",
}
"""Fields of a team -> columns of the budget that its members have by default."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _nothing(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


class Member(OneUser):
    """Somebody's place in a team."""

    role: Literal["admin", "user"] = "user"


class TeamFields(WithTerms):
    """What a team can be given."""

    team_id: Annotated[Name | None, BeforeValidator(_nothing)] = None
    team_alias: Name | None = None
    organization_id: str | None = Field(None, max_length=150)
    models: list[Name] | None = None
    metadata: Json | None = None
    blocked: bool | None = None
    team_member_budget: Money | None = None
    team_member_budget_duration: Period | None = None
    team_member_rpm_limit: Count | None = None
    team_member_tpm_limit: Count | None = None
    team_member_model_max_budget: ModelBudgets = None
    model_aliases: dict[Name, Name] | None = None
    team_member_permissions: list[Name] | None = None
    default_team_member_models: list[Name] | None = None
    budget_limits: Windows | None = None

    def columns(self, stored: Row) -> dict[str, Any]:
        """The columns that change; metadata as it would be stored but for its secrets. `stored`: the row as it is."""
        given, unknown = self.given(), self.unknown()
        values = emptied({name: given[name] for name in _COLUMNS & given.keys()})
        if "organization_id" in values:
            values["organization_id"] = values["organization_id"] or None
        values["metadata"] = merged(self.metadata, unknown, stored["metadata"])
        kept = {name: given[name] for name in _KEPT & given.keys()}
        if self.budget_limits is not None and "budget_limits" in kept:
            kept["budget_limits"] = [window.model_dump(mode="json") for window in self.budget_limits]
        extra = stored["extra"] | {name: value for name, value in unknown.items() if name not in _SHOWN} | kept
        values["extra"] = {name: value for name, value in extra.items() if value is not None}
        return values

    def member_terms(self) -> dict[str, Any]:
        """Columns of the members' default budget that are given."""
        found = {MEMBER_TERMS[name]: value for name, value in self.given().items() if name in MEMBER_TERMS}
        if "model_max_budget" in found:
            found["model_max_budget"] = kept(self.team_member_model_max_budget)
        return found


_COLUMNS = frozenset(
    [
        "team_alias",
        "organization_id",
        "models",
        "blocked",
        "max_budget",
        "soft_budget",
        "budget_duration",
        "model_max_budget",
        "rpm_limit",
        "tpm_limit",
        "tpd_limit",
        "max_parallel_requests",
    ]
)
_KEPT = frozenset(["model_aliases", "team_member_permissions", "default_team_member_models", "budget_limits"])


class NewTeam(TeamFields):
    """The body of `/team/new`."""

    members_with_roles: list[Member] = Field([], max_length=_MOST_MEMBERS)
    admins: list[Name] = Field([], max_length=_MOST_MEMBERS)
    members: list[Name] = Field([], max_length=_MOST_MEMBERS)

    def people(self) -> list[Member]:
        """All members, in whichever way they are named."""
        admins = [Member(user_id=one, role="admin") for one in self.admins]
        return [*self.members_with_roles, *admins, *(Member(user_id=one) for one in self.members)]


class TeamUpdate(TeamFields):
    """The body of `/team/update`: what is given changes."""

    team_id: Name


class TeamId(Body):
    """The body of `/team/block` and `/team/unblock`."""

    team_id: Name


class TeamIds(Body):
    """The body of `/team/delete`."""

    team_ids: list[Name] = Field(max_length=_MOST_MEMBERS)


class TeamModels(TeamId):
    """The body of `/team/model/add` and `/team/model/delete`."""

    models: list[Name]


class TeamPermissions(TeamId):
    """The body of `/team/permissions_update`: routes that the team's members may use for the team's keys."""

    team_member_permissions: list[Name]


class ManyPermissions(Body):
    """The body of `/team/permissions_bulk_update`: for the teams that are named, or for all."""

    permissions: list[Name]
    team_ids: list[Name] | None = Field(None, max_length=10_000)
    apply_to_all_teams: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> "ManyPermissions":
        if bool(self.team_ids) is self.apply_to_all_teams:
            raise ValueError("give either team_ids or apply_to_all_teams")
        return self


class NewMembers(TeamId):
    """The body of `/team/member_add`: one member or several, with the same terms."""

    member: Annotated[list[Member], BeforeValidator(_listed), Field(min_length=1, max_length=_MOST_MEMBERS)]
    max_budget_in_team: Money | None = None
    budget_duration: Period | None = None
    allowed_models: list[Name] | None = None
    model_max_budget: ModelBudgets = None

    def terms(self) -> dict[str, Any]:
        """Columns of the members' budgets; None is not given."""
        return {
            "max_budget": self.max_budget_in_team,
            "budget_duration": self.budget_duration,
            "allowed_models": self.allowed_models,
            "model_max_budget": kept(self.model_max_budget) or None,
        }


class ManyMembers(TeamId):
    """The body of `/team/bulk_member_add`."""

    members: list[Member] | None = Field(None, max_length=_MOST_MEMBERS)
    all_users: bool | None = None
    max_budget_in_team: Money | None = None


class OneMember(OneUser):
    """The body of `/team/member_delete`."""

    team_id: Name


RAISED = ("temp_budget_increase", "temp_budget_expiry")
"""Fields by which a budget is raised for a while."""


class MemberUpdate(OneMember):
    """The body of `/team/member_update`: what is given changes; null takes a limit away."""

    role: Literal["admin", "user"] | None = None
    max_budget_in_team: Money | None = None
    tpm_limit: Count | None = None
    rpm_limit: Count | None = None
    budget_duration: Period | None = None
    allowed_models: list[Name] | None = None
    model_max_budget: ModelBudgets = None
    temp_budget_increase: Money | None = None
    temp_budget_expiry: datetime | None = None

    @model_validator(mode="after")
    def _raised_until(self) -> "MemberUpdate":
        if (self.temp_budget_increase is None) != (self.temp_budget_expiry is None):
            raise ValueError("temp_budget_increase and temp_budget_expiry must be set together")
        return self

    def raised(self) -> dict[str, Any]:
        """By how much the budget is to be larger until when, as JSON; {} when that is not given."""
        return self.model_dump(mode="json", include=set(RAISED), exclude_unset=True)

    def terms(self) -> dict[str, Any]:
        """Columns of the member's budget that are given."""
        given = self.given()
        columns: dict[str, Any] = {
            name: given[name] for name in ("tpm_limit", "rpm_limit", "budget_duration") if name in given
        }
        if "max_budget_in_team" in given:
            columns["max_budget"] = self.max_budget_in_team
        if "allowed_models" in given:
            columns["allowed_models"] = self.allowed_models or []
        if "model_max_budget" in given:
            columns["model_max_budget"] = kept(self.model_max_budget)
        return columns


class Callback(Body):
    """The body of `POST /team/{team_id}/callback`."""

    callback_name: Name
    callback_type: Literal["success", "failure", "success_and_failure"] = "success_and_failure"
    callback_vars: dict[Name, str]
