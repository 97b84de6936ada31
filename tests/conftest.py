"""Fixtures for everybody: a fresh vhost and a fresh database per test, on servers that the whole run shares."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from ledger.migrate import migrate
from ledger.pool import Pool, open_pool
from tests.support import servers
from tests.support.postgres import Postgres
from tests.support.process import RUN
from tests.support.rabbitmq import RabbitMQ

pytest_plugins = ["tests.support.police"]
_RUN = pytest.StashKey[servers.Run]()


def pytest_configure(config: pytest.Config) -> None:
    if RUN not in os.environ:
        config.stash[_RUN] = servers.Run()


def pytest_unconfigure(config: pytest.Config) -> None:
    run = config.stash.get(_RUN, None)
    if run is not None:
        run.close()


@pytest.fixture(scope="session")
def rabbitmq() -> RabbitMQ:
    """The run's broker. Do not stop, kill or block it: `private_rabbitmq()` is for that."""
    return servers.shared_rabbitmq()


@pytest.fixture(scope="session")
def postgres() -> Postgres:
    """The run's Postgres. Do not stop, kill or fill it: `private_postgres()` is for that."""
    return servers.shared_postgres()


@pytest.fixture
def amqp_url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """A fresh vhost's URL. With `AMQP_URL` given it is that URL, and what the test leaves there stays."""
    if not rabbitmq.ours:
        yield rabbitmq.base_url
        return
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    rabbitmq.add_vhosts(vhost)
    yield rabbitmq.url(vhost)
    rabbitmq.delete_vhost(vhost)


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> Iterator[str]:
    """The name of a migrated database, to be copied: that takes a fraction of what migrating one takes."""
    name = f"migrated_{uuid.uuid4().hex[:12]}"
    postgres.run(f"create database {name} strategy = file_copy")
    asyncio.run(migrate(postgres.url(name)))
    yield name
    postgres.run(f"drop database {name} with (force)")


@pytest.fixture
def database_url(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh database's URL, empty unless the test wants a `pool` too; dropped afterwards, whoever is connected."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    template = f"template = {request.getfixturevalue('migrated')}" if "pool" in request.fixturenames else ""
    postgres.run(f"create database {name} {template} strategy = file_copy")  # 40 ms; the default strategy takes 120
    yield postgres.url(name)
    postgres.run(f"drop database {name} with (force)")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on a fresh, migrated database."""
    pool = await open_pool(database_url)
    yield pool
    await pool.close()
