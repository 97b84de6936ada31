"""What the file says of everybody's keys, users and budgets."""

from decimal import Decimal
from pathlib import Path

import pytest

from penstock.rules import key_rules, rules_of, user_rules
from schemas.config import TenantSettings
from tests.configuration.loaded import config, errors


def test_the_whole_of_it(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """
        litellm_settings:
          max_budget: 100
          budget_duration: 30d
          timezone: Europe/Berlin
          budget_exceeded_status_code: 400
          budget_exceeded_throttle_percentage: 0.1
          default_key_generate_params: {max_budget: 5, models: [a]}
          upperbound_key_generate_params: {max_budget: 10, duration: 30d}
          key_generation_settings: {team_key_generation: {allowed_team_member_roles: [admin]}}
          default_internal_user_params: {user_role: internal_user, teams: [t, {team_id: u, max_budget_in_team: 3}]}
          max_internal_user_budget: 7
        general_settings:
          {max_parallel_requests: 4, apply_user_budget_to_team_keys: true, disable_custom_api_keys: true,
           service_account_settings: {enforced_params: [user]}}
        """,
        {"LITELLM_KEY_ROTATION_GRACE_PERIOD": "48h"},
    )
    assert found.warnings == ()
    tenants = found.tenants
    assert (tenants.timezone, tenants.budget_exceeded_status) == ("Europe/Berlin", 400)
    rules = rules_of(tenants)
    assert rules == (True, Decimal(100), "30d", 4, Decimal("0.1"), ("user",))
    keys = key_rules(tenants)
    assert (keys.defaults.max_budget, keys.bounds.max_budget, keys.custom, keys.grace) == (5, 10, False, "48h")
    assert keys.generation.team_key_generation.allowed_team_member_roles == ("admin",)
    users = user_rules(tenants)
    assert [place.team_id for place in users.teams] == ["t", "u"]
    assert (users.internal_budget, users.defaults) == (7, {"user_role": "internal_user"})


def test_no_budget_of_the_proxy_is_none_or_zero(tmp_path: Path) -> None:
    assert rules_of(config(tmp_path, "litellm_settings: {max_budget: 0}").tenants).max_budget is None


@pytest.mark.parametrize(
    "line",
    [
        "budget_duration: soon",
        "timezone: Mars/Olympus",
        "budget_exceeded_status_code: 200",
        "budget_exceeded_throttle_percentage: 10",
        "budget_exceeded_throttle_percentage: 0",
        "max_budget: -1",
        'key_alias_pattern: "["',
        "default_key_generate_params: 5",
    ],
)
def test_what_makes_no_sense_ends_the_start(tmp_path: Path, line: str) -> None:
    assert len(errors(tmp_path, f"litellm_settings: {{{line}}}")) == 1


@pytest.mark.parametrize("given", [{"max_budget": "NaN"}, {"max_budget": -1}, {"models": 5}])
def test_terms_that_make_no_sense_are_named(given: dict[str, object]) -> None:
    tenants = TenantSettings().model_copy(update={"key_defaults": given})
    with pytest.raises(ValueError, match="default_key_generate_params"):
        key_rules(tenants)
