"""`penstock admin`: what an operator does beside running the roles."""

import asyncio
import json
import os
from collections.abc import Coroutine
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import click

from broker.control import declare, inspect
from broker.port import BusError
from broker.topology import ROLES, Topology, topology_of
from ledger.migrate import SchemaError, behind, migrate
from ledger.pool import ledger_needed, open_pool
from ledger.spend import By, Sum, summary
from penstock.configuration.loading import load
from penstock.configuration.problems import ConfigurationError
from schemas.config import Config
from schemas.failures import Refused

_CONFIG = click.option(
    "--config", "path", envvar="PENSTOCK_CONFIG", type=click.Path(path_type=Path), help="A LiteLLM config.yaml."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def admin() -> None:
    """Migrate the database, declare the queues, look at queues and spend."""


@admin.command("migrate")
@_CONFIG
def migrate_command(path: Path | None) -> None:
    """Bring the database at DATABASE_URL to this version's schema.

    \b
    Example:
        DATABASE_URL=postgresql://localhost/penstock penstock admin migrate
    """
    applied = _run(migrate(_database(_config(path))))
    click.echo("\n".join(f"applied {name}" for name in applied) or "nothing to do")


@admin.command("topology")
@_CONFIG
def topology_command(path: Path | None) -> None:
    """Declare exchanges and queues on RabbitMQ, for roles whose users may not.

    \b
    Example:
        AMQP_URL=amqp://setup:...@rabbitmq/ penstock admin topology --config config.yaml
    """
    config = _config(path)
    plan = _plan(config)
    _run(declare(_amqp(config), plan))
    click.echo(f"{len(plan.exchanges)} exchanges and {len(plan.queues)} queues are there")


@admin.command("permissions")
@click.argument("role", type=click.Choice(sorted(ROLES)))
def permissions_command(role: str) -> None:
    """The RabbitMQ permissions that ROLE needs: configure, write, read, as `rabbitmqctl set_permissions` wants them.

    \b
    Example:
        rabbitmqctl set_permissions -p / penstock-api $(penstock admin permissions api)
    """
    needed = ROLES[role]
    click.echo(f"{needed.configure} {needed.write} {needed.read}")


@admin.command("queues")
@_CONFIG
@_JSON
def queues_command(path: Path | None, as_json: bool) -> None:
    """Messages and consumers of every queue.

    \b
    Example:
        penstock admin queues --config config.yaml --json
    """
    config = _config(path)
    found = _run(inspect(_amqp(config), _plan(config)))
    rows = [
        {"queue": name, **(asdict(q) if q else {"messages": "missing", "consumers": ""})} for name, q in found.items()
    ]
    _show(rows, as_json=as_json)


@admin.command("spend")
@_CONFIG
@_JSON
@click.option("--by", type=click.Choice(get_args(By)), default="model", show_default=True)
@click.option("--since", type=_DAY, help="First day, UTC.")
@click.option("--until", type=_DAY, help="Last day, UTC.")
def spend_command(path: Path | None, as_json: bool, by: By, since: datetime | None, until: datetime | None) -> None:
    """Spend in US dollars, summed up by one dimension.

    \b
    Examples:
        penstock admin spend --by key --since 2026-11-01
        penstock admin spend --by day --json
    """
    lines = _run(_spend(_database(_config(path)), by, since, until))
    rows = [{by: line.value, **{k: v for k, v in line._asdict().items() if k != "value"}} for line in lines]
    _show([{k: format(v, "f") if k == "spend" else v for k, v in row.items()} for row in rows], as_json=as_json)


async def _spend(url: str, by: By, since: datetime | None, until: datetime | None) -> list[Sum]:
    pool = await open_pool(url, size=1)
    try:
        if await behind(pool):
            raise SchemaError("The schema is behind this version: run `penstock admin migrate`.")
        return await summary(pool, by=by, since=since and since.date(), until=until and until.date())
    finally:
        await pool.close()


def _config(path: Path | None) -> Config:
    try:
        return load(path, os.environ)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None


def _database(config: Config) -> str:
    if config.settings.database_url is None:
        raise click.ClickException("DATABASE_URL is not set.")
    return config.settings.database_url.get_secret_value()


def _amqp(config: Config) -> str:
    if config.settings.amqp_url is None:
        raise click.ClickException("AMQP_URL is not set.")
    return config.settings.amqp_url.get_secret_value()


def _plan(config: Config) -> Topology:
    return topology_of(config.deployments, config.settings.queue_bytes)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        with ledger_needed():
            return asyncio.run(work)
    except (BusError, Refused, SchemaError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
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
