import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from ledger import embedded_place
from ledger.embedded import CannotStart, EmbeddedPostgres
from ledger.embedded_place import MAJOR
from ledger.embedded_process import running
from ledger.pool import connect
from penstock.admin.running import config
from penstock.configuration.masterkey import own_salt
from schemas.config import Config

ROOT = os.geteuid() == 0
NOBODY = 65534


class Driver:
    """A process with an embedded Postgres in it; see `embedded_driver`."""

    def __init__(self, state: Path, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "tests.ledger.embedded_driver", str(state), *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.said = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def sql(self, text: str) -> list[list[object]]:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        found: list[list[object]] = json.loads(self._line())
        return found

    def postmaster(self) -> int:
        return int(str(self.sql("SELECT pg_read_file('postmaster.pid')")[0][0]).splitlines()[0])

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def kill(self) -> None:
        self.process.kill()
        self.close()


Start = Callable[[], Driver]
once = pytest.mark.parametrize("start", ["ourselves"], indirect=True)  # the user makes no difference


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory, removed with what it links to."""
    with tempfile.TemporaryDirectory(prefix="penstock-state-") as made:
        directory = Path(made) / ".penstock"
        yield directory
        link = directory / "postgres"
        if link.is_symlink():
            shutil.rmtree(link.resolve())


@pytest.fixture(params=["ourselves", "unprivileged"] if ROOT else ["ourselves"])
def start(request: pytest.FixtureRequest, state: Path) -> Iterator[Start]:
    """Starts drivers on one state directory, as whoever runs the tests or as a user who is not root."""
    arguments: list[str] = []
    if request.param == "unprivileged":
        state.parent.chmod(0o755)
        state.mkdir()
        os.chown(state, NOBODY, NOBODY)
        public = state.parent / "public"
        public.mkdir()
        public.chmod(0o755)
        arguments = [str(NOBODY), str(public)]
    with ExitStack() as stack:

        def begin() -> Driver:
            driver = Driver(state, arguments)
            stack.callback(driver.close)
            return driver

        yield begin


def wait_for_end(pid: int) -> None:
    limit = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < limit, "it lingers"
        time.sleep(0.01)


def found_by_an_administrator(state: Path) -> Config:
    """The configuration of `penstock admin` beside a `serve` in this state directory."""
    own_salt(state)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATABASE_URL", "PENSTOCK_SALT_KEY", "LITELLM_SALT_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("PENSTOCK_STATE_DIR", str(state))
        return config(None)


def test_what_was_written_is_there_at_the_next_start(start: Start, state: Path) -> None:
    assert running(state) is None
    begun = time.monotonic()
    driver = start()
    assert driver.said == "ready"
    assert time.monotonic() - begun < 10  # about 1 s alone, of which 0.7 s initdb
    assert driver.sql("SHOW server_encoding") == [["UTF8"]]
    assert driver.sql("SHOW listen_addresses") == [[""]]
    assert [driver.sql(f"SHOW {name}") for name in ("fsync", "full_page_writes", "synchronous_commit")] == [
        [["on"]]
    ] * 3
    driver.sql("CREATE TABLE t AS SELECT 'ä' AS x")
    pid = driver.postmaster()
    found = found_by_an_administrator(state)
    assert (found.settings.database_url, found.settings.salt_key) == (SecretStr(running(state) or ""), own_salt(state))
    driver.close()
    wait_for_end(pid)
    assert running(state) is None
    assert found_by_an_administrator(state).settings.database_url is None
    again = start()
    assert again.sql("SELECT x FROM t") == [["ä"]]
    assert (state / "postgres" / MAJOR).stat().st_mode & 0o777 == 0o700
    assert state.stat().st_mode & 0o077 == 0 or not ROOT or state.stat().st_uid == NOBODY


def test_kill_9_of_the_parent_ends_postgres_and_loses_nothing(start: Start) -> None:
    driver = start()
    driver.sql("CREATE TABLE t AS SELECT 1 AS x")
    pid = driver.postmaster()
    driver.kill()
    again = start()  # at once: the old one may still be shutting down
    assert again.said == "ready"
    assert again.sql("SELECT x FROM t") == [[1]]
    assert again.postmaster() != pid
    again.kill()
    wait_for_end(pid)


def test_kill_9_of_postgres_restarts_it_and_loses_nothing(start: Start) -> None:
    driver = start()
    driver.sql("CREATE TABLE t (x int)")
    for number in range(3):
        driver.sql(f"INSERT INTO t VALUES ({number})")
        pid = driver.postmaster()
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
        assert driver.sql("SELECT count(*) FROM t") == [[number + 1]]
        assert driver.postmaster() != pid


def test_a_second_start_on_the_same_directory_is_refused(start: Start) -> None:
    first = start()
    second = start()
    assert second.said.startswith(f"cannot: another penstock (process {first.process.pid}) uses ")
    assert first.sql("SELECT 1") == [[1]]


@once
def test_a_signal_to_our_group_does_not_reach_postgres(start: Start) -> None:
    driver = start()
    pid = driver.postmaster()
    os.killpg(driver.process.pid, signal.SIGINT)
    assert os.getpgid(pid) != driver.process.pid
    assert driver.sql("SELECT 1") == [[1]]
    assert driver.postmaster() == pid


@once
def test_a_stale_pid_file_that_names_somebody_else(start: Start, state: Path) -> None:
    start().close()
    stale = state / "postgres" / MAJOR / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{stale.parent}\n1\n5432\n\n\n\nready   \n")
    assert start().said == "ready"


@once
def test_an_unfinished_initdb_is_begun_anew(start: Start, state: Path) -> None:
    start().close()
    data = state / "postgres" / MAJOR
    data.rename(data.with_name(f"{MAJOR}.begun"))
    assert start().said == "ready"


def test_a_path_too_long_for_a_socket(state: Path) -> None:
    deep = state / ("d" * 100)
    place = embedded_place._as_ourselves(_made(deep))
    assert len(os.fsencode(place.socket_dir)) < 80
    assert place.socket_dir.stat().st_mode & 0o777 == 0o700
    place.socket_dir.chmod(0o755)
    with pytest.raises(CannotStart, match="not ours alone"):
        embedded_place._as_ourselves(deep)
    place.socket_dir.rmdir()


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory


@once
def test_data_of_another_version_is_left_alone(start: Start, state: Path) -> None:
    start().close()
    (state / "postgres" / MAJOR).rename(state / "postgres" / "17")
    said = start().said
    assert "has data of Postgres 17" in said
    assert "pg_dumpall" in said


async def test_in_this_process(state: Path) -> None:
    async with EmbeddedPostgres(state) as url:
        assert running(state) == url
        connection = await connect(url)
        assert await connection.fetchval("SELECT upper('ä')") == "Ä"
        await connection.close()
        with pytest.raises(CannotStart, match="another penstock"):
            await EmbeddedPostgres(state).__aenter__()


async def test_data_follows_a_state_directory_that_was_moved(state: Path) -> None:
    async with EmbeddedPostgres(state) as url:
        connection = await connect(url)
        await connection.execute("CREATE TABLE t AS SELECT 7 AS x")
        await connection.close()
    moved = await asyncio.to_thread(state.rename, state.with_name("moved"))
    async with EmbeddedPostgres(moved) as url:
        connection = await connect(url)
        assert await connection.fetchval("SELECT x FROM t") == 7
        await connection.close()
    await asyncio.to_thread(moved.rename, state)
