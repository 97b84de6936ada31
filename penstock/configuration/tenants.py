"""`TenantSettings`: what the configuration says of everybody's keys, users, teams and budgets."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from penstock.configuration import values
from penstock.configuration.environment import Environment
from penstock.configuration.problems import Place, Wrong
from penstock.configuration.source import Node
from penstock.configuration.values import Section
from policy.periods import duration
from schemas.config import TenantSettings

_GRACE = "LITELLM_KEY_ROTATION_GRACE_PERIOD"


def read_tenants(general: Section, litellm: Section, environment: Environment) -> TenantSettings:
    """Takes what it understands out of both sections."""
    found: dict[str, Any] = {}
    for section, keys in ((general, GENERAL), (litellm, LITELLM)):
        for field, (key, parse) in keys.items():
            value = section.take(key, parse)
            if value is not None:
                found[field] = value
    grace = environment.get(_GRACE)
    if grace:
        try:
            found["key_grace"] = _period(Node(grace, Place(_GRACE, 0), grace))
        except Wrong as wrong:
            litellm.problems.error(_GRACE, str(wrong))
    return TenantSettings(**found)


def _period(node: Node) -> str:
    try:
        duration(values.text(node))
    except ValueError as wrong:
        raise Wrong(str(wrong)) from None
    return values.text(node)


def _zone(node: Node) -> str:
    try:
        ZoneInfo(values.text(node))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Wrong("a time zone such as Europe/Berlin is wanted") from None
    return values.text(node)


def _status(node: Node) -> int:
    status = values.whole(node)
    if not 400 <= status < 500:
        raise Wrong("an HTTP status from 400 to 499 is wanted")
    return status


def _part(node: Node) -> Decimal:
    part = values.number(node)
    if not 0 < part <= 1:
        raise Wrong("a number above 0 and up to 1 is wanted")
    return part


def _of_services(node: Node) -> tuple[str, ...]:
    """`service_account_settings` has this one field."""
    if not isinstance(node.value, dict) or not set(node.value) <= {"enforced_params"}:
        raise Wrong("{enforced_params: [names of fields]} is wanted")
    found = node.value.get("enforced_params")
    return () if found is None or found.value is None else values.names(found)


def _not(node: Node) -> bool:
    return not values.flag(node)


def _pattern(node: Node) -> str:
    try:
        re.compile(values.text(node))
    except re.error:
        raise Wrong("a regular expression is wanted") from None
    return values.text(node)


GENERAL: Mapping[str, tuple[str, values.Parse[Any]]] = {
    "user_budget_for_team_keys": ("apply_user_budget_to_team_keys", values.flag),
    "custom_keys": ("disable_custom_api_keys", _not),
    "key_parallel": ("max_parallel_requests", values.whole),
    "service_enforced_params": ("service_account_settings", _of_services),
}
LITELLM: Mapping[str, tuple[str, values.Parse[Any]]] = {
    "max_budget": ("max_budget", values.number),
    "budget_duration": ("budget_duration", _period),
    "timezone": ("timezone", _zone),
    "budget_exceeded_status": ("budget_exceeded_status_code", _status),
    "budget_throttle": ("budget_exceeded_throttle_percentage", _part),
    "customer_budget": ("max_end_user_budget_id", values.text),
    "key_defaults": ("default_key_generate_params", values.mapping),
    "key_bounds": ("upperbound_key_generate_params", values.mapping),
    "key_generation": ("key_generation_settings", values.mapping),
    "key_alias_pattern": ("key_alias_pattern", _pattern),
    "org_admins_make_keys": ("disable_key_generate_for_org_admin", _not),
    "user_defaults": ("default_internal_user_params", values.mapping),
    "team_defaults": ("default_team_params", values.mapping),
    "team_admins_edit": ("team_admin_editable_team_fields", values.names),
    "admins_join_teams": ("disable_auto_add_proxy_admin_to_teams", _not),
    "internal_budget": ("max_internal_user_budget", values.number),
    "internal_budget_duration": ("internal_user_budget_duration", _period),
}
