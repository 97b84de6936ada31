"""Fixtures for everybody: a fresh vhost and a fresh database per test, on servers that the whole run shares."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from ledger.pool import Pool, open_pool
from tests.support import servers
from tests.support.databases import Databases
from tests.support.postgres import Postgres
from tests.support.process import RUN
from tests.support.rabbitmq import RabbitMQ

pytest_plugins = ["tests.support.police"]
_LONG = ("chaos", "e2e", "simulation")
_RUN = pytest.StashKey[servers.Run]()


def pytest_configure(config: pytest.Config) -> None:
    if RUN not in os.environ:
        config.stash[_RUN] = servers.Run()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest, and mostly waits, begins first, so that no process is left with it in the end."""
    items.sort(key=lambda item: not any(f"/{folder}/" in str(item.path) for folder in _LONG))


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
def databases(postgres: Postgres) -> Iterator[Databases]:
    """Migrated databases, for `database_url` and `pool`."""
    found = Databases(postgres)
    yield found
    found.close()


@pytest.fixture
def database_url(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database of the test's own: an empty one, or a migrated one if the test wants a `pool` too."""
    if "pool" in request.fixturenames:
        with request.getfixturevalue("databases").migrated() as url:
            yield url
        return
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres.run(f"create database {name} strategy = file_copy")
    yield postgres.url(name)
    postgres.run(f"drop database {name} with (force)")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on a fresh, migrated database."""
    pool = await open_pool(database_url)
    yield pool
    await pool.close()
