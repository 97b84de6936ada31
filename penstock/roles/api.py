"""The API role: the door, with all that stands behind it."""

import time
from contextlib import AsyncExitStack
from decimal import Decimal

from msgspec import structs

from api import app, health, models
from api.announced import AnnouncedAttempts, Price
from api.asker import Asker
from api.connections import Connections
from api.idempotency import Idempotency
from api.inference import Desk
from api.management import models as management_models
from api.management.office import admit
from api.management.routers import ROUTERS
from api.management.spend import calculation
from api.model_access import may_name
from api.planner import Planner
from broker.events import Pulse
from ledger.pool import Pool
from ledger.prices import PriceBook
from penstock.current import Follower
from penstock.house import House
from penstock.serving import HttpServer
from penstock.stock import LiveStock
from penstock.tenancy import Tenancy, open_tenancy
from penstock.version import VERSION
from policy.roster import Roster
from schemas.catalog import Catalog
from schemas.config import Config
from schemas.envelope import Beat
from schemas.usage import Usage
from workers.estimate import estimate_prompt


async def start(house: House, stack: AsyncExitStack) -> None:
    """Listen, once a request could be answered."""
    settings, pool = house.config.settings, await house.ledger(stack)
    await house.current.begin(pool)
    prices, roster = PriceBook(), Roster(time.monotonic)
    planner = Planner(Catalog(house.config), house.config.routing, roster, prices)
    asker = await _asker(house, stack, planner, AnnouncedAttempts(house.outbox, _price(house, prices), time.time))
    house.current.on_news = asker.expect_changes
    stock = LiveStock(house.current, roster)

    async def pools() -> str | None:
        heard = not house.has_pools or roster.alive(house.name)
        return None if heard else "the worker pools of this process do not beat"

    house.checks["pools"] = pools
    tenancy = open_tenancy(house, pool, prices, stack)
    house.current.follow(_follower(planner, asker, tenancy), tenancy.judge)
    routers = [
        health.probes(house.checks, VERSION),
        health.overview(asker, roster, lambda: planner.catalog, admit),
        models.routes(lambda: planner.catalog, admit),
        *management_models.routers(
            pool, stock, prices, admit, lambda access: lambda group: may_name(access, group, planner.catalog)
        ),
        calculation.routes(lambda: planner.catalog, prices, estimate_prompt),
        *ROUTERS,
    ]
    desk = Desk(
        settings, planner, tenancy.gatekeeper, asker, house.seal(), _idempotency(house, stack, pool), tenancy.cashier
    )
    application = app.build(desk, routers, VERSION, lambda: tenancy.present)
    server = HttpServer(application, settings.host, settings.port, settings.drain)
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


def _follower(planner: Planner, asker: Asker, tenancy: Tenancy) -> Follower:
    """Models and rules change in one step: no request comes in between."""

    async def adopt(config: Config) -> None:
        tenancy.adopt(config)
        asker.adopt(planner.adopt(config))

    return adopt


def _price(house: House, prices: PriceBook) -> Price:
    """What a lost attempt is estimated to have cost; its deployment may be gone by then."""
    known = {d.id: d for d in house.config.deployments}

    async def learn(config: Config) -> None:
        known.update((d.id, d) for d in config.deployments)

    def price(deployment: str, model: str, usage: Usage) -> Decimal | None:
        found = known.get(deployment)
        return None if found is None else prices.cost(found, model, usage)

    house.current.follow(learn)

    return price
