"""The assembly: the roles of one process, started in order and stopped in reverse.

    bus -> accounting -> worker pools -> API

Roles are modules that are imported when they are needed: an accounting process starts in half the CPU of all of them.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Literal

from penstock.house import House, open_house, send_spooled
from schemas.config import Config

Role = Literal["accounting", "worker", "api", "probes"]
ALL: tuple[Role, ...] = ("accounting", "worker", "api")
"""Every role, in the order in which they start: who answers before who asks."""


@asynccontextmanager
async def assembled(config: Config, roles: tuple[Role, ...], providers: tuple[str, ...] = ()) -> AsyncIterator[House]:
    """The process with these roles, ready inside the block, drained and gone behind it."""
    async with AsyncExitStack() as stack:
        house = await open_house(config, stack, providers)
        for role in roles:
            await import_module(f"penstock.roles.{role}").start(house, stack)
        send_spooled(house, stack)
        yield house
