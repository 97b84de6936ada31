"""A process that holds an embedded Postgres: says `ready` and its pid, then answers SQL line by line until EOF.

`python -m tests.ledger.embedded_driver <state_dir> [<uid> <public directory>]`; with a uid it becomes that user first.
What that user could not reach (a Python and programs under a 0700 home) is put into the public directory beforehand.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from ledger import embedded_launch, embedded_place
from ledger.embedded import CannotStart, EmbeddedPostgres
from ledger.pool import AWAY, connect


def become(uid: int, public: Path) -> None:
    programs = embedded_place._copied(embedded_place._wheel(), public)
    launcher = shutil.copy(embedded_launch.__file__, public)
    Path(launcher).chmod(0o644)
    embedded_place._wheel = lambda: programs  # type: ignore[assignment]
    embedded_launch.__file__ = launcher
    sys.executable = "/usr/bin/python3"
    asyncio.run(_load())
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


async def _load() -> None:
    """Use once what imports its parts when it is used: later this user may not read them."""
    await asyncio.to_thread(lambda: None)
    await (await asyncio.create_subprocess_exec("true")).wait()
    with contextlib.suppress(*AWAY):
        await connect("postgresql://x@/x?host=/nowhere")


async def ask(url: str, sql: str) -> object:
    """Patient: the server may just be coming back."""
    while True:
        with contextlib.suppress(*AWAY):
            connection = await connect(url)
            try:
                return [list(row) for row in await connection.fetch(sql)]
            finally:
                await connection.close()
        await asyncio.sleep(0.02)


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
    try:
        async with EmbeddedPostgres(sys.argv[1]) as url:
            print("ready", flush=True)
            while line := await asyncio.to_thread(sys.stdin.readline):
                print(json.dumps(await ask(url, line), default=str), flush=True)
    except CannotStart as problem:
        print(f"cannot: {problem}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        become(int(sys.argv[2]), Path(sys.argv[3]))
    asyncio.run(main())
