"""Settings: where each may be set, and which place wins."""

from textwrap import dedent

import pytest
from pydantic import SecretStr

from penstock.configuration.loading import load
from penstock.configuration.problems import ConfigurationError
from penstock.configuration.settings import SHARED_VARIABLES, is_secret, parser, variables
from schemas.config import Settings
from tests.configuration.loaded import PROVIDERS, config, errors

FILE = """
    general_settings: {master_key: sk-general, database_url: postgresql://general/d}
    """
OWN = "penstock: {master_key: sk-own, database_url: postgresql://own/d, amqp_url: amqp://own}\n"


def _shown(settings, name):
    value = getattr(settings, name)
    return value.get_secret_value() if isinstance(value, SecretStr) else value


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("{}", {}, None),
        ("{}", {"LITELLM_MASTER_KEY": "sk-l"}, "sk-l"),
        (FILE, {"LITELLM_MASTER_KEY": "sk-l"}, "sk-general"),
        (FILE + OWN, {"LITELLM_MASTER_KEY": "sk-l"}, "sk-own"),
        (FILE + OWN, {"LITELLM_MASTER_KEY": "sk-l", "PENSTOCK_MASTER_KEY": "sk-p"}, "sk-p"),
        (FILE, {"PENSTOCK_MASTER_KEY": ""}, "sk-general"),
    ],
)
def test_the_master_key(tmp_path, text, environ, expected):
    settings = config(tmp_path, dedent(text), environ).settings
    assert _shown(settings, "master_key") == expected


@pytest.mark.parametrize("name", ["master_key", "salt_key", "amqp_url"])
def test_every_secret_can_be_in_a_file(tmp_path, name):
    secret = "amqp://the-secret" if name == "amqp_url" else "the-secret"
    (tmp_path / "s").write_text(f"{secret}\n")
    for variable in (f"PENSTOCK_{name.upper()}_FILE", f"{SHARED_VARIABLES[name]}_FILE"):
        assert _shown(load(None, {variable: str(tmp_path / "s")}, PROVIDERS).settings, name) == secret


def test_our_own_variable_in_a_file_wins_over_the_shared_one(tmp_path):
    (tmp_path / "s").write_text("sk-file")
    environ = {"PENSTOCK_MASTER_KEY_FILE": str(tmp_path / "s"), "LITELLM_MASTER_KEY": "sk-l"}
    assert _shown(load(None, environ, PROVIDERS).settings, "master_key") == "sk-file"


_SAMPLES = {
    bool: ("false", False),
    float: ("2.5", 2.5),
    int: ("5000", 5000),
    str: ("x", "x"),
    tuple[str, ...]: ("a, b", ("a", "b")),
}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_variable_and_a_key(tmp_path, name):
    url = "amqp://h/v" if name == "amqp_url" else "postgresql://h/d"
    written, expected = _SAMPLES.get(Settings.model_fields[name].annotation, (url, url))
    from_variable = load(None, {f"PENSTOCK_{name.upper()}": written}, PROVIDERS).settings
    assert _shown(from_variable, name) == expected
    from_file = config(tmp_path, f'penstock: {{{name}: "{written}"}}\n').settings
    assert _shown(from_file, name) == expected
    assert callable(parser(name))


def test_each_variable_is_listed_once():
    listed = list(variables())
    assert len(listed) == len(Settings.model_fields)
    assert ("PENSTOCK_AMQP_URL", "AMQP_URL") in listed
    assert [name for name in Settings.model_fields if is_secret(name)] == list(SHARED_VARIABLES)


def test_a_wrong_variable_is_named():
    environ = {"PENSTOCK_DRAIN": "soon", "PENSTOCK_PORT": "0x", "PENSTOCK_BEAT_EVERY": "0", "PENSTOCK_PACING": "1"}
    with pytest.raises(ConfigurationError) as caught:
        load(None, environ, PROVIDERS)
    assert caught.value.lines == (
        'PENSTOCK_PORT: a number is wanted, not "0x"',
        'PENSTOCK_DRAIN: a number is wanted, not "soon"',
        'PENSTOCK_BEAT_EVERY: a number of seconds above 0 is wanted, not "0"',
        'PENSTOCK_PACING: true or false is wanted, not "1"',
    )


def test_kubernetes_own_variable_is_not_our_port():
    assert load(None, {"PENSTOCK_PORT": "tcp://10.0.0.7:4000"}, PROVIDERS).settings.port == 4000


def test_litellms_keys(tmp_path):
    text = """
        general_settings: {max_request_size_mb: 0.5}
        litellm_settings: {request_timeout: 100}
        """
    settings = config(tmp_path, text).settings
    assert (settings.max_request_bytes, settings.request_timeout) == (2**19, 100)
    settings = config(tmp_path, "router_settings: {timeout: 7}\nlitellm_settings: {request_timeout: 100}\n").settings
    assert settings.request_timeout == 7


def test_lists_in_the_file(tmp_path):
    assert config(tmp_path, "penstock: {cors_origins: [http://a, http://b]}\n").settings.cors_origins == (
        "http://a",
        "http://b",
    )


def test_a_database_url_that_is_none_is_refused_without_showing_it(tmp_path):
    for url in ("mysql://u:secret@h/d", "postgresql://u:sec/ret[@h/d", "secret"):
        (line,) = errors(tmp_path, f"general_settings: {{database_url: '{url}'}}\n")
        assert line.startswith("the database URL: ")
        assert "secret" not in line
        assert "sec/ret" not in line
