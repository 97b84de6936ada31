"""The worker role: the pools of some providers, or of all."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from ledger.prices import PriceBook
from penstock.house import House
from workers.days import Days
from workers.execute import Bench
from workers.pool import Pools
from workers.providers.registry import adapter
from workers.transport import Transport


async def start(house: House, stack: AsyncExitStack) -> None:
    """Consume the queues of the model groups in which these providers have a deployment."""
    config = house.config
    transport = Transport()
    stack.push_async_callback(transport.close)
    seal = house.seal()
    bench = Bench(
        worker=house.name,
        bus=house.bus,
        outbox=house.outbox,
        transport=transport,
        settings=config.settings,
        price=PriceBook().cost,
        unseal=seal.open if seal is not None else _no_seal,
        heard_for=house.events.heard_for,
    )
    served = tuple(d for d in config.deployments if not house.providers or d.provider in house.providers)
    pools = Pools(config, served, bench, house.events, adapter)
    if any(gate.limiter.day is not None for gate in pools.gates):
        days = Days(await house.ledger(stack), pools.gates, lambda: datetime.now(UTC))
        await days.start()
        stack.push_async_callback(days.stop)
    await pools.start()
    house.has_pools = True
    stack.push_async_callback(pools.drain, config.settings.drain)


def _no_seal(_sealed: str) -> dict[str, Any]:
    raise RuntimeError("a request with client credentials reached a worker without a salt key")
