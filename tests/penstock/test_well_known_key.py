"""A master key out of a manual does not start a server that others can reach, whatever says where it listens."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.command import main

ROLES = ("serve", "api")
ELSEWHERE = {"AMQP_URL": "amqp://localhost", "DATABASE_URL": "postgresql://localhost/x"}


def refused(role: str, *arguments: str, **environ: str) -> str:
    """What the command says; it must not have started."""
    result = CliRunner(env={**ELSEWHERE, "PENSTOCK_MASTER_KEY": None, **environ}).invoke(main, [role, *arguments])
    assert result.exit_code == 1, result.output
    assert "sk-1234" not in result.output
    return result.output


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0", "192.0.2.1", "penstock.example"])
def test_by_the_option(role: str, host: str) -> None:
    assert "well-known" in refused(role, "--host", host, PENSTOCK_MASTER_KEY="sk-1234")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_by_the_variable(role: str, host: str) -> None:
    assert "well-known" in refused(role, PENSTOCK_HOST=host, LITELLM_MASTER_KEY="sk-1234")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_by_the_file(role: str, host: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f'general_settings: {{master_key: sk-1234}}\npenstock: {{host: "{host}"}}\n')
    assert "well-known" in refused(role, "--config", str(path))


@pytest.mark.parametrize("role", ROLES)
def test_by_a_key_in_a_file_of_its_own(role: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-1234\n")
    assert "well-known" in refused(role, "--host", "::", PENSTOCK_MASTER_KEY_FILE=str(path))


def test_the_option_wins_over_a_safe_variable() -> None:
    assert "well-known" in refused(
        "serve", "--host", "0.0.0.0", PENSTOCK_HOST="127.0.0.1", PENSTOCK_MASTER_KEY="sk-1234"
    )
