"""docs/configuration.md says what the code does: every setting, default, variable and key."""

import re
from pathlib import Path

import pytest

from penstock.configuration import deployments
from penstock.configuration.environment import _SECRET_ENDS
from penstock.configuration.loading import load
from penstock.configuration.settings import variables
from schemas.config import Settings
from tests.configuration.loaded import PROVIDERS, errors

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
ROWS = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in TEXT.splitlines()]
SETTINGS = {row[0]: row for row in ROWS if len(row) == 5 and row[0] in Settings.model_fields}


def test_every_setting_has_its_row_in_order():
    assert list(SETTINGS) == list(Settings.model_fields)


@pytest.mark.parametrize(("name", "names"), list(zip(Settings.model_fields, variables(), strict=True)))
def test_defaults_and_variables_are_right(name, names):
    default = Settings.model_fields[name].default
    _, written, variable, shared, _ = SETTINGS[name]
    assert written == ("" if default in (None, ()) else str(default))
    assert (variable, shared or None) == names
    assert getattr(load(None, {}, PROVIDERS).settings, name) == default


def test_every_key_with_an_effect_is_named():
    keys = [key for key, _ in deployments._FIELDS.values()] + list(deployments._PRICES.values())
    assert [key for key in (*keys, *deployments._IDENTITY) if f"`{key}`" not in TEXT] == []
    assert [end for end in _SECRET_ENDS if f"`{end}`" not in TEXT] == []


def test_the_error_that_is_shown_is_the_one_that_comes(tmp_path):
    shown = re.search(r"^config\.yaml:12: (.*)$", TEXT, re.M)
    text = "model_list: [{model_name: a, litellm_params: {model: gpt-4o, timeout: many}}]\n"
    assert errors(tmp_path, text) == [f"config.yaml:1: {shown[1]}"]
