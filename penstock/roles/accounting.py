"""The accounting role: usage events into the ledger, dead letters beside them."""

import asyncio
import logging
from contextlib import AsyncExitStack

from broker.events import Events
from ledger.pool import ledger_needed
from ledger.spend import Passed
from ledger.upkeep import recorded_until
from penstock.house import House, ended
from schemas.envelope import SoftBudget
from workers.accounting.consumer import Accounting
from workers.accounting.dead_letters import DeadLetters
from workers.accounting.upkeep import keep_tidy, say_goodbye, say_how_far

_LOG = logging.getLogger("penstock.budgets")


async def start(house: House, stack: AsyncExitStack) -> None:
    """Consume the usage queue, and with RabbitMQ the dead letters."""
    pool = await house.ledger(stack)
    accounting = Accounting(house.bus, pool, passed=lambda budget: _alert(house.events, budget))
    with ledger_needed():
        await recorded_until(pool, house.name)  # before it has anything in its hands
    stack.push_async_callback(say_goodbye, pool, house.name, accounting)
    await accounting.start()
    stack.push_async_callback(accounting.stop)

    for work in (keep_tidy(pool), say_how_far(pool, house.name, accounting)):
        stack.push_async_callback(ended, asyncio.create_task(work, name="upkeep"))

    async def trouble() -> str | None:
        return accounting.trouble

    house.checks["accounting"] = trouble
    if house.config.settings.amqp_url is not None:
        letters = DeadLetters(house.config.settings.amqp_url.get_secret_value(), pool)
        await letters.start()
        stack.push_async_callback(letters.stop)


def _alert(events: Events, budget: Passed) -> None:
    """Tell the operator, and every process."""
    kind, name, scope = budget.account
    where = f"{kind} {name}{f' ({scope})' if scope else ''}"
    _LOG.warning("soft budget passed: %s has spent %s of %s US dollars", where, budget.spent, budget.soft)
    events.tell(SoftBudget(budget.account, budget.period, budget.spent, budget.soft))
