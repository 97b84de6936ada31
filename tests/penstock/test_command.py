"""The command itself: what it logs, and what it says of a wrong setting of its own."""

import logging
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from penstock.command import main


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Other tests keep the level that they had."""
    level = logging.getLogger("httpx").level
    yield
    logging.getLogger("httpx").setLevel(level)


def test_urls_with_passwords_are_not_logged() -> None:
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    assert CliRunner().invoke(main, ["admin", "permissions", "api"]).exit_code == 0
    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO)


def test_a_log_level_that_is_none() -> None:
    result = CliRunner().invoke(main, ["admin", "permissions", "api"], env={"PENSTOCK_LOG": "loud"})
    assert result.exit_code == 1
    assert result.output.startswith("Error: PENSTOCK_LOG: one of ")


@pytest.mark.parametrize("role", ["serve", "worker"])
def test_an_amqp_url_that_is_none_is_refused_without_showing_it(role: str) -> None:
    environ = {
        "AMQP_URL": "http://user:hidden@rabbitmq/",
        "PENSTOCK_CONFIG": "",
        "PENSTOCK_MASTER_KEY": "sk-0123456789",
    }
    result = CliRunner().invoke(main, [role], env=environ)
    assert result.exit_code == 1
    assert "AMQP_URL: an AMQP URL starts with amqp:// or amqps://" in result.output
    assert "hidden" not in result.output
