"""Keys on three API processes: limits hold, what is revoked is refused everywhere, and Postgres may go away."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.chaos.ground import UNBOUNDED, until
from tests.chaos.tenants import Door, Key, Tenants, tenants
from tests.e2e.stand import urls
from tests.support.postgres import PostgresServer, private_postgres
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT_ONCE = 1.0  # seconds
LOOKED_FOR = 20.0  # seconds: every quarter of a minute changes are looked for in the ledger


class Scene(NamedTuple):
    """The system, the Postgres that only it uses, and the way of its third API process to RabbitMQ."""

    tenants: Tenants
    postgres: PostgresServer
    proxy: Proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    with private_postgres() as server, urls(rabbitmq, server.postgres) as environ:
        amqp, folder = environ["AMQP_URL"], tmp_path_factory.mktemp("keys")
        async with Proxy(amqp) as proxy, tenants(folder, amqp, environ["DATABASE_URL"], apis=2) as t:
            process = await t.house.add("api2", "api", "--port", "0", AMQP_URL=proxy.url)
            t.doors.append(Door("api2", t.house.client(base=process.base, **UNBOUNDED)))
            await t.house.knows(1, "api2")
            yield Scene(t, server, proxy)


async def everywhere(t: Tenants, key: Key, status: int, within: float) -> None:
    """Every API process answers with that status before long."""
    for door in t.doors:
        await answers(door, key, status, within)


async def answers(door: Door, key: Key, status: int, within: float) -> None:
    """One of them does."""

    async def said() -> bool:
        return await door.models(key) == status

    await until(said, within)


async def test_a_limit_holds_over_processes_with_uneven_load(scene: Scene) -> None:
    t, most = scene.tenants, 60
    key = await t.doors[0].key(rpm_limit=most)
    before, refused = len(t.provider.times), Counter[str]()
    enough = asyncio.Event()

    async def client(chance: random.Random) -> None:
        while not enough.is_set():
            door = chance.choices(t.doors, [18, 1, 1])[0]
            status, kind, pause = await door.ask(key)
            if status == 200:
                continue
            assert (status, kind) == (429, "throttling_error")
            assert 0 < pause <= 61
            refused[door.name] += 1
            if len(t.provider.times) - before >= 0.95 * most and refused.total() > 200 and len(refused) == 3:
                enough.set()
            await asyncio.sleep(0.1)

    async with asyncio.timeout(20):
        await asyncio.gather(*(client(random.Random(seed)) for seed in range(16)))
    assert 0.95 * most <= len(t.provider.times) - before <= most


Change = Callable[[Door, Key], Awaitable[object]]
CHANGES: dict[str, Change] = {
    "blocked": lambda door, key: door.manage("/key/block", key=key.secret),
    "deleted": lambda door, key: door.manage("/key/delete", keys=[key.secret]),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_what_is_revoked_on_one_is_refused_on_all(scene: Scene, what: str) -> None:
    t = scene.tenants
    key = await t.doors[0].key()
    await everywhere(t, key, 200, AT_ONCE)
    assert [(await door.ask(key))[0] for door in t.doors] == [200] * 3
    await CHANGES[what](t.doors[0], key)
    async with asyncio.timeout(AT_ONCE):
        await everywhere(t, key, 401, AT_ONCE)
    assert [(await door.ask(key))[0] for door in t.doors] == [401] * 3


async def test_terms_that_change_on_one_hold_on_all(scene: Scene) -> None:
    t = scene.tenants
    key = await t.doors[0].key(max_budget=100)
    assert [(await door.ask(key))[0] for door in t.doors] == [200] * 3
    await t.doors[0].manage("/key/update", key=key.secret, max_budget=0)
    for door in t.doors:

        async def refused(door: Door = door) -> bool:
            return (await door.ask(key))[1] == "budget_exceeded"

        await until(refused, AT_ONCE)
    await t.doors[1].manage("/key/update", key=key.secret, max_budget=100)
    for door in t.doors:

        async def served(door: Door = door) -> bool:
            return (await door.ask(key))[0] == 200

        await until(served, AT_ONCE)


async def test_a_key_that_was_unknown_works_at_once_when_it_is_made(scene: Scene) -> None:
    t = scene.tenants
    key = Key(f"sk-chosen-{random.getrandbits(64):x}", "")
    await everywhere(t, key, 401, AT_ONCE)
    await t.doors[0].manage("/key/generate", key=key.secret)
    async with asyncio.timeout(AT_ONCE):
        await everywhere(t, key, 200, AT_ONCE)


async def test_without_the_bus_a_change_is_found_in_the_ledger(scene: Scene) -> None:
    t = scene.tenants
    key = await t.doors[0].key()
    await everywhere(t, key, 200, AT_ONCE)
    scene.proxy.refusing = True
    scene.proxy.cut()
    try:
        await t.doors[0].manage("/key/block", key=key.secret)
        await answers(t.doors[1], key, 401, AT_ONCE)
        assert (await t.doors[2].ask(key))[0] in (401, 503)  # whoever is unknown to it cannot call
        await answers(t.doors[2], key, 401, LOOKED_FOR)
    finally:
        scene.proxy.refusing = False
    other = await t.doors[0].key()

    async def served() -> bool:
        return (await t.doors[2].ask(other))[0] == 200

    await until(served)


async def test_without_postgres_a_known_key_spends_what_is_leased_and_no_more(scene: Scene) -> None:
    t = scene.tenants
    door = t.doors[0]
    key, free = await door.key(max_budget=1.0), await door.key()
    assert [(await door.ask(one, 100))[0] for one in (key, free)] == [200] * 2
    await asyncio.to_thread(scene.postgres.stop)
    try:
        said = [await door.ask(key, 100)]
        async with asyncio.timeout(20):
            for _ in itertools.count():
                said.append(await door.ask(key, 100))
                if said[-1][0] == 503:
                    break
        assert {status for status, _, _ in said} == {200, 503}
        assert said[-1][1:] == ("service_unavailable_error", 5.0)
        for _ in range(3):  # and it stays so
            assert (await door.ask(key, 100))[0] == 503
        assert (await door.ask(free, 100))[0] == 200  # nothing limits it, and it is known
        for unknown in (Key("sk-nobody", ""), Key("sk-nobody-else", "")):
            assert (await door.ask(unknown))[:2] == (503, "service_unavailable_error")
    finally:
        await asyncio.to_thread(scene.postgres.start)

    async def served() -> bool:
        return (await door.ask(key, 100))[0] == 200

    await until(served)
    spent = await t.settled(key)
    assert spent.balance == spent.rows == spent.total
