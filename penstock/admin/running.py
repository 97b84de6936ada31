"""What the commands of `penstock admin` share: the configuration, the ledger, errors in one line, tables and JSON."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import SecretStr

from broker.port import BusError
from broker.topology import Topology, topology_of
from ledger.embedded_process import running
from ledger.migrate import SchemaError, behind
from ledger.pool import Pool, ledger_needed, open_pool
from penstock.configuration.loading import load
from penstock.configuration.masterkey import SALT_FILE, own_salt
from penstock.configuration.problems import ConfigurationError
from schemas.config import Config, Settings
from schemas.failures import Refused

Function = TypeVar("Function", bound=Callable[..., Any])

CONFIG = click.option(
    "--config",
    "path",
    envvar="PENSTOCK_CONFIG",
    type=click.Path(path_type=Path),
    help="The config.yaml of the API (also PENSTOCK_CONFIG): its database and salt key, and what its litellm_settings"
    " say of new keys, users and teams (default_…_params, upperbound_key_generate_params …).",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")


def config(path: Path | None) -> Config:
    """The configuration; beside a `serve` that has made database and salt key itself, with these.

    Raises `click.ClickException`.
    """
    try:
        found = load(path, os.environ)
        return found.model_copy(update={"settings": found.settings.model_copy(update=_beside(found.settings))})
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None


def _beside(settings: Settings) -> dict[str, SecretStr]:
    state = Path(settings.state_dir)
    url = running(state) if settings.database_url is None else None
    if url is None:
        return {}
    found = {"database_url": SecretStr(url)}
    if settings.salt_key is None and (state / SALT_FILE).exists():
        found["salt_key"] = own_salt(state)
    return found


def database(of: Config) -> str:
    """Where the ledger is. Raises `click.ClickException` when nobody says so."""
    if of.settings.database_url is None:
        raise click.ClickException(
            "DATABASE_URL is not set, and no `penstock serve` with a Postgres of its own runs on "
            f"'{of.settings.state_dir}' (PENSTOCK_STATE_DIR)."
        )
    return of.settings.database_url.get_secret_value()


def amqp(of: Config) -> str:
    """Where RabbitMQ is. Raises `click.ClickException` when nobody says so."""
    if of.settings.amqp_url is None:
        raise click.ClickException("AMQP_URL is not set.")
    return of.settings.amqp_url.get_secret_value()


def plan(of: Config) -> Topology:
    """The queues of the configuration."""
    return topology_of(of.deployments, of.settings.queue_bytes)


@asynccontextmanager
async def ledger(url: str, size: int = 1) -> AsyncIterator[Pool]:
    """The ledger. Raises `SchemaError` when it is older than this version."""
    pool = await open_pool(url, size=size)
    try:
        if await behind(pool):
            raise SchemaError("The schema is behind this version: run `penstock admin migrate`.")
        yield pool
    finally:
        await pool.close()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """What the work gives; what can be expected to go wrong is one line, and the exit code 1."""
    try:
        with ledger_needed():
            return asyncio.run(work)
    except (BusError, Refused, SchemaError, OSError) as error:
        raise click.ClickException(str(error)) from None


def show(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Rows as a table, or as JSON."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("nothing yet")
        return
    table = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(rows[0]))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
