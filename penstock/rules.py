"""From `TenantSettings` to what the rooms go by. All raise `ValueError` for what makes no sense."""

import re
from typing import Any

from pydantic import ValidationError

from api.management.keys import KeyBounds, KeyDefaults, KeyGeneration, KeyRules
from api.management.rules import Place, TeamRules, UserRules
from broker.seal import Seal
from ledger.terms import Rules
from schemas.config import TenantSettings


def rules_of(settings: TenantSettings) -> Rules:
    """What everybody's access goes by."""
    return Rules(
        user_budget_for_team_keys=settings.user_budget_for_team_keys,
        max_budget=settings.max_budget or None,  # LiteLLM's default is 0, which is no limit there
        budget_duration=settings.budget_duration,
        default_parallel=settings.key_parallel,
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
    defaults = dict(settings.user_defaults)
    teams = tuple(_place(one) for one in defaults.pop("teams", None) or ())
    available = frozenset(map(str, defaults.pop("available_teams", None) or ()))
    return UserRules(
        defaults=defaults,
        teams=teams,
        available_teams=available,
        internal_budget=settings.internal_budget,
        internal_budget_duration=settings.internal_budget_duration,
    )


def team_rules(settings: TenantSettings, seal: Seal | None) -> TeamRules:
    """What new teams go by."""
    return TeamRules(
        defaults=settings.team_defaults,
        editable=frozenset(settings.team_admins_edit),
        adds_admin=settings.admins_join_teams,
        seal=seal,
    )


def _place(given: Any) -> Place:
    if isinstance(given, str):
        return Place(given)
    if not isinstance(given, dict) or not isinstance(given.get("team_id"), str):
        raise ValueError("default_internal_user_params.teams: a list of team ids is wanted")
    return Place(given["team_id"], given.get("max_budget_in_team"), given.get("user_role", "user"))


def _checked(name: str, model: Any, given: Any) -> Any:
    try:
        return model.model_validate(given)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(part) for part in (name, *first["loc"]))
        raise ValueError(f"{where}: {first['msg']}") from None
