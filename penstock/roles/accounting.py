"""The accounting role: usage events into the ledger, dead letters beside them."""

from contextlib import AsyncExitStack

from penstock.house import House
from workers.accounting.consumer import Accounting
from workers.accounting.dead_letters import DeadLetters


async def start(house: House, stack: AsyncExitStack) -> None:
    """Consume the usage queue, and with RabbitMQ the dead letters."""
    pool = await house.ledger(stack)
    accounting = Accounting(house.bus, pool)
    await accounting.start()
    stack.push_async_callback(accounting.stop)

    async def trouble() -> str | None:
        return accounting.trouble

    house.checks["accounting"] = trouble
    if house.config.settings.amqp_url is not None:
        letters = DeadLetters(house.config.settings.amqp_url.get_secret_value(), pool)
        await letters.start()
        stack.push_async_callback(letters.stop)
