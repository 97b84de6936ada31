"""From the environment and the file to the configuration of one role, with what that role cannot do without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.configuration.loading import Written, build, read
from penstock.configuration.masterkey import own_key, own_salt, refuse_well_known
from penstock.configuration.problems import ConfigurationError
from penstock.configuration.source import Node
from schemas.config import Config
from workers.providers import registry


@dataclass(frozen=True, slots=True)
class Needs:
    """What a role wants beside the file. `embedded`: it can do without RabbitMQ, Postgres and a configured key."""

    host: str | None = None
    port: int | None = None
    embedded: bool = False
    master_key: bool = False
    providers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Where a process has its configuration from: a file or none, the environment, and what its roles need."""

    path: Path | None
    needs: Needs
    environ: Mapping[str, str]

    def read(self) -> Written:
        """The file as it is now. Raises `ConfigurationError` when it cannot be read at all."""
        return read(self.path)

    def config(
        self,
        written: Written,
        stored: Sequence[Node] = (),
        judged: Node | None = None,
        credentials: Mapping[str, Node] | None = None,
    ) -> Config:
        """The configuration by the file, and by models and credentials from elsewhere; see `loading.build`."""
        config = build(written, self.environ, stored, judged, credentials=credentials)
        settings = config.settings.model_copy(update=self._own(config))
        config = config.model_copy(update={"settings": settings})
        problems = [] if self.needs.embedded else _missing(config, self.needs)
        problems += _unknown_providers(self.needs)
        if problems:
            raise ConfigurationError(problems)
        if settings.master_key is not None:
            refuse_well_known(settings.master_key, settings.host)
        return config.model_copy(update={"warnings": (*config.warnings, *_unused_providers(config, self.needs))})

    def _own(self, config: Config) -> dict[str, Any]:
        """What the command line says, and the keys that an embedded process makes for itself."""
        needs, settings, found = self.needs, config.settings, dict[str, Any]()
        if needs.host is not None:
            found["host"] = needs.host
        if needs.port is not None:
            found["port"] = needs.port
        if needs.embedded and settings.master_key is None:
            found["master_key"] = own_key(Path(settings.state_dir))[0]
        alone = settings.amqp_url is None and settings.database_url is None  # else others must have it too
        if needs.embedded and settings.salt_key is None and alone:
            found["salt_key"] = own_salt(Path(settings.state_dir))
        return found


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


def _unknown_providers(needs: Needs) -> list[str]:
    known = sorted(registry.names())
    return [f"There is no provider '{name}'." for name in needs.providers if name not in known]


def _unused_providers(config: Config, needs: Needs) -> list[str]:
    """A model of theirs may come while the process runs."""
    there = {deployment.provider for deployment in config.deployments}
    said = f"the configuration has: {', '.join(sorted(there)) or 'none'}"
    return [f"No deployment has the provider '{name}' yet; {said}." for name in needs.providers if name not in there]
