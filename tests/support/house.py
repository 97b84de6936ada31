"""Penstock itself under test: as processes, as its users run it, or assembled inside the test's own loop."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).resolve().parents[2]
MASTER_KEY = "sk-test-master-0123456789"
READY = b"ready"


@dataclass
class Process:
    """One role as an operating system process."""

    process: asyncio.subprocess.Process
    name: str
    base: str = ""
    said: list[str] = field(default_factory=list)
    _reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def exited(self, within: float = 30) -> int:
        async with asyncio.timeout(within):
            code = await self.process.wait()
        if self._reader is not None:
            await self._reader
        return code

    async def stop(self, within: float = 30) -> int:
        """SIGTERM; SIGKILL, and a `TimeoutError`, if that does not end it in time."""
        if self.process.returncode is None:
            self.process.terminate()
        try:
            return await self.exited(within)
        except TimeoutError:
            self.process.kill()
            await self.exited()
            raise

    def output(self) -> str:
        return "".join(self.said)


async def start(name: str, *arguments: str, environ: Mapping[str, str], within: float = 60) -> Process:
    """`penstock …`, once it says that it is ready. Raises `AssertionError` with its output when it does not."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "penstock",
        *arguments,
        cwd=ROOT,
        env={**_bare(), **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    started = Process(process, name)
    ready = asyncio.Event()
    started._reader = asyncio.create_task(_read(started, ready))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({waiting, started._reader}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not ready.is_set():
            if process.returncode is None:
                process.kill()
            await started._reader
            await process.wait()
    if not ready.is_set():
        raise AssertionError(f"{name} did not get ready:\n{started.output()}")
    return started


async def _read(started: Process, ready: asyncio.Event) -> None:
    assert started.process.stdout is not None
    async for line in started.process.stdout:
        text = line.decode()
        started.said.append(text)
        if "ready" in text.lower() and "http" in text:
            started.base = text.split()[-1]
        if "penstock: ready" in text or "Try it" in text:
            ready.set()


def _bare() -> dict[str, str]:
    """Our environment without anything that configures Penstock or its providers."""
    dropped = ("PENSTOCK_", "LITELLM_", "DATABASE_", "AMQP_", "OLLAMA_")
    return {
        k: v for k, v in os.environ.items() if not k.startswith(dropped) and not k.endswith(("_API_KEY", "_API_BASE"))
    }


@dataclass
class House:
    """All roles of one Penstock, however many processes they are."""

    base: str
    processes: dict[str, Process]
    environ: dict[str, str] = field(default_factory=dict)

    async def add(self, name: str, role: str, *arguments: str, **environ: str) -> Process:
        """One more process, ready; `environ` is for it alone."""
        self.processes[name] = await start(name, role, *arguments, environ={**self.environ, **environ})
        return self.processes[name]

    async def knows(self, workers: int, api: str = "api0", within: float = 20) -> dict[str, list[dict[str, Any]]]:
        """What the API process says of the workers, once just so many serve something."""
        async with self.client(base=self.processes[api].base) as client, asyncio.timeout(within):
            while True:
                found = (await client.get("/health")).raise_for_status().json()["workers"]
                serving: dict[str, list[dict[str, Any]]] = {name: what for name, what in found.items() if what}
                if len(serving) == workers:
                    return serving
                await asyncio.sleep(0.05)

    def client(self, base: str = "", **options: Any) -> httpx.AsyncClient:
        """An HTTP client with the master key, at the root (not `/v1`) of the first API process, or of `base`."""
        return httpx.AsyncClient(
            base_url=(base or self.base).removesuffix("/v1"),
            headers={"Authorization": f"Bearer {MASTER_KEY}"},
            timeout=30,
            trust_env=False,
            **options,
        )

    async def rows(self, count: int, within: float = 15, **params: str) -> list[dict[str, Any]]:
        """The spend rows once there are `count` of them. More than that, or fewer in time, is an `AssertionError`."""
        got: list[dict[str, Any]] = []
        async with self.client() as client:
            deadline = asyncio.get_running_loop().time() + within
            while asyncio.get_running_loop().time() < deadline:
                got = (await client.get("/spend/logs", params={"limit": "10000", **params})).raise_for_status().json()
                if len(got) >= count:
                    break
                await asyncio.sleep(0.05)
        assert len(got) == count, json.dumps(got, indent=1)[:4000]
        return got


@asynccontextmanager
async def serving(config: Mapping[str, Any], tmp_path: Path, **environ: str) -> AsyncIterator[House]:
    """`penstock serve` on a free port. Without AMQP_URL and DATABASE_URL in `environ`: the embedded default."""
    path = write(config, tmp_path)
    process = await start(
        "serve",
        "serve",
        "--config",
        str(path),
        "--port",
        "0",
        environ={"PENSTOCK_MASTER_KEY": MASTER_KEY, "PENSTOCK_STATE_DIR": str(tmp_path / "state"), **environ},
    )
    try:
        yield House(process.base, {"serve": process})
    finally:
        await process.stop()


@asynccontextmanager
async def separate(
    config: Mapping[str, Any], tmp_path: Path, workers: int = 1, apis: int = 1, **environ: str
) -> AsyncIterator[House]:
    """api, worker and accounting as processes of their own; `environ` must hold AMQP_URL and DATABASE_URL."""
    path = write(config, tmp_path)
    every = {
        "PENSTOCK_MASTER_KEY": MASTER_KEY,
        "PENSTOCK_STATE_DIR": str(tmp_path / "state"),
        "PENSTOCK_CONFIG": str(path),
        **environ,
    }
    house = House("", {}, every)
    try:
        starting = [
            house.add("accounting", "accounting"),
            *(house.add(f"worker{i}", "worker") for i in range(workers)),
            *(house.add(f"api{i}", "api", "--port", "0") for i in range(apis)),
        ]
        failed = [one for one in await asyncio.gather(*starting, return_exceptions=True) if isinstance(one, Exception)]
        if failed:
            raise failed[0]
        house.base = house.processes["api0"].base
        for i in range(apis):
            await house.knows(workers, f"api{i}")
        yield house
    finally:
        await asyncio.gather(*(p.stop() for p in house.processes.values()), return_exceptions=True)


def write(config: Mapping[str, Any], folder: Path) -> Path:
    """The configuration as a file."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    return path
