"""The API role: the door, with all that stands behind it."""

import time
from contextlib import AsyncExitStack
from decimal import Decimal

from api import app, health, models, spend
from api.announced import AnnouncedAttempts, Price
from api.asker import Asker, Line
from api.authenticate import Gatekeeper
from api.inference import Desk
from api.roster import Roster
from broker.events import Pulse
from ledger.prices import PriceBook
from penstock.house import House
from penstock.serving import HttpServer
from penstock.version import VERSION
from schemas.catalog import Catalog
from schemas.config import Config
from schemas.usage import Usage


async def start(house: House, stack: AsyncExitStack) -> None:
    """Listen, once a request could be answered."""
    settings, pool = house.config.settings, await house.ledger(stack)
    roster = Roster()
    attempts = AnnouncedAttempts(house.outbox, _price(house.config), time.time)
    asker = Asker(Line(house.bus, house.events, roster, attempts), settings)
    await asker.open()
    stack.push_async_callback(asker.close)
    beat = Pulse(house.events, house.name, "api", settings.beat_every, tuple)  # an alarm is told only to who publishes
    beat.start()
    stack.push_async_callback(beat.stop)

    async def pools() -> str | None:
        heard = not house.has_pools or roster.alive(house.name)
        return None if heard else "the worker pools of this process do not beat"

    house.checks["pools"] = pools
    gatekeeper, catalog = Gatekeeper(settings.master_key), Catalog(house.config)
    admit = gatekeeper.dependency
    routers = [
        health.probes(house.checks, VERSION),
        health.overview(asker, roster, admit),
        models.routes(catalog, admit),
        spend.routes(pool, admit),
    ]
    desk = Desk(settings, catalog, gatekeeper, asker, house.seal())
    server = HttpServer(app.build(desk, routers, VERSION), settings.host, settings.port, settings.drain)
    await server.start()
    stack.push_async_callback(server.stop)
    house.server = server


def _price(config: Config) -> Price:
    """What a lost attempt is estimated to have cost."""
    deployments, prices = {d.id: d for d in config.deployments}, PriceBook()

    def price(deployment: str, model: str, usage: Usage) -> Decimal | None:
        found = deployments.get(deployment)
        return None if found is None else prices.cost(found, model, usage)

    return price
