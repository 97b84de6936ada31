"""The assembly: builds the objects of each role from the configuration, starts them in order, stops them in reverse.

ledger -> bus -> accounting -> worker pools -> API
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from fastapi import Request

from api import app, health, models, spend
from api.announced import AnnouncedAttempts
from api.asker import Asker, Line
from api.authenticate import Gatekeeper
from api.inference import Desk
from api.roster import Roster
from broker.events import Events, Pulse
from broker.memory import MemoryBus
from broker.outbox import Outbox
from broker.port import Bus
from broker.rabbitmq import RabbitBus
from broker.seal import Seal
from broker.topology import topology
from ledger.embedded import EmbeddedPostgres
from ledger.migrate import behind, migrate
from ledger.pool import Pool, ledger_needed, open_pool, reachable
from ledger.prices import PriceBook
from penstock.serving import HttpServer
from penstock.version import VERSION
from schemas.catalog import Catalog
from schemas.config import Config, Deployment
from schemas.usage import Caller, Usage
from workers.accounting.consumer import Accounting
from workers.accounting.dead_letters import DeadLetters
from workers.execute import Bench
from workers.pool import Pools
from workers.providers.registry import adapter
from workers.transport import Transport

_LOG = logging.getLogger("penstock")


@dataclass(frozen=True, slots=True)
class Roles:
    """What one process does. `providers` narrows a worker to some of them; empty means all.

    `probes`: a process without the API serves liveness and readiness at the address of the settings.
    """

    api: bool = False
    worker: bool = False
    accounting: bool = False
    providers: tuple[str, ...] = ()
    probes: bool = False


@dataclass(slots=True)
class House:
    """A running process: what it is made of, for the command to talk about."""

    config: Config
    name: str
    bus: Bus
    events: Events
    outbox: Outbox
    prices: PriceBook
    pool: "Pool | None" = None  # quoted: asyncpg's pool is generic for the type checker only
    accounting: Accounting | None = None
    pools: Pools | None = None
    server: HttpServer | None = None


@asynccontextmanager
async def assembled(config: Config, roles: Roles) -> AsyncIterator[House]:
    """The process with these roles, ready inside the block, drained and gone behind it."""
    async with AsyncExitStack() as stack:
        pool = await _ledger(config, stack) if roles.api or roles.accounting else None
        house = await _bus(config, stack)
        house.pool = pool
        if roles.accounting:
            await _accounting(house, stack)
        if roles.worker:
            await _worker(house, roles, stack)
        if roles.api:
            await _api(house, stack)
        elif roles.probes:
            await _listen(house, app.bare([health.probes(_checks(house, None), VERSION)], VERSION), stack)
        sending = asyncio.create_task(_send_spooled(house.outbox), name="send spooled events")
        stack.push_async_callback(_end, sending)
        yield house


async def _ledger(config: Config, stack: AsyncExitStack) -> Pool:
    if config.settings.database_url is not None:
        url = config.settings.database_url.get_secret_value()
    else:
        url = await stack.enter_async_context(EmbeddedPostgres(Path(config.settings.state_dir)))
    with ledger_needed():
        await migrate(url)
    pool = await open_pool(url)
    stack.push_async_callback(pool.close)
    return pool


async def _bus(config: Config, stack: AsyncExitStack) -> House:
    settings = config.settings
    groups = tuple(deployment.group for deployment in config.deployments)
    plan = topology(groups, settings.queue_bytes)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    bus: Bus
    if settings.amqp_url is None:
        bus = MemoryBus(plan)
    else:
        bus = RabbitBus(settings.amqp_url.get_secret_value(), plan, name=name)
    await bus.open()
    stack.push_async_callback(bus.close)
    outbox = Outbox(bus, Path(settings.state_dir) / "spool")
    stack.callback(_empty_outbox, outbox)
    events = Events(bus)
    await events.open()
    stack.push_async_callback(events.close)
    return House(config, name, bus, events, outbox, PriceBook())


def _empty_outbox(outbox: Outbox) -> None:
    """Whoever reported has waited as long as it could: what is still held goes to disk."""
    if outbox.held:
        _LOG.warning("%d usage events wait in the spool for the next start", outbox.spill())


async def _send_spooled(outbox: Outbox) -> None:
    try:
        await outbox.send_spooled()
    except OSError:
        _LOG.exception("the spool cannot be read: its usage events wait for the next start")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _accounting(house: House, stack: AsyncExitStack) -> None:
    assert house.pool is not None
    house.accounting = Accounting(house.bus, house.pool)
    await house.accounting.start()
    stack.push_async_callback(house.accounting.stop)
    if house.config.settings.amqp_url is not None:
        letters = DeadLetters(house.config.settings.amqp_url.get_secret_value(), house.pool)
        await letters.start()
        stack.push_async_callback(letters.stop)


async def _worker(house: House, roles: Roles, stack: AsyncExitStack) -> None:
    config = house.config
    transport = Transport()
    stack.push_async_callback(transport.close)
    seal = _seal(config)
    bench = Bench(
        worker=house.name,
        bus=house.bus,
        outbox=house.outbox,
        transport=transport,
        settings=config.settings,
        price=house.prices.cost,
        unseal=seal.open if seal is not None else _no_seal,
        heard_for=house.events.heard_for,
    )
    served = tuple(d for d in config.deployments if not roles.providers or d.provider in roles.providers)
    house.pools = Pools(served, bench, house.events, adapter)
    await house.pools.start()
    stack.push_async_callback(house.pools.drain, config.settings.drain)


async def _api(house: House, stack: AsyncExitStack) -> None:
    config, pool = house.config, house.pool
    assert pool is not None
    settings = config.settings
    attempts = AnnouncedAttempts(house.outbox, _lost_price(house), time.time)
    roster = Roster()
    asker = Asker(Line(house.bus, house.events, roster, attempts), settings)
    await asker.open()
    stack.push_async_callback(asker.close)
    beat = Pulse(house.events, house.name, "api", settings.beat_every, tuple)  # an alarm is told only to who publishes
    beat.start()
    stack.push_async_callback(beat.stop)
    gatekeeper = Gatekeeper(settings.master_key)
    catalog = Catalog(config)

    async def admit(request: Request) -> Caller:
        return gatekeeper.admit(request.headers.raw)

    desk = Desk(settings, catalog, gatekeeper, asker, _seal(config))
    routers = [
        health.probes(_checks(house, roster), VERSION),
        health.overview(asker, roster, admit),
        models.routes(catalog, admit),
        spend.routes(pool, admit),
    ]
    await _listen(house, app.build(desk, routers, VERSION), stack)


async def _listen(house: House, application: Any, stack: AsyncExitStack) -> None:
    settings = house.config.settings
    house.server = HttpServer(application, settings.host, settings.port, settings.drain)
    await house.server.start()
    stack.push_async_callback(house.server.stop)


def _checks(house: House, roster: Roster | None) -> dict[str, health.Check]:
    """What this process cannot do without."""

    async def queue() -> str | None:
        return house.bus.trouble

    async def ledger() -> str | None:
        pool = house.pool
        if pool is None:
            return None
        trouble = await reachable(pool)
        if trouble is None and await behind(pool):
            return "the schema is behind this version: run `penstock admin migrate`"
        return trouble

    async def accounting() -> str | None:
        return house.accounting.trouble if house.accounting is not None else None

    async def pools() -> str | None:
        heard = roster is None or house.pools is None or roster.alive(house.name)
        return None if heard else "our own worker pools do not beat"

    return {"queue": queue, "ledger": ledger, "accounting": accounting, "pools": pools}


def _lost_price(house: House) -> Any:
    deployments: dict[str, Deployment] = {d.id: d for d in house.config.deployments}

    def price(deployment: str, model: str, usage: Usage) -> Decimal | None:
        found = deployments.get(deployment)
        return None if found is None else house.prices.cost(found, model, usage)

    return price


def _seal(config: Config) -> Seal | None:
    key = config.settings.salt_key or config.settings.master_key
    return None if key is None else Seal(key.get_secret_value())


def _no_seal(_sealed: str) -> dict[str, Any]:
    raise RuntimeError("a request with client credentials reached a worker without a salt key")
