"""From the environment and the file to the configuration of one role, with what that role cannot do without."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.configuration.loading import load
from penstock.configuration.masterkey import own_key, refuse_well_known
from penstock.configuration.problems import ConfigurationError
from schemas.config import Config


@dataclass(frozen=True, slots=True)
class Needs:
    """What a role wants beside the file. `embedded`: it can do without RabbitMQ, Postgres and a configured key."""

    host: str | None = None
    port: int | None = None
    embedded: bool = False
    master_key: bool = False
    providers: tuple[str, ...] = ()


def configured(path: Path | None, needs: Needs, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration of this process. Raises `ConfigurationError`."""
    config = load(path, environ)
    changes: dict[str, Any] = {}
    if needs.host is not None:
        changes["host"] = needs.host
    if needs.port is not None:
        changes["port"] = needs.port
    if needs.embedded and config.settings.master_key is None:
        changes["master_key"] = own_key(Path(config.settings.state_dir))[0]
    settings = config.settings.model_copy(update=changes)
    config = config.model_copy(update={"settings": settings})
    problems = [] if needs.embedded else _missing(config, needs)
    problems += _unknown_providers(config, needs)
    if problems:
        raise ConfigurationError(problems)
    if settings.master_key is not None:
        refuse_well_known(settings.master_key, settings.host)
    return config


def _missing(config: Config, needs: Needs) -> list[str]:
    settings = config.settings
    found = []
    if settings.amqp_url is None:
        found.append("AMQP_URL is not set: a separate role needs RabbitMQ (`penstock serve` runs without).")
    if settings.database_url is None:
        found.append("DATABASE_URL is not set: a separate role needs Postgres (`penstock serve` runs without).")
    if needs.master_key and settings.master_key is None:
        found.append("No master key: set PENSTOCK_MASTER_KEY (or PENSTOCK_MASTER_KEY_FILE).")
    return found


def _unknown_providers(config: Config, needs: Needs) -> list[str]:
    there = {deployment.provider for deployment in config.deployments}
    return [
        f"No deployment has the provider '{name}'; the configuration has: {', '.join(sorted(there)) or 'none'}."
        for name in needs.providers
        if name not in there
    ]
