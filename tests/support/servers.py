"""The servers of one test run: one RabbitMQ and one Postgres for all of its processes, ended however the run ends.

The run's first process holds a lock as long as it lives. The first test that needs a server starts a keeper
(`python -m tests.support.servers`), which starts the server, writes down how to reach it, and stops it when it gets
that lock: the kernel gives it up at the end of the run, at Ctrl-C and at `kill -9` alike.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from tests.support.harness import harness
from tests.support.postgres import Postgres, PostgresServer
from tests.support.process import RUN, DidNotStart, discard, tail
from tests.support.rabbitmq import RabbitMQ, RabbitMQServer

PREFIX = "penstock-tests-"
YOUNG = 60.0  # seconds in which a run may still be about to lock its file, or its keepers about to end
_ROOT = Path(__file__).resolve().parents[2]


class Run:
    """The run's directory and the lock that says it goes on. Made by its first process, closed at its end."""

    def __init__(self) -> None:
        _sweep()
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.directory.chmod(0o711)  # Postgres may run as somebody else
        self._life = (self.directory / "life").open("w")
        fcntl.flock(self._life, fcntl.LOCK_EX)
        os.environ[RUN] = str(self.directory)

    def close(self) -> None:
        """Let the keepers stop their servers and wait until they have."""
        (self.directory / "closing").touch()
        self._life.close()
        os.environ.pop(RUN, None)
        for name in ("rabbitmq", "postgres"):
            with (self.directory / f"{name}.kept").open("w") as kept:
                fcntl.flock(kept, fcntl.LOCK_EX)  # the keeper holds it to its end
        discard(self.directory)


def shared_rabbitmq() -> RabbitMQ:
    """The run's broker: the one of `AMQP_URL`, or our own. Raises `DidNotStart`."""
    given = os.environ.get("AMQP_URL")
    return RabbitMQ(given) if given else RabbitMQ(**_shared("rabbitmq"))


def shared_postgres() -> Postgres:
    """The run's Postgres: the one of `DATABASE_URL`, or our own. Raises `DidNotStart`."""
    given = os.environ.get("DATABASE_URL")
    return Postgres(given) if given else Postgres(**_shared("postgres"))


def _sweep() -> None:
    """Remove what runs left that were killed together with their keepers: nobody holds their lock."""
    for life in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/life"):
        with contextlib.suppress(OSError), life.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if time.time() - life.stat().st_mtime > YOUNG:
                discard(life.parent)


@harness()
def _shared(name: str) -> dict[str, Any]:
    directory = Path(os.environ[RUN])
    facts = directory / f"{name}.json"
    with (directory / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not facts.exists():
            _start_keeper(name, directory)
    found: dict[str, Any] = json.loads(facts.read_text())
    if "error" in found:
        raise DidNotStart(found["error"])
    return found


def _start_keeper(name: str, directory: Path) -> None:
    log = directory / f"{name}.log"
    with log.open("ab") as out:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.support.servers", name, directory],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=out,
            start_new_session=True,
        )
    assert keeper.stdout is not None
    with keeper.stdout as said:
        said.read()  # to its end: the facts are written, or the keeper is dead
    facts = directory / f"{name}.json"
    if not facts.exists():
        facts.write_text(json.dumps({"error": f"{name} did not start:\n{tail(log)}"}))
    # The keeper outlives this process; without a code Popen does not complain that it still runs.
    keeper.returncode = 0


def keep(name: str, directory: Path) -> None:
    """Start the server, say so by closing stdout, and stop it when the run is over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = RabbitMQServer() if name == "rabbitmq" else PostgresServer()
    with (directory / f"{name}.kept").open("w") as kept, (directory / "life").open() as life:
        fcntl.flock(kept, fcntl.LOCK_EX)
        try:
            facts = asdict(server.start())
            (directory / f"{name}.json").write_text(json.dumps(facts))
            _close_stdout(sys.stdout)
            fcntl.flock(life, fcntl.LOCK_SH)
        finally:
            server.discard()
            if not (directory / "closing").exists():  # the run was killed: nobody else will
                discard(directory)


def _close_stdout(stdout: IO[str]) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stdout.fileno())
    os.close(null)


if __name__ == "__main__":
    keep(sys.argv[1], Path(sys.argv[2]))
