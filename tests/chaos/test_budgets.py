"""A budget of one dollar, 64 clients, three API processes: used up, and never overspent, whatever happens to them."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.chaos.tenants import DEAREST, LEASE, Tenants, tenants
from tests.e2e.stand import urls
from tests.support.postgres import PostgresServer, private_postgres
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLIENTS = 64
OUTAGE = 2.0  # seconds without Postgres, or without accounting; the long ones are in bench/tenants


class Scene(NamedTuple):
    """The system, and the Postgres that only it uses."""

    tenants: Tenants
    postgres: PostgresServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    with private_postgres() as server, urls(rabbitmq, server.postgres) as environ:
        folder = tmp_path_factory.mktemp("budgets")
        async with tenants(folder, environ["AMQP_URL"], environ["DATABASE_URL"]) as t:
            yield Scene(t, server)


async def api_killed(scene: Scene) -> None:
    scene.tenants.house.processes["api1"].kill()


async def api_stopped_and_continued(scene: Scene) -> None:
    process = scene.tenants.house.processes["api2"]
    process.signal(signal.SIGSTOP)
    await asyncio.sleep(2 * LEASE)
    process.signal(signal.SIGCONT)


async def postgres_restarted(scene: Scene) -> None:
    await asyncio.to_thread(scene.postgres.stop)
    await asyncio.sleep(OUTAGE)
    await asyncio.to_thread(scene.postgres.start)


async def accounting_stopped_and_continued(scene: Scene) -> None:
    process = scene.tenants.house.processes["accounting"]
    process.signal(signal.SIGSTOP)
    await asyncio.sleep(OUTAGE)
    process.signal(signal.SIGCONT)


async def accounting_killed_and_started(scene: Scene) -> None:
    house = scene.tenants.house
    house.processes["accounting"].kill()
    await house.processes["accounting"].exited()
    await house.add("accounting", "accounting")


async def nothing(_: Scene) -> None:
    """That happens, too."""


FAULTS: list[Callable[[Scene], Awaitable[None]]] = [
    nothing,
    api_stopped_and_continued,
    postgres_restarted,
    accounting_stopped_and_continued,
    api_killed,
    accounting_killed_and_started,  # last: for a minute the others wait for the word of the one that was killed
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_a_budget_is_used_up_and_not_overspent(scene: Scene, fault: Callable[[Scene], Awaitable[None]]) -> None:
    t = scene.tenants
    t.seen.clear()
    key = await t.doors[0].key(max_budget=1.0)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(t.spend_all(key, CLIENTS, random.Random(fault.__name__)))
        await t.spent_at_least(key, Decimal("0.2"))
        await fault(scene)
    spent = await t.settled(key)
    assert spent.balance == spent.rows == spent.total
    assert Decimal("0.97") <= spent.balance <= 1 + DEAREST, (spent, t.seen)
    assert await t.doors[0].spend(key) == spent.balance
    if fault is api_killed:
        await t.replace(1)
