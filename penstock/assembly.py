"""The assembly: the roles of one process, started in order and stopped in reverse.

    bus -> accounting -> worker pools -> API

Behind them the configuration begins to follow what changes.

Roles are modules that are imported when they are needed: an accounting process starts in half the CPU of all of them.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Literal

from penstock.current import Current
from penstock.house import House, open_house, send_spooled

Role = Literal["accounting", "worker", "api", "probes"]
ALL: tuple[Role, ...] = ("accounting", "worker", "api")
"""Every role, in the order in which they start: who answers before who asks."""


@asynccontextmanager
async def assembled(current: Current, roles: tuple[Role, ...]) -> AsyncIterator[House]:
    """The process with these roles, ready inside the block, drained and gone behind it."""
    async with AsyncExitStack() as stack:
        house = await open_house(current, stack)
        for role in roles:
            await import_module(f"penstock.roles.{role}").start(house, stack)
        send_spooled(house, stack)
        current.start()
        stack.push_async_callback(current.stop)
        yield house
