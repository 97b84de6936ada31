"""One running process: its bus, outbox and ledger, which every role builds upon."""

import asyncio
import logging
import os
import secrets
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from broker.events import Events
from broker.memory import MemoryBus
from broker.outbox import Outbox
from broker.port import Bus
from broker.rabbitmq import RabbitBus
from broker.seal import Seal
from broker.topology import USAGE_QUEUE, topology_of
from ledger.embedded import EmbeddedPostgres
from ledger.migrate import behind, migrate
from ledger.pool import Pool, ledger_needed, open_pool, reachable
from penstock.checks import Checks
from penstock.current import Current
from schemas.config import Config

_LOG = logging.getLogger("penstock")


class Server(Protocol):
    """What the command wants to know of a listening server."""

    host: str
    port: int


@dataclass(slots=True)
class House:
    """What the roles of one process share. `checks` is what readiness asks; roles add theirs."""

    current: Current
    name: str
    bus: Bus
    events: Events
    outbox: Outbox
    has_pools: bool = False  # this process is a worker too
    pool: Any = None  # ledger.pool.Pool; asyncpg's pool is generic for the type checker only
    server: Server | None = None
    checks: Checks = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.current.config

    async def ledger(self, stack: AsyncExitStack) -> Pool:
        """The pool of this process's database, migrated; one for all roles."""
        if self.pool is None:
            self.pool = await _open_ledger(self.config, stack)
            self.checks["ledger"] = self._ledger_trouble
        pool: Pool = self.pool
        return pool

    async def models(self, stack: AsyncExitStack) -> Pool:
        """The pool of this process's database for a role that works without it too, and migrates nothing."""
        url = self.config.settings.database_url
        if self.pool is not None or url is None:
            return await self.ledger(stack)
        pool = await open_pool(url.get_secret_value(), size=2)
        stack.push_async_callback(pool.close)
        return pool

    def seal(self) -> Seal | None:
        """The seal of messages, that door and workers share."""
        key = self.config.settings.salt_key or self.config.settings.master_key
        return None if key is None else Seal(key.get_secret_value())

    async def queue_trouble(self) -> str | None:
        """Why nothing can be published."""
        return self.bus.trouble

    async def _ledger_trouble(self) -> str | None:
        trouble = await reachable(self.pool)
        if trouble is None and await behind(self.pool):
            return "the schema is behind this version: run `penstock admin migrate`"
        return trouble


async def open_house(current: Current, stack: AsyncExitStack) -> House:
    """Connect to the bus. Raises `BusDown`."""
    settings = current.config.settings
    plan = topology_of(current.config.deployments, settings.queue_bytes)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    bus: Bus
    if settings.amqp_url is None:
        bus = MemoryBus(plan)
    else:
        bus = RabbitBus(settings.amqp_url.get_secret_value(), plan, name=name)
    await bus.open()
    stack.push_async_callback(bus.close)
    outbox = Outbox(bus, Path(settings.state_dir) / "spool")
    stack.callback(_empty_outbox, outbox, bus)
    events = Events(bus)
    await events.open()
    stack.push_async_callback(events.close)
    current.connect(bus, events, name)
    house = House(current, name, bus, events, outbox)
    house.checks["queue"] = house.queue_trouble
    return house


def send_spooled(house: House, stack: AsyncExitStack) -> None:
    """Send in the background what earlier processes left in the spool."""
    stack.push_async_callback(ended, asyncio.create_task(_send_spooled(house.outbox), name="send spooled events"))


async def _open_ledger(config: Config, stack: AsyncExitStack) -> Pool:
    if config.settings.database_url is not None:
        url = config.settings.database_url.get_secret_value()
    else:
        url = await stack.enter_async_context(EmbeddedPostgres(Path(config.settings.state_dir)))
    with ledger_needed():
        await migrate(url)
    pool = await open_pool(url)
    stack.push_async_callback(pool.close)
    return pool


def _empty_outbox(outbox: Outbox, bus: Bus) -> None:
    """Whoever reported has waited as long as it could: what is still held goes to disk."""
    if isinstance(bus, MemoryBus):  # nobody else has what accounting could not record
        outbox.take_back(bus.left(USAGE_QUEUE))
    if outbox.held:
        _LOG.warning("%d usage events wait in the spool for the next start", outbox.spill())


async def _send_spooled(outbox: Outbox) -> None:
    try:
        await outbox.send_spooled()
    except OSError:
        _LOG.exception("the spool cannot be read: its usage events wait for the next start")


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a background task, and return when it is over."""
    task.cancel()
    await asyncio.wait({task})
