"""API and worker of a Penstock in the test's own loop, on the in-process bus, without a ledger or a socket."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from api import app, models
from api.announced import AnnouncedAttempts
from api.asker import Asker
from api.authenticate import Gatekeeper
from api.connections import Connections
from api.inference import Desk
from api.payment import Cashier
from api.planner import Planner
from broker.events import Events
from broker.memory import MemoryBus
from broker.outbox import Outbox
from broker.port import Delivery
from broker.seal import Seal
from broker.topology import USAGE_QUEUE, topology_of
from ledger.prices import PriceBook
from policy.roster import Roster
from schemas.access import Access, Role
from schemas.catalog import Catalog
from schemas.config import Config, Deployment, Routing, Settings
from schemas.usage import Caller, Usage, UsageEvent, decode
from workers.execute import Bench
from workers.pool import Pools
from workers.providers.registry import adapter
from workers.transport import Transport

KEY = "sk-test-inside-0123456789"
DEMO = Deployment(id="demo-1", group="demo", provider="demo", model="demo")


@dataclass
class Inside:
    """The parts, for a test to look at."""

    bus: MemoryBus
    asker: Asker
    planner: Planner
    roster: Roster
    attempts: AnnouncedAttempts
    pools: Pools
    app: Any
    http: httpx.AsyncClient
    usage: list[UsageEvent] = field(default_factory=list)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    async def accounted(self, count: int) -> list[UsageEvent]:
        """The usage events, once there are that many."""
        async with asyncio.timeout(10):
            while len(self.usage) < count:
                self._told.clear()
                await self._told.wait()
        return self.usage

    def take(self, delivery: Delivery) -> None:
        """A usage event has come."""
        self.usage.append(decode(delivery.body))
        delivery.ack()
        self._told.set()


def free(_deployment: Deployment, _model: str, _usage: Usage) -> Decimal | None:
    """Everything costs nothing."""
    return Decimal(0)


@dataclass(frozen=True)
class Till:
    """Who every request comes from, and how it pays."""

    access: Access
    cashier: Cashier

    async def admit_to_inference(self, _scope: Any) -> Access:
        """As a gatekeeper does."""
        return self.access

    def address(self, _scope: Any) -> str:
        """As a gatekeeper does."""
        return ""


@asynccontextmanager
async def inside(
    *deployments: Deployment,
    workers: bool = True,
    routing: Routing | None = None,
    till: Till | None = None,
    price: Callable[[Deployment, str, Usage], Decimal | None] = free,
    **settings: Any,
) -> AsyncIterator[Inside]:
    """Deployments (demo without any) behind an ASGI application; `workers=False` leaves their queues alone."""
    served = deployments or (DEMO,)
    given = Settings(master_key=SecretStr(KEY), drain=1, **settings)
    config = Config(deployments=served, settings=given, routing=routing or Routing())
    bus = MemoryBus(topology_of(config.deployments, config.settings.queue_bytes))
    await bus.open()
    events, transport = Events(bus), Transport()
    await events.open()
    with tempfile.TemporaryDirectory() as spool:
        outbox, seal, roster = Outbox(bus, Path(spool)), Seal(KEY), Roster(time.monotonic)
        catalog = Catalog(config)
        planner = Planner(catalog, config.routing, roster, PriceBook())
        attempts = AnnouncedAttempts(outbox, lambda *_: Decimal(0), time.time)
        asker = Asker(Connections(bus, events, roster, attempts, planner), given)
        bench = Bench("worker-1", bus, outbox, transport, given, price, seal.open)
        pools = Pools(config, served if workers else (), bench, events, adapter)
        await asker.open()
        await pools.start()
        gatekeeper = Gatekeeper(given.master_key)

        async def admit() -> Access:
            """Nobody is asked for a key here."""
            return Access(caller=Caller(), role=Role.ADMIN)

        desk = Desk(given, planner, gatekeeper, asker, seal)
        if till is not None:
            desk = replace(desk, gatekeeper=till, cashier=till.cashier)  # type: ignore[arg-type]
        built = app.build(desk, [models.routes(lambda: planner.catalog, admit)], "test")
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(built), base_url="http://test", headers={"authorization": f"Bearer {KEY}"}
        )
        found = Inside(bus, asker, planner, roster, attempts, pools, built, client)
        await bus.consume(USAGE_QUEUE, found.take, 1000)
        try:
            for _ in range(5):
                await asyncio.sleep(0)  # the first beat
            yield found
        finally:
            await client.aclose()
            await pools.drain(1)
            await asker.close()
            await events.close()
            await bus.close()
            await transport.close()
