"""`penstock admin keys|teams|users`, as an operator calls them."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker.events import Events
from broker.rabbitmq import RabbitBus
from broker.topology import topology_of
from ledger.access import find_key
from ledger.migrate import migrate
from ledger.pepper import pepper
from ledger.pool import open_pool
from ledger.terms import Rules
from penstock.command import main
from schemas.access import Access
from schemas.envelope import Changed, Event
from tests.support.audit import audited

Run = Callable[..., Result]
Said = Callable[..., Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Run:
    for name in ("AMQP_URL", "PENSTOCK_CONFIG", "PENSTOCK_SALT_KEY", "LITELLM_SALT_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", database_url)
    asyncio.run(migrate(database_url))
    return lambda *arguments, **environ: CliRunner().invoke(main, ["admin", *arguments], env=environ)


@pytest.fixture
def said(run: Run) -> Said:
    """The answer of a command that must succeed, as JSON."""

    def said(*arguments: str) -> Any:
        done = run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return said


def access(database_url: str, secret: str) -> Access | None:
    async def look() -> Access | None:
        pool = await open_pool(database_url, size=1)
        try:
            return await find_key(pool, (await pepper(pool, None)).hash(secret.encode()), Rules())
        finally:
            await pool.close()

    return asyncio.run(look())


def test_the_life_of_a_key(said: Said, database_url: str) -> None:
    options = ("--max-budget", "10", "--budget-duration", "30d", "--rpm-limit", "60", "--models", "a, b", "--tags", "x")
    made = said("keys", "create", "--alias", "ci", *options, "--set", 'metadata={"n": 7}')
    secret, id = made["key"], made["token"]
    found = access(database_url, secret)
    assert found is not None
    assert found.scopes[0].models == ("a", "b")
    assert found.caller.tags == ("x",)
    info = said("keys", "info", "ci")
    assert (info["token"], info["max_budget"], info["rpm_limit"], info["metadata"]["n"]) == (id, 10, 60, 7)
    assert (info["created_by"], info["user_id"]) == ("penstock admin", None)
    assert said("keys", "update", id, "--rpm-limit", "none", "--max-budget", "2.5")["max_budget"] == 2.5
    assert said("keys", "info", secret)["rpm_limit"] is None
    assert said("keys", "block", "ci")["blocked"] is True
    blocked = access(database_url, secret)
    assert blocked is not None
    assert blocked.blocked == "key"
    assert said("keys", "unblock", "ci")["blocked"] is False
    fresh = said("keys", "rotate", "ci", "--grace", "1h")["key"]
    assert fresh != secret
    assert access(database_url, fresh) is not None
    assert access(database_url, secret) is not None
    said("keys", "rotate", "ci")
    assert access(database_url, fresh) is None
    assert said("keys", "delete", "ci")["deleted_keys"] == [id]
    assert said("keys", "list") == []


def test_keys_as_a_table(run: Run) -> None:
    for alias in ("first", "second"):
        made = run("keys", "create", "--alias", alias)
        assert made.exit_code == 0, made.output
        assert made.stderr.splitlines() == [
            "No --config: upperbound_key_generate_params and the like do not apply.",
            "Processes that are running see it within 60 s: AMQP_URL is not set.",
            "The key is shown this once.",
        ]
        assert [line.split()[1][:3] for line in made.stdout.splitlines() if line.startswith("key ")] == ["sk-"]
    lines = run("keys", "list").stdout.splitlines()
    assert lines[0].split() == ["alias", "key", "user", "team", "models", "spend", "budget", "expires", "blocked", "id"]
    assert [line.split()[0] for line in lines[1:]] == ["second", "first"]
    assert [line.split()[0] for line in run("keys", "list", "--alias", "irs").stdout.splitlines()[1:]] == ["first"]
    assert len(run("keys", "list", "--limit", "1").stdout.splitlines()) == 2
    assert run("keys", "list", "--user", "nobody").stdout == "nothing yet\n"


def test_more_keys_than_a_page(said: Said, run: Run, database_url: str) -> None:
    asyncio.run(_insert_keys(database_url, 230))
    assert len(said("keys", "list", "--limit", "1000")) == 230
    assert len(said("keys", "list", "--limit", "150")) == 150
    assert len(said("keys", "list")) == 100


async def _insert_keys(database_url: str, many: int) -> None:
    pool = await open_pool(database_url, size=1)
    await pool.execute(
        "INSERT INTO virtual_keys (key_id, key_name) SELECT 'k' || n, 'sk-...' FROM generate_series(1, $1::int) AS n",
        many,
    )
    await pool.close()


def test_the_life_of_a_team_and_its_users(said: Said, run: Run, database_url: str) -> None:
    ann = said("users", "create", "--id", "ann", "--email", "ann@x.org", "--role", "internal_user", "--max-budget", "5")
    assert (ann["user_id"], ann["key"]) == ("ann", "")
    bob = said("users", "create", "--id", "bob", "--with-key")
    assert access(database_url, bob["key"]) is not None
    team = said("teams", "create", "--id", "red", "--alias", "Red", "--member", "ann:admin", "--member", "bob")
    assert {(one["user_id"], one["role"]) for one in team["members_with_roles"]} == {("ann", "admin"), ("bob", "user")}
    secret = said("keys", "create", "--team", "red")["key"]
    said("teams", "block", "red")
    blocked = access(database_url, secret)
    assert blocked is not None
    assert blocked.blocked == "team red"
    said("teams", "unblock", "red")
    assert said("teams", "update", "red", "--tpm-limit", "9")["tpm_limit"] == 9
    assert said("teams", "info", "red")["team_info"]["team_alias"] == "Red"
    assert said("users", "update", "ann", "--alias", "Ann")["user_alias"] == "Ann"
    assert said("users", "info", "ann")["user_info"]["teams"] == ["red"]
    lines = [line.split() for line in run("teams", "list").stdout.splitlines()]
    assert lines == [
        ["team", "alias", "organization", "members", "keys", "models", "spend", "budget", "blocked"],
        ["red", "Red", "-", "2", "1", "-", "0", "-", "no"],
    ]
    lines = [line.split() for line in run("users", "list", "--email", "ANN@").stdout.splitlines()]
    assert lines == [
        ["user", "email", "alias", "role", "keys", "models", "spend", "budget"],
        ["ann", "ann@x.org", "Ann", "internal_user", "0", "-", "0", "5"],
    ]
    shown = dict(line.split(maxsplit=1) for line in run("users", "info", "ann").stdout.splitlines())
    assert (shown["user_email"], shown["teams"]) == ("ann@x.org", "red")
    said("teams", "delete", "red")
    assert access(database_url, secret) is None
    assert said("users", "delete", "ann", "bob") == {"deleted_users": 2}
    assert said("users", "list") == said("teams", "list") == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("keys", "info", "nothing"), "There is no key with the alias 'nothing'."),
        (("keys", "delete", "nothin"), "There is no key with the alias 'nothin'."),
        (("teams", "info", "nothing"), "There is no team with the id or the alias 'nothing'."),
        (("keys", "create", "--team", "nothing"), "There is no team with the id or the alias 'nothing'."),
        (("teams", "add-member", "nothing", "ann"), "There is no team with the id or the alias 'nothing'."),
        (("users", "delete", "nothing"), "There is no user 'nothing'."),
        (("keys", "create", "--max-budget", "lots"), "max_budget: Input should be a valid decimal"),
        (("teams", "create", "--budget-duration", "soon"), "budget_duration: Value error, a duration such as"),
    ],
)
def test_an_error_is_one_line(run: Run, arguments: tuple[str, ...], error: str) -> None:
    assert run("keys", "create", "--alias", "nothing else").exit_code == 0  # a part of an alias names no key
    done = run(*arguments)
    assert done.exit_code == 1
    (line,) = [line for line in done.output.splitlines() if not line.startswith("No --config")]
    assert line.startswith(f"Error: {error}")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("keys", "create", "--set", "nonsense"), "--set wants NAME=VALUE, not 'nonsense'"),
        (("keys", "create", "--set", "max_bugdet=1"), "there is no field 'max_bugdet' (did you mean max_budget?)"),
        (("keys", "update", "x", "--set", "nosuch=1"), "there is no field 'nosuch': --set 'metadata="),
        (("teams", "create", "--set", "blockd=true"), "there is no field 'blockd' (did you mean blocked?)"),
        (("users", "update", "ann", "--set", "user_rol=x"), "there is no field 'user_rol' (did you mean user_role?)"),
    ],
)
def test_a_wrong_option_is_a_usage_error(run: Run, arguments: tuple[str, ...], error: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert error in done.output


def test_a_team_goes_by_its_alias_and_its_members_change(said: Said, run: Run) -> None:
    team = said("teams", "create", "--alias", "green", "--member", "ann", "--set", "tags=[]")["team_id"]
    assert said("teams", "info", "green")["team_id"] == team
    assert said("teams", "update", "green", "--rpm-limit", "5")["rpm_limit"] == 5
    assert said("keys", "create", "--team", "green", "--set", "model_rpm_limit={}")["team_id"] == team
    assert len(said("keys", "list", "--team", "green")) == 1
    added = said("teams", "add-member", "green", "bob:admin", "cleo", "--max-budget", "10", "--budget-duration", "30d")
    assert {(one["user_id"], one["role"], one.get("max_budget")) for one in added} == {
        ("ann", "user", None),
        ("bob", "admin", 10),
        ("cleo", "user", 10),
    }
    terms = ("--role", "user", "--max-budget", "2.5", "--tpm-limit", "7")
    (bob,) = [one for one in said("teams", "update-member", "green", "bob", *terms) if one["user_id"] == "bob"]
    assert (bob["role"], bob["max_budget"], bob["budget_duration"], bob["tpm_limit"]) == ("user", 2.5, "30d", 7)
    assert [one["user_id"] for one in said("teams", "remove-member", "green", "ann", "cleo")] == ["bob"]
    lines = [line.split() for line in run("teams", "members", "green").stdout.splitlines()]
    assert lines == [
        ["user", "role", "spend", "budget", "period", "rpm", "tpm", "models"],
        ["bob", "user", "0", "2.5", "30d", "-", "7", "-"],
    ]
    assert {user["user_id"] for user in said("users", "list", "--team", "green")} == {"bob"}
    said("teams", "create", "--alias", "green")
    done = run("teams", "block", "green")
    assert done.output.startswith("Error: Several teams have the id or the alias 'green': ")
    said("teams", "create", "--alias", "blue")
    said("teams", "create", "--id", "blue")
    done = run("keys", "create", "--team", "blue")
    assert done.output.splitlines()[-1].startswith("Error: Several teams have the id or the alias 'blue': ")


def test_bounds_for_new_keys_are_in_the_configuration(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("litellm_settings: {upperbound_key_generate_params: {max_budget: 5}}")
    done = run("keys", "create", "--max-budget", "6", "--config", str(path))
    assert (done.exit_code, done.output) == (1, "Error: max_budget 6 is above the most that is allowed, 5.\n")


def test_what_is_done_is_in_the_audit_log(said: Said, database_url: str) -> None:
    said("users", "create", "--id", "ann")

    async def entries() -> list[dict[str, Any]]:
        pool = await open_pool(database_url, size=1)
        try:
            return await audited(pool, entity="user")
        finally:
            await pool.close()

    assert [(entry["actor"], entry["action"], entry["entity_id"]) for entry in asyncio.run(entries())] == [
        ("penstock admin", "created", "ann")
    ]


async def alone(*arguments: str, **environ: str) -> tuple[int | None, str]:
    """The exit code and stderr of the command as a process: in a thread it would hold up the test's own loop."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penstock", "admin", *arguments),
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    return process.returncode, errors.decode()


async def test_running_processes_are_told(database_url: str, amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    await migrate(database_url)
    bus = RabbitBus(amqp_url, topology_of((), 2**20), name="test")
    await bus.open()
    heard: asyncio.Queue[Event] = asyncio.Queue()
    events = Events(bus)
    events.listen(heard.put_nowait)
    await events.open()
    assert await alone("users", "create", "--id", "ann", AMQP_URL=amqp_url) == (0, "")
    async with asyncio.timeout(10):
        changed = await heard.get()
    await events.close()
    await bus.close()
    assert isinstance(changed, Changed)
    assert "user:ann" in changed.names
