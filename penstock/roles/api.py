"""The API role: the door, with all that stands behind it."""

import time
from contextlib import AsyncExitStack
from decimal import Decimal

from msgspec import structs

from api import app, health, models, spend
from api.announced import AnnouncedAttempts, Price
from api.asker import Asker, Connections
from api.authenticate import Gatekeeper
from api.idempotency import Idempotency
from api.inference import Desk
from api.planner import Planner
from broker.events import Pulse
from ledger.pool import Pool
from ledger.prices import PriceBook
from penstock.house import House
from penstock.serving import HttpServer
from penstock.version import VERSION
from policy.roster import Roster
from schemas.catalog import Catalog
from schemas.config import Config
from schemas.envelope import Beat
from schemas.usage import Usage


async def start(house: House, stack: AsyncExitStack) -> None:
    """Listen, once a request could be answered."""
    settings, pool = house.config.settings, await house.ledger(stack)
    prices, roster, catalog = PriceBook(), Roster(time.monotonic), Catalog(house.config)
    planner = Planner(catalog, house.config.routing, roster, prices)
    asker = await _asker(
        house, stack, planner, AnnouncedAttempts(house.outbox, _price(house.config, prices), time.time)
    )

    async def pools() -> str | None:
        heard = not house.has_pools or roster.alive(house.name)
        return None if heard else "the worker pools of this process do not beat"

    house.checks["pools"] = pools
    gatekeeper = Gatekeeper(settings.master_key)
    admit = gatekeeper.dependency
    routers = [
        health.probes(house.checks, VERSION),
        health.overview(asker, roster, admit),
        models.routes(catalog, admit),
        spend.routes(pool, admit),
    ]
    desk = Desk(settings, planner, gatekeeper, asker, house.seal(), _idempotency(house, stack, pool))
    server = HttpServer(app.build(desk, routers, VERSION), settings.host, settings.port, settings.drain)
    await server.start()
    stack.push_async_callback(server.stop)
    house.server = server


async def _asker(house: House, stack: AsyncExitStack, planner: Planner, attempts: AnnouncedAttempts) -> Asker:
    """The asking side, beating: also because RabbitMQ tells of an alarm only who publishes."""
    settings, roster = house.config.settings, planner.roster
    asker = Asker(Connections(house.bus, house.events, roster, attempts, planner), settings)
    asker.lines.others = lambda queue: roster.askers(queue, but=house.name)
    await asker.open()
    stack.push_async_callback(asker.close)
    still = Beat(process=house.name, role="api", every=settings.beat_every)

    def now() -> Beat:
        return structs.replace(still, waiting=asker.lines.waiting())

    beat = Pulse(house.events, now, still)
    beat.start()
    stack.push_async_callback(beat.stop)
    return asker


def _idempotency(house: House, stack: AsyncExitStack, pool: Pool) -> Idempotency | None:
    seal = house.seal()
    if seal is None:
        return None
    found = Idempotency(pool, seal, house.name, house.config.settings.idempotency_keep)
    found.open()
    stack.push_async_callback(found.close, 2.0)
    return found


def _price(config: Config, prices: PriceBook) -> Price:
    """What a lost attempt is estimated to have cost."""
    deployments = {d.id: d for d in config.deployments}

    def price(deployment: str, model: str, usage: Usage) -> Decimal | None:
        found = deployments.get(deployment)
        return None if found is None else prices.cost(found, model, usage)

    return price
