"""From the configuration to what the rooms go by; what makes no sense raises `ValueError`."""

import re
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from api.addresses import Addresses
from api.management.fields import Name
from api.management.keys import KeyBounds, KeyDefaults, KeyGeneration, KeyRules
from api.management.rights import Rights
from api.management.rules import Place, TeamRules, UserRules
from api.management.teams.bodies import NewTeam
from api.management.users.bodies import NewUser
from broker.seal import Seal
from ledger.tenants import USERS
from ledger.terms import Rules
from penstock.configuration.problems import ConfigurationError
from schemas.config import AccessSettings, Config, TenantSettings


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Who may call and who pays, as one configuration has it: made as a whole, and replaced as a whole."""

    addresses: Addresses
    rights: Rights
    terms: Rules
    keys: KeyRules
    users: UserRules
    teams: TeamRules
    zone: tzinfo  # whose calendar budgets follow


def rulebook(config: Config, seal: Seal | None) -> Rulebook:
    """Raises `ConfigurationError` with what makes no sense. `seal` is the salt key's."""
    tenants = config.tenants
    try:
        return Rulebook(
            addresses=addresses_of(config.access),
            rights=rights_of(config.access),
            terms=rules_of(tenants),
            keys=key_rules(tenants),
            users=user_rules(tenants),
            teams=team_rules(tenants, seal),
            zone=ZoneInfo(tenants.timezone),
        )
    except ValueError as wrong:
        raise ConfigurationError([f"litellm_settings: {wrong}"]) from None


def addresses_of(settings: AccessSettings) -> Addresses:
    """From where one may call."""
    return Addresses(settings.allowed_ips, settings.trusted_proxies, use_forwarded=settings.use_forwarded)


def rights_of(settings: AccessSettings) -> Rights:
    """Which routes there are for whom."""
    return Rights(settings.allowed_routes, settings.admin_only_routes, settings.public_routes)


def rules_of(settings: TenantSettings) -> Rules:
    """What everybody's access goes by."""
    return Rules(
        user_budget_for_team_keys=settings.user_budget_for_team_keys,
        max_budget=settings.max_budget or None,  # LiteLLM's default is 0, which is no limit there
        budget_duration=settings.budget_duration,
        default_parallel=settings.key_parallel,
        throttle=settings.budget_throttle,
        enforced_of_services=settings.service_enforced_params,
    )


def key_rules(settings: TenantSettings) -> KeyRules:
    """What new keys go by."""
    return KeyRules(
        defaults=_checked("default_key_generate_params", KeyDefaults, settings.key_defaults),
        bounds=_checked("upperbound_key_generate_params", KeyBounds, settings.key_bounds),
        generation=_checked("key_generation_settings", KeyGeneration, settings.key_generation),
        custom=settings.custom_keys,
        org_admins_generate=settings.org_admins_make_keys,
        grace=settings.key_grace,
        alias=None if settings.key_alias_pattern is None else re.compile(settings.key_alias_pattern),
    )


def user_rules(settings: TenantSettings) -> UserRules:
    """What new users go by."""
    name = "default_internal_user_params"
    body: _UserDefaults = _checked(name, _UserDefaults, settings.user_defaults)
    given = body.given()
    unknown = sorted(settings.user_defaults.keys() - USERS.columns - {"teams", "available_teams"})
    if unknown:
        raise ValueError(f"{name}.{unknown[0]}: a user has no such field")
    return UserRules(
        defaults={field: value for field, value in given.items() if field in USERS.columns},
        teams=tuple(Place(one.team_id, one.max_budget_in_team, one.user_role) for one in body.teams or ()),
        available_teams=frozenset(body.available_teams or ()),
        internal_budget=settings.internal_budget,
        internal_budget_duration=settings.internal_budget_duration,
    )


def team_rules(settings: TenantSettings, seal: Seal | None) -> TeamRules:
    """What new teams go by."""
    _checked("default_team_params", NewTeam, settings.team_defaults)
    return TeamRules(
        defaults=settings.team_defaults,
        editable=frozenset(settings.team_admins_edit),
        adds_admin=settings.admins_join_teams,
        seal=seal,
    )


class _UserDefaults(NewUser):
    """`default_internal_user_params`: what a new user could be given, and two of its own."""

    available_teams: list[Name] | None = None


def _checked(name: str, model: Any, given: Any) -> Any:
    try:
        return model.model_validate(given)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(part) for part in (name, *first["loc"]))
        raise ValueError(f"{where}: {first['msg']}") from None
