"""What a figure is measured on: RabbitMQ, Postgres, the mock provider and Penstock's roles, all as real processes."""

import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from bench.overload.load import Door, Load
from bench.processes import process, wait_ready
from bench.yardstick import bench as yardstick
from tests.support.house import MASTER_KEY, House, separate
from tests.support.postgres import PostgresServer, private_postgres
from tests.support.process import free_ports
from tests.support.rabbitmq import RabbitMQServer, private_rabbitmq

GROUP = "gpt-4o-mini"
COUNT_CPU: Callable[[Mapping[str, Sequence[int]]], dict[str, float]] = yardstick.cpu_by_group


class Servers(NamedTuple):
    """The servers of the whole run; each figure has a vhost and a database of its own."""

    rabbitmq: RabbitMQServer
    postgres: PostgresServer

    def pids(self) -> dict[str, int]:
        """By name, of those that run."""
        found = {}
        for name, server in (("rabbitmq", self.rabbitmq), ("postgres", self.postgres)):
            with suppress(IndexError, AssertionError):  # it is just being restarted
                found[name] = server.pid
        return found


@contextmanager
def servers() -> Iterator[Servers]:
    """Started, and ended with all their data."""
    with private_rabbitmq() as rabbitmq, private_postgres() as postgres:
        yield Servers(rabbitmq, postgres)


@contextmanager
def own_place(on: Servers) -> Iterator[dict[str, str]]:
    """AMQP_URL and DATABASE_URL of a fresh vhost and a fresh database."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    rabbitmq, postgres = on.rabbitmq.broker, on.postgres.postgres
    rabbitmq.add_vhosts(name)
    postgres.run(f"create database {name}")
    try:
        yield {"AMQP_URL": rabbitmq.url(name), "DATABASE_URL": postgres.url(name)}
    finally:
        postgres.run(f"drop database {name} with (force)")
        rabbitmq.delete_vhost(name)


class Plan(NamedTuple):
    """What to build. `limits`: calls per second by deployment; `learned`: the configuration does not say them."""

    limits: Mapping[str, float]
    learned: bool = False
    workers: int = 1
    seed: int = 1
    pacing: bool = True

    @property
    def limit(self) -> float:
        """Calls per second that all deployments together let pass."""
        return sum(self.limits.values())


class ProviderControl:
    """The mock provider from outside."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self._base = f"http://127.0.0.1:{port}"

    async def set(self, **given: str | float) -> None:
        """As its module says. Raises `httpx.HTTPStatusError` for what it does not know."""
        await self._get("/_set", given)

    async def stats(self) -> dict[str, Any]:
        """All counts, with all times."""
        return await self._get("/_stats", {"log": "1"})

    async def _get(self, path: str, params: Mapping[str, str | float]) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self._base, trust_env=False, timeout=30) as client:
            found: dict[str, Any] = (await client.get(path, params=dict(params))).raise_for_status().json()
            return found


class Stage:
    """One Penstock in front of one provider."""

    def __init__(self, on: Servers, house: House, provider: ProviderControl, plan: Plan) -> None:
        self.servers = on
        self.house = house
        self.provider = provider
        self.plan = plan

    def load(self) -> Load:
        """A load at its door; time zero is now."""
        address = urlsplit(self.house.base)
        assert address.hostname is not None
        assert address.port is not None
        return Load(Door(address.hostname, address.port, MASTER_KEY, GROUP))

    def cpu(self) -> dict[tuple[str, int], float]:
        """Seconds of a core by process (name and id), so far; `load` is this process itself."""
        living = {name: one.pid for name, one in self.house.processes.items() if one.process.returncode is None}
        pids = {**self.servers.pids(), **living, "provider": self.provider.pid}
        used = COUNT_CPU({name: [pid] for name, pid in pids.items()})
        return {(name, pids[name]): used[name] for name in pids} | {("load", os.getpid()): time.process_time()}

    def last_words(self) -> dict[str, list[str]]:
        """The end of what each process wrote."""
        return {name: one.said[-40:] for name, one in self.house.processes.items()}


def configuration(plan: Plan, port: int) -> dict[str, Any]:
    """Penstock's, with one deployment for each limit."""
    deployments = []
    for name, limit in plan.limits.items():
        params = {"model": f"openai/{GROUP}", "api_base": f"http://127.0.0.1:{port}/{name}/v1", "api_key": "sk-mock"}
        told = {} if plan.learned else {"rpm": round(limit * 60)}
        deployments.append({"model_name": GROUP, "litellm_params": params | told, "model_info": {"id": name}})
    return {"model_list": deployments}


@asynccontextmanager
async def stage(on: Servers, plan: Plan) -> AsyncIterator[Stage]:
    """Build it, all ready; nothing of it is left afterwards."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "bench.overload.provider", "--port", str(port), "--seed", str(plan.seed)]
    for name, limit in plan.limits.items():
        command += ["--deployment", f"{name}={limit:g}"]
    with (
        own_place(on) as urls,
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
        process(command, os.environ, "provider") as pid,
    ):
        await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{port}/_stats", 10)
        made = separate(
            configuration(plan, port),
            Path(folder),
            plan.workers,
            AMQP_URL=urls["AMQP_URL"],
            DATABASE_URL=urls["DATABASE_URL"],
            PENSTOCK_PACING=str(plan.pacing).lower(),
        )
        async with made as house:
            yield Stage(on, house, ProviderControl(pid, port), plan)
