"""Who a token's claims say somebody is, as `litellm_jwtauth` tells to read them. Pure: nothing is looked up."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from schemas.access import Role
from schemas.config import ClaimFields, Jwt
from schemas.failures import Kind, Refused

_MOST_TEAMS = 1000
_LONGEST = 256
_MISSING = object()


class Who(NamedTuple):
    """What the claims say; "" and () where they say nothing.

    `team` is the one team that was named, `teams` the groups among which one is to be found. `proved_email` is false
    when the issuer says that nobody has checked the address. `models` None: scopes say nothing of models.
    """

    user: str = ""
    email: str = ""
    proved_email: bool = True
    team: str = ""
    team_alias: str = ""
    teams: tuple[str, ...] = ()
    organization: str = ""
    organization_alias: str = ""
    end_user: str = ""
    admin: bool = False
    role: Role | None = None  # what `jwt_litellm_role_map` makes of the roles
    models: tuple[str, ...] | None = None

    @property
    def named_teams(self) -> tuple[str, ...]:
        """Every team that the claims name by its id."""
        return tuple(dict.fromkeys((*self.teams, *([self.team] if self.team else []))))


def who(claims: Mapping[str, Any], settings: Jwt, fields: ClaimFields) -> Who:
    """Read the claims. Raises `Refused`: FORBIDDEN for a role or an email's domain that is not admitted,
    UNAUTHENTICATED when there must be a team and is none."""
    scopes, roles = _scopes(claims), _many(claims, fields.roles)
    email = _one(claims, fields.user_email)
    proved = claims.get("email_verified", True) in (True, "true")
    user = _one(claims, fields.user_id) or (email if proved else "")
    named = _many(claims, fields.team_id)
    alias = _one(claims, fields.team_alias)
    team = named[0] if named else "" if alias else settings.team_default or ""
    role = _class(settings, scopes, roles, _many(claims, fields.user_roles), has_team=bool(team), has_user=bool(user))
    if settings.role_needed and role is None:
        raise Refused(Kind.FORBIDDEN, "The token belongs to no proxy admin, team or user.")
    admin = role is Role.ADMIN
    object = _one(claims, fields.object_id)
    if object and role is Role.TEAM:
        team = object
    elif object and role is Role.USER:
        user = object
    if not admin:
        _judge_domain(email, settings)
        _judge_team(team or alias, settings, fields)
    return Who(
        user=user,
        email=email,
        proved_email=proved,
        team=team,
        team_alias=alias,
        teams=tuple(_many(claims, fields.team_ids)[:_MOST_TEAMS]),
        organization=_one(claims, fields.org_id),
        organization_alias=_one(claims, fields.org_alias),
        end_user=_one(claims, fields.end_user_id),
        admin=admin,
        role=_mapped(settings, roles),
        models=_models(settings, scopes),
    )


def _class(
    settings: Jwt, scopes: list[str], roles: list[str], user_roles: list[str], *, has_team: bool, has_user: bool
) -> Role | None:
    """Admin, team or user: the first that the token shows itself to be; None: nothing of ours."""
    mapped = next((Role(meant) for given, meant in settings.role_mappings if given in roles), None)
    if settings.admin_scope in scopes or mapped is Role.ADMIN:
        return Role.ADMIN
    if has_team:
        return Role.TEAM
    if has_user or not settings.user_roles.isdisjoint(user_roles):
        return Role.USER
    return mapped


def _mapped(settings: Jwt, roles: list[str]) -> Role | None:
    if not settings.role_sync:
        return None
    for pattern, meant in settings.role_map:
        if any(fnmatch.fnmatchcase(role, pattern) for role in roles):
            return Role(meant)
    return None


def _models(settings: Jwt, scopes: list[str]) -> tuple[str, ...] | None:
    if settings.scope_models is None:
        return None
    return tuple(dict.fromkeys(model for scope, models in settings.scope_models if scope in scopes for model in models))


def _judge_domain(email: str, settings: Jwt) -> None:
    domain = settings.email_domain
    if domain is not None and not email.lower().endswith(f"@{domain.lower()}"):
        raise Refused(Kind.FORBIDDEN, f"Email domain not allowed. Allowed domain: {domain}", param="user_email")


def _judge_team(team: str, settings: Jwt, fields: ClaimFields) -> None:
    """A claim that is to name the team must, unless the user's own teams may take its place."""
    wanted = [name for name in (fields.team_id, fields.team_alias) if name]
    if wanted and not team and not settings.team_of_user:
        raise Refused(
            Kind.UNAUTHENTICATED, f"Authentication Error, no team found in the token (claim {' or '.join(wanted)})."
        )


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    scope = claims.get("scope")
    return scope.split() if isinstance(scope, str) else _texts(scope if isinstance(scope, list) else [])


def _one(claims: Mapping[str, Any], path: str | None) -> str:
    """The claim as a text; of a list its first."""
    return next(iter(_many(claims, path)), "")


def _many(claims: Mapping[str, Any], path: str | None) -> list[str]:
    """The claim as a list of texts; what is neither text nor number in it counts as absent."""
    value = _MISSING if path is None else _at(claims, path)
    return _texts(value if isinstance(value, list) else [value])


def _texts(values: Iterable[Any]) -> list[str]:
    found = (str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in values)
    return [one for one in found if isinstance(one, str) and one and len(one) <= _LONGEST and one.isprintable()]


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim with just this name, else what the dots lead to (`\\.` is a dot within a name)."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in re.split(r"(?<!\\)\.", path):
        value = value.get(part.replace("\\.", "."), _MISSING) if isinstance(value, dict) else _MISSING
    return value
