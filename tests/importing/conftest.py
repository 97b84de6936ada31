"""A database with LiteLLM's schema beside the ledger."""

import uuid
from collections.abc import Iterator

import pytest

from ledger.pool import Pool
from tests.importing.schema import tables
from tests.importing.theirs import Theirs
from tests.support.postgres import Postgres


@pytest.fixture(scope="session")
def their_schema(postgres: Postgres) -> Iterator[str]:
    """The name of a database to copy."""
    name = f"litellm_{uuid.uuid4().hex[:12]}"
    postgres.run(f"create database {name} strategy = file_copy")
    postgres.run(tables(), name)
    yield name
    postgres.run(f"drop database {name} with (force)")


@pytest.fixture
def their_url(postgres: Postgres, their_schema: str) -> Iterator[str]:
    """An empty database of LiteLLM's."""
    name = f"litellm_{uuid.uuid4().hex[:12]}"
    postgres.run(f"create database {name} template {their_schema} strategy = file_copy")
    yield postgres.url(name)
    postgres.run(f"drop database {name} with (force)")


@pytest.fixture
def theirs(their_url: str, pool: Pool) -> Theirs:
    """The same, to be filled and imported into `pool`'s database."""
    return Theirs(their_url, pool)
