"""`penstock admin` on real servers, as an operator calls it."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ledger.migrate import migrate
from ledger.pool import open_pool
from ledger.spend import record
from penstock.command import main
from schemas.usage import Status, Usage, UsageEvent

CONFIG = "model_list: [{model_name: demo, litellm_params: {model: demo/demo}}]\n"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    monkeypatch.setenv("PENSTOCK_CONFIG", str(path))
    for name in ("AMQP_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(main, ["admin", *arguments], env=environ)

    return run


def test_migrate_is_done_once(run: Run, database_url: str) -> None:
    first, second = (run("migrate", DATABASE_URL=database_url) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert first.output.startswith("applied 0001")
    assert second.output == "nothing to do\n"


def test_topology_then_queues(run: Run, amqp_url: str) -> None:
    before = json.loads(run("queues", "--json", AMQP_URL=amqp_url).output)
    assert {row["messages"] for row in before} == {"missing"}
    assert run("topology", AMQP_URL=amqp_url).exit_code == 0
    after = {row["queue"]: row for row in json.loads(run("queues", "--json", AMQP_URL=amqp_url).output)}
    assert after["requests.interactive.demo"] == {"queue": "requests.interactive.demo", "messages": 0, "consumers": 0}
    assert "usage" in run("queues", AMQP_URL=amqp_url).output


async def _spend(url: str) -> None:
    await migrate(url)
    pool = await open_pool(url, size=1)
    await record(
        pool,
        [
            UsageEvent(
                attempt=f"a{i}",
                request="r",
                started=1_790_000_000_000_000,
                ended=1_790_000_001_000_000,
                status=Status.SUCCESS,
                model="m",
                usage=Usage(prompt=3, completion=4),
                cost=Decimal("0.000000000001"),
            )
            for i in range(3)
        ],
    )
    await pool.close()


def test_spend_is_exact(run: Run, database_url: str) -> None:
    asyncio.run(_spend(database_url))
    line = json.loads(run("spend", "--by", "model", "--json", DATABASE_URL=database_url).output)[0]
    assert (line["model"], line["requests"], Decimal(line["spend"])) == ("m", 3, Decimal("0.000000000003"))
    assert run("spend", "--until", "2020-01-01", DATABASE_URL=database_url).output == "nothing yet\n"


def test_permissions_are_the_roles(run: Run) -> None:
    assert len(run("permissions", "worker").output.split()) == 3
    assert run("permissions", "nobody").exit_code == 2


@pytest.mark.parametrize("command", ["migrate", "spend", "topology", "queues"])
def test_what_is_missing_is_said_in_one_line(run: Run, command: str) -> None:
    result = run(command)
    assert result.exit_code == 1
    assert "is not set" in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("command", ["migrate", "spend"])
def test_an_unreachable_database_is_said_without_its_password(run: Run, command: str) -> None:
    result = run(command, DATABASE_URL="postgresql://u:hidden-word@127.0.0.1:1/x")
    assert result.exit_code == 1
    assert "hidden-word" not in result.output
    assert result.output == "Error: The ledger cannot be reached.\n"


def test_a_database_that_was_never_migrated_is_said_in_one_line(run: Run, database_url: str) -> None:
    result = run("spend", DATABASE_URL=database_url)
    assert result.exit_code == 1
    assert result.output == "Error: The schema is behind this version: run `penstock admin migrate`.\n"
