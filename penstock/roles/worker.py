"""The worker role: the pools of some providers, or of all."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from ledger.pool import Pool
from ledger.prices import PriceBook
from penstock.house import House
from schemas.config import Config, Deployment
from workers.days import Days
from workers.execute import Bench
from workers.pool import Pools
from workers.providers.registry import adapter
from workers.transport import Transport


async def start(house: House, stack: AsyncExitStack) -> None:
    """Consume the queues of the model groups in which these providers have a deployment."""
    transport = Transport()
    stack.push_async_callback(transport.close)
    seal = house.seal()
    ledger = await house.models(stack)
    await house.current.begin(ledger, needed=False)
    config = house.config
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
    pools = Pools(config, _served(house, config), bench, house.events, adapter)
    days = _Days(ledger, pools, stack)
    await days.look()

    async def adopt(config: Config) -> None:
        await pools.adopt(config, _served(house, config))
        await days.look()

    await pools.start()
    house.has_pools = True
    house.current.follow(adopt)
    stack.push_async_callback(pools.drain, config.settings.drain)


def _served(house: House, config: Config) -> tuple[Deployment, ...]:
    providers = house.current.source.needs.providers
    return tuple(d for d in config.deployments if not providers or d.provider in providers)


class _Days:
    """The counts of days, from the first deployment on that has a limit per day."""

    def __init__(self, pool: Pool, pools: Pools, stack: AsyncExitStack) -> None:
        self._days = Days(pool, pools.gates, lambda: datetime.now(UTC))
        self._pools = pools
        self._stack = stack
        self._counting = False

    async def look(self) -> None:
        """Begin to count if there is something to count, or count for who came last."""
        if all(gate.limiter.day is None for gate in self._pools.gates):
            return
        if self._counting:
            await self._days.count()
            return
        self._counting = True
        await self._days.start()
        self._stack.push_async_callback(self._days.stop)


def _no_seal(_sealed: str) -> dict[str, Any]:
    raise RuntimeError("a request with client credentials reached a worker without a salt key")
