"""The embedded Postgres as processes: starting one, who holds the directory, what a kill left over."""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
from pathlib import Path

from ledger import embedded_launch
from ledger.embedded_place import MAJOR, CannotStart, Place, url_of

_LOG = logging.getLogger("penstock.postgres")
_TICK = 0.02
_LOG_BYTES = 10 * 2**20


def lock(place: Place) -> int:
    """The file descriptor that holds this directory until it is closed, by us or by our death."""
    path = place.home / "lock"
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(held, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(held)
        raise CannotStart(
            f"another penstock (process {owner}) uses {place.home}: stop it, use another state directory, "
            "or set DATABASE_URL to share one Postgres"
        ) from None
    os.ftruncate(held, 0)
    os.write(held, f"{os.getpid()}\n".encode())
    return held


async def launch(place: Place, program: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start a program of the wheel, in a session of its own; its process id is the program's."""
    known = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    log = _open_log(place.log)
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(embedded_launch.__file__), str(place.uid), str(place.gid)),
            *(str(os.getpid()), str(place.programs / "bin" / program), *arguments),
            env={**known, "LC_ALL": "C"},
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)


def ready(place: Place, pid: int) -> bool:
    """Whether this postmaster takes connections: it writes so into its file, which `pg_ctl` reads too."""
    lines = _lines(place.data)
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def running(state_dir: Path) -> str | None:
    """How to connect to the Postgres that runs in this state directory; None when none does. It changes nothing."""
    data = state_dir.absolute() / "postgres" / MAJOR
    lines = _lines(data)
    if len(lines) < 8 or lines[7].strip() != "ready" or not lines[0].strip().isdigit():
        return None
    return url_of(lines[4].strip()) if int(lines[0]) in _running_in(data) else None


async def end_leftovers(place: Place, patience: float = 15.0) -> None:
    """Stop what still runs on the data, and remove its file: the next process with its number is somebody else's."""
    limit = asyncio.get_running_loop().time() + patience
    number = signal.SIGINT
    told: set[int] = set()
    while running := _running_in(place.data):
        if asyncio.get_running_loop().time() > limit:
            number = signal.SIGKILL
            told.clear()
        lines = _lines(place.data)
        master = {int(lines[0])} & running if lines and lines[0].strip().isdigit() else set()
        for pid in (master or running) - told:  # workers of a dead postmaster end by themselves, or are told
            _LOG.warning("stopping a Postgres that was left over on %s (process %d)", place.data, pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            told.add(pid)
        await asyncio.sleep(_TICK)
    (place.data / "postmaster.pid").unlink(missing_ok=True)


def last_line(path: Path) -> str:
    """The end of a log."""
    with contextlib.suppress(OSError):
        lines = path.read_bytes()[-2000:].decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")
    return "it cannot be read"


def _lines(data: Path) -> list[str]:
    """Of the file in which a Postgres says that it runs."""
    with contextlib.suppress(OSError):
        return (data / "postmaster.pid").read_text().splitlines()
    return []


def _running_in(data: Path) -> set[int]:
    """Processes whose working directory is the data: every process of a Postgres, and nobody else."""
    found = set()
    wanted = str(data.resolve())
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((entry / "cwd").readlink()) == wanted:
                found.add(int(entry.name))
    return found


def _open_log(path: Path) -> int:
    with contextlib.suppress(OSError):
        if path.stat().st_size > _LOG_BYTES:
            path.unlink()
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
