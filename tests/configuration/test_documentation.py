"""docs/configuration.md says what the code does: every setting, default, variable and key."""

import json
import re
from pathlib import Path

import pytest

from penstock.configuration import access, deployments, limits, routing
from penstock.configuration.environment import _SECRET_ENDS
from penstock.configuration.known import words
from penstock.configuration.loading import load
from penstock.configuration.settings import variables
from schemas.config import Jwt, Routing, Settings, Strategy
from schemas.failures import POLICY_NAMES
from tests.configuration.loaded import PROVIDERS, errors

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
ROWS = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in TEXT.splitlines()]
OTHERS = words(
    """default_fallbacks routing_strategy routing_strategy_args lowest_latency_buffer retry_policy DefaultRetries
    model_group_retry_policy allowed_fails_policy optional_pre_call_checks enforce_model_rate_limits"""
)
SETTINGS = {row[0]: row for row in ROWS if len(row) == 5 and row[0] in Settings.model_fields}


def test_every_setting_has_its_row_in_order():
    assert list(SETTINGS) == list(Settings.model_fields)


@pytest.mark.parametrize(("name", "names"), list(zip(Settings.model_fields, variables(), strict=True)))
def test_defaults_and_variables_are_right(name, names):
    default = Settings.model_fields[name].default
    _, written, variable, shared, _ = SETTINGS[name]
    assert written == ("" if default in (None, ()) else json.dumps(default).strip('"'))
    assert (variable, shared or None) == names
    assert getattr(load(None, {}, PROVIDERS).settings, name) == default


def test_every_key_with_an_effect_is_named():
    tables = (deployments._FIELDS, deployments._INFO_FIELDS, limits.KEYS, routing.KEYS, access.KEYS, access.JWT_KEYS)
    keys = [key for table in tables for key, _ in table.values()] + list(deployments._PRICES.values())
    tokens = (*access.FIELD_KEYS.values(), *access.VARIABLES, *access.VARIABLES.values())
    others = (*deployments._IDENTITY, *routing.FALLBACKS, *OTHERS, *POLICY_NAMES, *Strategy, *tokens)
    assert [key for key in (*keys, *others) if f"`{key}`" not in TEXT] == []
    assert [end for end in _SECRET_ENDS if f"`{end}`" not in TEXT] == []


ROUTING = {row[0]: row[1] for row in ROWS if len(row) == 3 and row[1]}


@pytest.mark.parametrize(("field", "key"), [(field, key) for field, (key, _) in routing.KEYS.items()])
def test_defaults_of_routing_are_right(field, key):
    default = Routing.model_fields[field].default
    shown = not default if field == "cooldowns" else default
    assert ROUTING.get(key) == (None if default is None else json.dumps(shown).removesuffix(".0"))


@pytest.mark.parametrize(("field", "key"), [(field, key) for field, (key, _) in access.JWT_KEYS.items()])
def test_defaults_of_tokens_are_right(field, key):
    default = Jwt.model_fields[field].default
    (written,) = [row[1] for row in ROWS if len(row) == 3 and row[0] == key]
    if isinstance(default, tuple):
        assert written.replace("`", "") == ", ".join(default)
    else:
        assert written == ("" if default in (None, frozenset()) else json.dumps(default).strip('"').removesuffix(".0"))


def test_the_error_that_is_shown_is_the_one_that_comes(tmp_path):
    shown = re.search(r"^config\.yaml:12: (.*)$", TEXT, re.M)
    text = "model_list: [{model_name: a, litellm_params: {model: gpt-4o, timeout: many}}]\n"
    assert errors(tmp_path, text) == [f"config.yaml:1: {shown[1]}"]
