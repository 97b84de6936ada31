"""`penstock`: the command line."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import uvloop

from broker.port import BusError
from ledger.embedded import CannotStart
from ledger.migrate import SchemaError
from penstock.admin import admin
from penstock.assembly import ALL, Role, assembled
from penstock.configuration.loading import Written
from penstock.configuration.problems import ConfigurationError
from penstock.current import Current
from penstock.discovery import with_ollama
from penstock.greeting import greeting
from penstock.house import House
from penstock.needs import Needs, Source
from penstock.version import VERSION
from schemas.config import Config, Deployment
from schemas.failures import Refused

Function = TypeVar("Function", bound=Callable[..., Any])

_CONFIG = click.option(
    "--config",
    "path",
    envvar="PENSTOCK_CONFIG",
    type=click.Path(path_type=Path),
    help="A LiteLLM config.yaml (also PENSTOCK_CONFIG).",
)
_ADDRESS = (
    click.option("--host", help="Address to listen on (default 127.0.0.1)."),
    click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (API: default 4000)."),
)


def _addressed(function: Function) -> Function:
    for option in _ADDRESS:
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="penstock")
def main() -> None:
    """Meters LLM requests to providers: an OpenAI-compatible API in front of a queue of workers.

    \b
    Try it, with nothing installed:        penstock serve
    With your LiteLLM configuration:       penstock serve --config config.yaml
    As separate processes (RabbitMQ, Postgres by AMQP_URL and DATABASE_URL):
        penstock api --config config.yaml --host 0.0.0.0
        penstock worker openai --config config.yaml
        penstock accounting --config config.yaml
    """
    logging.basicConfig(
        level=_level(os.environ.get("PENSTOCK_LOG") or "INFO"),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # below that it logs whole URLs, passwords included
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # it names itself an error at every start


def _level(name: str) -> int:
    known = logging.getLevelNamesMapping()
    if name.upper() not in known:
        raise click.ClickException(f"PENSTOCK_LOG: one of {', '.join(known)} is wanted")
    return known[name.upper()]


@main.command()
@_CONFIG
@_addressed
def serve(path: Path | None, host: str | None, port: int | None) -> None:
    """All roles in one process.

    Without AMQP_URL the queue is in the process; without DATABASE_URL a Postgres of its own runs below it.

    \b
    Examples:
        penstock serve
        OPENAI_API_KEY=sk-... penstock serve --port 8080
        AMQP_URL=amqp://localhost DATABASE_URL=postgresql://localhost/penstock penstock serve --config config.yaml
    """
    _run(path, Needs(host, port, embedded=True), ALL)


@main.command()
@_CONFIG
@_addressed
def api(path: Path | None, host: str | None, port: int | None) -> None:
    """The OpenAI-compatible API alone. Needs AMQP_URL and DATABASE_URL.

    \b
    Example:
        penstock api --config config.yaml --host 0.0.0.0 --port 4000
    """
    _run(path, Needs(host, port, master_key=True), ("api",))


@main.command()
@click.argument("providers", nargs=-1, metavar="[PROVIDER ...]")
@_CONFIG
@_addressed
def worker(providers: tuple[str, ...], path: Path | None, host: str | None, port: int | None) -> None:
    """Worker pools for the named providers, or for all in the configuration. Needs AMQP_URL and DATABASE_URL.

    With --port it answers GET /health/liveliness and /health/readiness there.

    \b
    Examples:
        penstock worker --config config.yaml
        penstock worker openai anthropic --config config.yaml
    """
    _run(path, Needs(host, port, providers=providers), ("worker", *_probes(port)))


@main.command()
@_CONFIG
@_addressed
def accounting(path: Path | None, host: str | None, port: int | None) -> None:
    """The accounting consumer: usage events from the queue into Postgres. Needs AMQP_URL and DATABASE_URL.

    With --port it answers GET /health/liveliness and /health/readiness there.

    \b
    Example:
        penstock accounting --config config.yaml
    """
    _run(path, Needs(host, port), ("accounting", *_probes(port)))


main.add_command(admin)


def _probes(port: int | None) -> tuple[Role, ...]:
    return () if port is None else ("probes",)


def _run(path: Path | None, needs: Needs, roles: tuple[Role, ...]) -> None:
    source = Source(path, needs, os.environ)
    try:
        written = source.read()
        config = source.config(written)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(uvloop.run(_until_told(source, written, config, roles)))


async def _until_told(source: Source, written: Written, config: Config, roles: tuple[Role, ...]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    discovered: tuple[Deployment, ...] = ()
    if source.needs.embedded and source.path is None:
        found = await with_ollama(config, os.environ)
        config, discovered = found, found.deployments[len(config.deployments) :]
    current = Current(source, written, config, discovered)
    loop.add_signal_handler(signal.SIGHUP, _hung_up, current, stop, os.isatty(0))
    try:
        async with assembled(current, roles) as house:
            _announce(house, roles)
            _settle_memory()
            await stop.wait()
            for number in (signal.SIGINT, signal.SIGTERM):  # a second one ends the process at once
                loop.add_signal_handler(number, os._exit, 130)
    except (BusError, Refused, SchemaError, CannotStart, OSError) as error:
        click.echo(f"penstock: {error}", err=True)
        return 1
    return 0


def _hung_up(current: Current, stop: asyncio.Event, had_terminal: bool) -> None:
    """SIGHUP: the file is read again. Who began in a terminal that was closed ends with it."""
    if had_terminal and not os.isatty(0):
        stop.set()
    else:
        current.ask()


def _settle_memory() -> None:
    """What stands now stays: the collector shall not look through it again and again (30 of 260 µs of a request)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _announce(house: House, roles: tuple[Role, ...]) -> None:
    for warning in house.config.warnings:
        logging.getLogger("penstock").warning(warning)
    if roles == ALL:
        click.echo(greeting(house, to_terminal=sys.stdout.isatty()))
        return
    server, path = house.server, "/v1" if "api" in roles else "/health"
    click.echo("penstock: ready" + (f" on http://{server.host}:{server.port}{path}" if server is not None else ""))
