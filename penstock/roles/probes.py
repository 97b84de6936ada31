"""Liveness and readiness for a process that has no API."""

from contextlib import AsyncExitStack

from api import app, health
from penstock.house import House
from penstock.serving import HttpServer
from penstock.version import VERSION


async def start(house: House, stack: AsyncExitStack) -> None:
    """Listen at the address of the settings."""
    settings = house.config.settings
    server = HttpServer(app.bare([health.probes(house.checks, VERSION)], VERSION), settings.host, settings.port, 1)
    await server.start()
    stack.push_async_callback(server.stop)
    house.server = server
