"""`penstock admin import litellm`, as an operator calls it."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result

from broker.events import Events
from broker.rabbitmq import RabbitBus
from broker.seal import Seal
from broker.topology import topology_of
from ledger import models
from ledger.access import find_key
from ledger.litellm import ciphers
from ledger.migrate import migrate
from ledger.pepper import pepper
from ledger.pool import Pool, open_pool
from ledger.terms import Rules
from penstock.command import main
from penstock.configuration.stored import unsealed
from schemas.envelope import Changed, Event, ModelsChanged
from tests.importing.schema import tables
from tests.importing.theirs import SALT, Theirs, params
from tests.support.postgres import Postgres

KEY = "sk-their-key-0000000001"
OURS = {"PENSTOCK_SALT_KEY": "sk-our-salt-key-0001", "PENSTOCK_MASTER_KEY": "sk-our-master-0001"}
T = TypeVar("T")


@pytest.fixture
def their_url(postgres: Postgres) -> Iterator[str]:
    name = f"litellm_{uuid.uuid4().hex[:12]}"
    postgres.run(f"create database {name} strategy = file_copy")
    postgres.run(tables(), name)
    yield postgres.url(name)
    postgres.run(f"drop database {name} with (force)")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    for name in ("AMQP_URL", "PENSTOCK_CONFIG", "LITELLM_SALT_KEY", "LITELLM_SALT_KEY_FILE", "LITELLM_MASTER_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", database_url)
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)


def carry(url: str, *arguments: str, **more: Any) -> Result:
    return CliRunner().invoke(main, ["admin", "import", "litellm", "--database-url", url, *arguments], **more)


def asked(database_url: str, question: Callable[[Pool], Awaitable[T]]) -> T:
    async def ask() -> T:
        pool = await open_pool(database_url, size=2)
        try:
            return await question(pool)
        finally:
            await pool.close()

    return asyncio.run(ask())


@pytest.fixture
def filled(their_url: str, database_url: str) -> str:
    """LiteLLM's database with a key and a model; ours is migrated."""

    async def fill(pool: Pool) -> None:
        theirs = Theirs(their_url, pool)
        await theirs.key(KEY, key_alias="theirs", max_budget=10.0, spend=2.0)
        given = params(model="openai/gpt-4o", api_key="sk-provider-secret")
        await theirs.add(
            "ProxyModelTable", model_id="m", model_name="g", litellm_params=given, created_by="", updated_by=""
        )
        await theirs.add("Config", param_name="router_settings", param_value={"num_retries": 3})

    asyncio.run(migrate(database_url))
    asked(database_url, fill)
    return their_url


async def _works(pool: Pool) -> bool:
    found = await pepper(pool, Seal(OURS["PENSTOCK_SALT_KEY"]))
    return await find_key(pool, found.hash(KEY.encode()), Rules()) is not None


async def _secrets(pool: Pool) -> dict[str, Any]:
    (row,) = await models.everything(pool)
    return unsealed(row.model, Seal(OURS["PENSTOCK_SALT_KEY"]))


def test_a_database_is_carried_over(filled: str, database_url: str) -> None:
    done = carry(filled, "--salt-key", SALT)
    assert done.exit_code == 0, done.output
    assert asked(database_url, _works)
    assert asked(database_url, _secrets) == {"api_key": "sk-provider-secret"}
    lines = done.output.splitlines()
    assert [line.split() for line in lines if line.startswith(("key ", "model "))][-2:] == [
        ["key", "1", "1", "0", "0", "0", "0"],
        ["model", "1", "1", "0", "0", "0", "0"],
    ]
    assert "router_settings:\n  num_retries: 3\n" in done.output
    assert "Processes that are running see it within 60 s: AMQP_URL is not set.\n" in done.stderr
    for secret in (KEY, SALT, "sk-provider-secret"):
        assert secret not in done.output
    again = json.loads(carry(filled, "--salt-key", SALT, "--json").stdout)
    assert {name: tally["unchanged"] for name, tally in again["entities"].items()} == {"key": 1, "model": 1}


def test_a_dry_run_changes_nothing_and_says_so(filled: str, database_url: str) -> None:
    done = carry(filled, "--dry-run", "--salt-key", SALT)
    assert done.output.endswith("This was a dry run: nothing was changed.\n")
    assert done.exit_code == 0
    assert not asked(database_url, _works)
    assert json.loads(carry(filled, "--dry-run", "--json", "--salt-key", SALT).stdout)["dry_run"] is True


