"""The embedded Postgres of `penstock serve`: the wheel's own server as a child process, on a Unix socket only.

It never outlives its purpose and never runs twice on the same data: a lock that the kernel releases tells a second
start, the kernel ends the child with its parent, and what was left over from a kill is stopped before a new start.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from pathlib import Path
from types import TracebackType

from ledger.embedded_place import MAJOR, USER, CannotStart, Place, settle
from ledger.embedded_process import end_leftovers, last_line, launch, lock, ready

_LOG = logging.getLogger("penstock.postgres")
_TICK = 0.02

__all__ = ["CannotStart", "EmbeddedPostgres"]

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "wal_compression": "on",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
"""What differs from Postgres's defaults; `fsync`, `full_page_writes` and `synchronous_commit` stay on."""


class EmbeddedPostgres:
    """`async with EmbeddedPostgres(state_dir) as url`. Raises `CannotStart`.

    When Postgres ends by itself it is started again, and `trouble` says so meanwhile; what was committed is there.
    It has a session of its own, so that Ctrl-C in the terminal reaches us first and the last rows can be written.
    """

    def __init__(self, state_dir: Path | str, patience: float = 60.0) -> None:
        self._state_dir = Path(state_dir)
        self._patience = patience
        self._lock: int | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.trouble: str | None = None

    async def __aenter__(self) -> str:
        place = await asyncio.to_thread(settle, self._state_dir)
        self._lock = lock(place)
        try:
            await end_leftovers(place)
            if not place.data.exists():
                await self._init(place)
            await self._start(place)
        except BaseException:
            await self._end()
            raise
        self._keeper = asyncio.create_task(self._keep(place), name="embedded-postgres")
        return place.url

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        await self._end()

    async def _init(self, place: Place) -> None:
        """A new cluster, made beside its place and moved there when it is complete."""
        begun = place.home / f"{MAJOR}.begun"
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir(mode=0o700)
        place.secure(begun, 0o700)
        arguments = ["-D", str(begun), "-U", USER, "-A", "peer", "-E", "UTF8", "--locale=C", "--no-instructions"]
        child = await launch(place, "initdb", *arguments, "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        try:
            if await child.wait() != 0:
                raise CannotStart(f"initdb failed, see {place.log}: {last_line(place.log)}; or set DATABASE_URL")
        finally:
            if child.returncode is None:
                child.kill()
        begun.rename(place.data)

    async def _start(self, place: Place) -> None:
        settings = {
            **_SETTINGS,
            "unix_socket_directories": str(place.socket_dir),
            "hba_file": str(place.home / "pg_hba.conf"),
            "ident_file": str(place.home / "pg_ident.conf"),
        }
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # The path is on its command line, as the first argument, for whoever looks for what runs on this directory.
        self._child = child = await launch(place, "postgres", "-D", str(place.data), *arguments)
        try:
            async with asyncio.timeout(self._patience):
                while not ready(place, child.pid):
                    if child.returncode is not None:
                        raise CannotStart(f"Postgres ended, see {place.log}: {last_line(place.log)}")
                    await asyncio.sleep(_TICK)
        except TimeoutError:
            raise CannotStart(f"Postgres was not ready within {self._patience:g} s, see {place.log}") from None

    async def _keep(self, place: Place) -> None:
        """Start it again whenever it ends by itself: killed for memory, or by hand."""
        pause = 0.1
        while self._child is not None:
            if self.trouble is None:
                code = await self._child.wait()
                self.trouble = f"the embedded Postgres ended ({code}) and is started again"
                _LOG.error(self.trouble)
            try:
                await end_leftovers(place)
                await self._start(place)
            except (CannotStart, OSError) as problem:
                _LOG.error("the embedded Postgres did not start: %s", problem)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10.0)
            else:
                self.trouble, pause = None, 0.1

    async def _end(self) -> None:
        """A fast shutdown, an immediate one if that takes too long, and the lock is given up."""
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            for number, patience in ((signal.SIGINT, self._patience), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(number)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(child.wait(), patience)
                    break
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
