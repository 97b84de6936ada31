"""What a process makes for itself when nothing is configured, and what it cannot do without."""

from pathlib import Path

import pytest

from penstock.configuration.problems import ConfigurationError
from penstock.needs import Needs, Source
from schemas.config import Config

APART = {"AMQP_URL": "amqp://q/", "DATABASE_URL": "postgresql://d/x", "PENSTOCK_MASTER_KEY": "sk-0123456789"}


def config(folder: Path, needs: Needs, **environ: str) -> Config:
    source = Source(None, needs, {"PENSTOCK_STATE_DIR": str(folder), **environ})
    return source.config(source.read())


def test_who_is_alone_makes_its_own_keys_once(tmp_path: Path) -> None:
    first, second = (config(tmp_path, Needs(embedded=True)).settings for _ in range(2))
    assert first == second
    assert first.master_key is not None
    assert first.salt_key is not None
    assert first.salt_key != first.master_key
    for name, key in (("master-key", first.master_key), ("salt-key", first.salt_key)):
        assert (tmp_path / name).read_text().strip() == key.get_secret_value()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("shared", ["AMQP_URL", "DATABASE_URL"])
def test_a_salt_that_others_must_know_is_not_made_up(tmp_path: Path, shared: str) -> None:
    settings = config(tmp_path, Needs(embedded=True), **{shared: APART[shared]}).settings
    assert settings.salt_key is None
    assert not (tmp_path / "salt-key").exists()


def test_a_salt_that_is_given_is_used(tmp_path: Path) -> None:
    settings = config(tmp_path, Needs(embedded=True), LITELLM_SALT_KEY="given").settings
    assert settings.salt_key is not None
    assert settings.salt_key.get_secret_value() == "given"


def test_the_command_line_wins(tmp_path: Path) -> None:
    settings = config(tmp_path, Needs("::1", 5, embedded=True), PENSTOCK_PORT="6").settings
    assert (settings.host, settings.port) == ("::1", 5)


def test_a_worker_may_wait_for_a_provider_but_not_for_one_that_nobody_knows(tmp_path: Path) -> None:
    (warning,) = config(tmp_path, Needs(providers=("groq",)), **APART).warnings
    assert warning.startswith("No deployment has the provider 'groq' yet")
    with pytest.raises(ConfigurationError, match="There is no provider 'grok'"):
        config(tmp_path, Needs(providers=("grok",)), **APART)


@pytest.mark.parametrize("missing", sorted(APART))
def test_a_role_of_its_own_needs_servers_and_a_key(tmp_path: Path, missing: str) -> None:
    environ = {name: value for name, value in APART.items() if name != missing}
    with pytest.raises(ConfigurationError, match="master key" if "KEY" in missing else missing):
        config(tmp_path, Needs(master_key=True), **environ)