@pytest.mark.parametrize(
    ("arguments", "environ", "typed"),
    [
        (("--salt-key", "prompt"), {}, SALT),
        ((), {"LITELLM_SALT_KEY": SALT}, None),
        ((), {"PENSTOCK_MASTER_KEY": SALT}, None),
    ],
    ids=["asked for", "LiteLLM's variable", "the master key"],
)
def test_where_the_salt_key_may_come_from(
    filled: str, database_url: str, arguments: tuple[str, ...], environ: dict[str, str], typed: str | None
) -> None:
    done = carry(filled, *arguments, env=environ, input=typed)
    assert done.exit_code == 0, done.output
    assert asked(database_url, _secrets) == {"api_key": "sk-provider-secret"}
    assert SALT not in done.output


def test_a_salt_key_from_a_file(filled: str, database_url: str, tmp_path: Any) -> None:
    path = tmp_path / "salt"
    path.write_text(SALT + "\n")
    assert carry(filled, env={"LITELLM_SALT_KEY_FILE": str(path)}).exit_code == 0
    assert asked(database_url, _secrets) == {"api_key": "sk-provider-secret"}


def test_without_nacl_the_salt_key_is_refused(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ciphers, "SecretBox", None)
    refused = carry(filled, "--salt-key", SALT)
    assert refused.output == "Error: pip install 'penstock[litellm]' to read what LiteLLM has encrypted\n"
    assert refused.exit_code == 1
    done = carry(filled, "--json")
    assert done.stderr.startswith("Encrypted values stay behind: pip install")
    assert json.loads(done.stdout)["entities"]["key"]["new"] == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:hunter2@h/d", "Error: --database-url must begin with postgresql://\n"),
        ("postgresql://u:hunter2@127.0.0.1:1/d", "Error: ConnectionRefusedError: "),
    ],
)
def test_a_source_that_is_none(database_url: str, url: str, said: str) -> None:
    asyncio.run(migrate(database_url))
    done = carry(url)
    assert done.exit_code == 1
    assert done.output.startswith(said)
    assert done.output.count("\n") == 1
    assert "hunter2" not in done.output


def test_prismas_address_of_another_schema(filled: str, database_url: str, postgres: Postgres) -> None:
    postgres.run("ALTER SCHEMA public RENAME TO theirs", filled.rpartition("/")[2])
    assert carry(filled).exit_code == 1
    done = carry(f"{filled}?schema=theirs&connection_limit=5&pool_timeout=10")
    assert done.exit_code == 0, done.output
    assert asked(database_url, _works)


@pytest.mark.parametrize("arguments", [("--spend-logs",), ("--since", "2026-11-01")])
def test_spend_logs_want_a_first_day(database_url: str, arguments: tuple[str, ...]) -> None:
    done = carry(database_url, *arguments)
    assert done.exit_code == 2
    assert "--spend-logs and --since go together" in done.output


def test_spend_logs_since_a_day(filled: str, database_url: str, postgres: Postgres) -> None:
    columns = '(request_id, call_type, "startTime", "endTime")'
    values = "('new', 'acompletion', now(), now()), ('old', 'acompletion', '2020-01-01', '2020-01-01')"
    postgres.run(f'INSERT INTO "LiteLLM_SpendLogs" {columns} VALUES {values}', filled.rpartition("/")[2])
    done = carry(filled, "--spend-logs", "--since", "2026-01-01", "--json")
    assert json.loads(done.stdout)["entities"]["spend_log"]["new"] == 1
    assert postgres.run("SELECT request FROM spend_logs", database_url.rpartition("/")[2]) == "new\n"


def test_a_source_without_litellms_tables(database_url: str) -> None:
    asyncio.run(migrate(database_url))
    done = carry(database_url)
    assert done.output == "Error: --database-url: there is no table of LiteLLM's in this database\n"


def test_our_schema_must_be_there(filled: str, postgres: Postgres) -> None:
    done = carry(filled, env={"DATABASE_URL": postgres.url("template1")})
    assert done.output == "Error: The schema is behind this version: run `penstock admin migrate`.\n"


async def test_running_processes_are_told(filled: str, amqp_url: str) -> None:
    bus = RabbitBus(amqp_url, topology_of((), 2**20), name="test")
    await bus.open()
    heard: list[Event] = []
    complete = asyncio.Event()

    def listen(event: Event) -> None:
        heard.append(event)
        if isinstance(event, ModelsChanged):
            complete.set()

    events = Events(bus)
    events.listen(listen)
    await events.open()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penstock", "admin", "import", "litellm"),
        *("--database-url", filled, "--salt-key", SALT),
        env={**os.environ, "AMQP_URL": amqp_url},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # in a thread it would hold up the test's own loop
    _, errors = await process.communicate()
    assert process.returncode == 0, errors
    assert b"60 s" not in errors
    async with asyncio.timeout(10):
        await complete.wait()
    await events.close()
    await bus.close()
    (changed,) = [event for event in heard if isinstance(event, Changed)]
    assert [name.partition(":")[0] for name in changed.names] == ["key"]
