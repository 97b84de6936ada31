"""The bodies of the user routes, and the columns that they set."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from api.management.fields import Body, Json, Money, Name, Period, WithTerms, emptied
from api.management.metadata import merged
from api.management.people import OneUser
from ledger.tenants import Row

_MOST = 500
_SHOWN = {"spend", "total_spend", "budget_reset_at", "organization_memberships", "key_count", "user_info", "keys"}
_SHOWN |= {"created_at", "created_by", "updated_at", "updated_by"}
_PASSING = {"auto_create_key", "send_invite_email", "password_reset_required", "teams", "team_id", "organizations"}
_SECRET = {"key", "token", "token_id", "password"}
_NOT_KEPT = _SHOWN | _PASSING | _SECRET
"""What answers show, what a call says for itself alone, and what must not be kept where everybody sees it."""

UserRole = Literal["proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"]


class Joining(Body):
    """A team that a new user joins."""

    team_id: Name
    max_budget_in_team: Money | None = None
    user_role: Literal["user", "admin"] = "user"


# The bound is the list's own: around a validator that may pass None on, pydantic would apply it to None too.
_Joinings = Annotated[list[Joining], Field(max_length=_MOST)]


def _teams(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [{"team_id": one} if isinstance(one, str) else one for one in value]


class UserFields(WithTerms):
    """What a user can be given."""

    user_id: Name | None = None
    user_email: Name | None = None
    user_alias: Name | None = None
    user_role: UserRole | None = None
    sso_user_id: Name | None = None
    models: list[Name] | None = None
    metadata: Json | None = None

    def columns(self, stored: Row) -> dict[str, Any]:
        """The columns that change. `stored`: the row as it is."""
        given, unknown = self.given(), self.unknown()
        values = emptied({name: given[name] for name in _COLUMNS & given.keys()})
        values["metadata"] = merged(self.metadata, unknown, stored["metadata"])
        extra = stored["extra"] | {name: value for name, value in unknown.items() if name not in _NOT_KEPT}
        values["extra"] = {name: value for name, value in extra.items() if value is not None}
        return values


_COLUMNS = frozenset(UserFields.model_fields) - {"metadata", "user_id"}


def _without_password(data: Any) -> Any:
    if isinstance(data, Mapping) and data.get("password") is not None:
        raise ValueError("a password is set by an invitation (POST /invitation/new), not here")
    return data


class NewUser(UserFields):
    """The body of `/user/new`. `duration` and `key_alias` are the key's that comes with the user."""

    teams: Annotated[_Joinings | None, BeforeValidator(_teams)] = None
    team_id: Name | None = None
    organizations: list[Name] | None = Field(None, max_length=_MOST)
    auto_create_key: bool = True
    key_alias: Name | None = None
    duration: Period | None = None
    spend: Money | None = None

    _no_password = model_validator(mode="before")(_without_password)


class UserUpdate(UserFields, OneUser):
    """The body of `/user/update`: what is given changes. The user is named by id or by email."""

    password: SecretStr | None = None
    spend: Money | None = None
    teams: Annotated[_Joinings | None, BeforeValidator(_teams)] = None


class UserChange(UserFields):
    """What `/user/bulk_update` does to all users."""

    _no_password = model_validator(mode="before")(_without_password)


class ManyUpdates(Body):
    """The body of `/user/bulk_update`: each user's own changes, or the same for all."""

    users: list[UserUpdate] | None = Field(None, max_length=_MOST)
    all_users: bool | None = None
    user_updates: UserChange | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "ManyUpdates":
        if self.users and self.all_users:
            raise ValueError("give either users or all_users")
        if not self.users and not (self.all_users and self.user_updates):
            raise ValueError("give users, or all_users with user_updates")
        return self


class UserIds(Body):
    """The body of `/user/delete`."""

    user_ids: list[Name] = Field(max_length=_MOST)
