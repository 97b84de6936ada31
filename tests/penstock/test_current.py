"""The configuration of a running process: when it is made anew, whom it reaches, and what happens when that fails."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.control import TopologyError
from broker.events import Events
from broker.memory import MemoryBus
from broker.port import BusDown
from broker.topology import Topology, topology_of
from ledger.models import Model, insert
from ledger.pool import Pool, open_pool
from penstock.current import Current
from penstock.needs import Needs, Source
from schemas.config import Config, Deployment
from schemas.envelope import ModelsChanged, Reload
from tests.support.listeners import Heard

KEYS = {"PENSTOCK_MASTER_KEY": "sk-0123456789", "PENSTOCK_SALT_KEY": "salt"}


class Fragile(MemoryBus):
    """A bus that can refuse new queues. `asked` counts how often it was asked for some."""

    refuses: Exception | None = None
    asked = 0

    async def extend(self, topology: Topology) -> None:
        self.asked += 1
        if self.refuses is not None:
            raise self.refuses
        await super().extend(topology)


class Process:
    """One process on the bus, following its configuration."""

    def __init__(self, bus: Fragile, path: Path, discovered: tuple[Deployment, ...] = ()) -> None:
        source = Source(path, Needs(embedded=True), {**KEYS, "PENSTOCK_STATE_DIR": str(path.parent)})
        written = source.read()
        self.bus, self.events = bus, Events(bus)
        self.current = Current(source, written, source.config(written), discovered)
        self.brought: list[Config] = []
        self.refuses: Exception | None = None
        self.news = asyncio.Event()

    async def bring(self, config: Config) -> None:
        """The follower."""
        if self.refuses is not None:
            raise self.refuses
        self.brought.append(config)
        self.news.set()

    async def groups(self, *wanted: str) -> None:
        """Until just these are brought."""
        async with asyncio.timeout(10):
            while not self.brought or {d.group for d in self.brought[-1].deployments} != set(wanted):
                self.news.clear()
                await self.news.wait()


def write(folder: Path, *names: str) -> Path:
    """A file with these models."""
    path = folder / "config.yaml"
    models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}"}} for name in names]
    path.write_text(yaml.safe_dump({"model_list": models}))
    return path


async def add(pool: Pool, name: str) -> None:
    """Somebody adds a model, and tells nobody."""
    async with pool.acquire() as connection:
        await insert(connection, Model(name, name, {"model": "openai/x"}), "")


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    """One that has begun, with the model `filed`."""
    path = write(tmp_path, "filed")
    bus = Fragile(topology_of((), 1000))
    await bus.open()
    found = Process(bus, path)
    await found.events.open()
    found.current.connect(bus, found.events, "me")
    found.current.follow(found.bring)
    found.current.start()
    yield found
    await found.current.stop()
    await found.events.close()
    await bus.close()


def tell(process: Process, event: Any) -> None:
    """Another process says it."""
    process.events.tell(event)


async def test_the_queues_are_there_before_anybody_hears(process: Process, tmp_path: Path) -> None:
    heard = Heard()
    write(tmp_path, "filed", "later")

    async def look(config: Config) -> None:
        await process.bus.consume("requests.interactive.later", lambda _: None, 1)
        heard(b"", "")

    process.current.follow(look)
    change = await process.current.reload()
    assert [deployment.group for deployment in change.added] == ["later"]
    await heard.next()


async def test_what_is_unchanged_is_the_same_object(process: Process, tmp_path: Path) -> None:
    before = process.current.config.deployments[0]
    write(tmp_path, "filed", "later")
    await process.current.reload()
    assert process.current.config.deployments[0] is before


async def test_a_word_of_changed_models_is_followed(process: Process, pool: Pool) -> None:
    await process.current.begin(pool)
    await add(pool, "stored")
    tell(process, ModelsChanged("other"))
    await process.groups("filed", "stored")


async def test_its_own_word_is_none(process: Process, pool: Pool, tmp_path: Path) -> None:
    write(tmp_path, "filed", "later")
    tell(process, Reload("me"))
    tell(process, ModelsChanged("me"))
    tell(process, Reload("other"))
    await process.groups("filed", "later")
    assert len(process.brought) == 1


async def test_models_do_not_make_it_read_the_file(process: Process, pool: Pool, tmp_path: Path) -> None:
    await process.current.begin(pool)
    write(tmp_path, "unwanted")
    await add(pool, "stored")
    tell(process, ModelsChanged("other"))
    await process.groups("filed", "stored")


async def test_what_the_bus_refuses_is_tried_again(process: Process, pool: Pool, monkeypatch: Any) -> None:
    monkeypatch.setattr("penstock.current._AGAIN", 0.05)
    await process.current.begin(pool)
    await add(pool, "stored")
    process.bus.refuses = BusDown("not connected")
    tell(process, ModelsChanged("other"))
    async with asyncio.timeout(5):
        while process.bus.asked < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert process.brought == []
    process.bus.refuses = None
    await process.groups("filed", "stored")


async def test_a_follower_that_fails_is_brought_it_again(process: Process, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("penstock.current._AGAIN", 0.05)
    write(tmp_path, "later")
    process.refuses = BusDown("no queue")
    tell(process, Reload("other"))
    async with asyncio.timeout(5):
        while process.bus.asked < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    process.refuses = None
    await process.groups("later")


async def test_who_may_not_declare_goes_on_without_the_queue(
    process: Process, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("penstock.current._WAITS", (0.01, 0.01))
    write(tmp_path, "filed", "later")
    process.bus.refuses = TopologyError("missing, and this user may not declare: queue 'x'")
    await process.current.reload()
    await process.groups("filed", "later")
    assert process.bus.asked == 3


async def test_a_ledger_that_is_away_at_the_start_is_read_later(
    process: Process, pool: Pool, unused_tcp_port: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr("penstock.current._AGAIN", 0.05)
    nowhere = await open_pool(f"postgresql://127.0.0.1:{unused_tcp_port}/x")
    await process.current.begin(nowhere, needed=False)
    await nowhere.close()
    await add(pool, "stored")
    process.current._pool = pool
    await process.groups("filed", "stored")


async def test_models_are_read_again_even_if_nobody_says_so(process: Process, pool: Pool, monkeypatch: Any) -> None:
    monkeypatch.setattr("penstock.current._EVERY", 0.05)
    await process.current.begin(pool)
    await add(pool, "stored")
    process.current.look_again()  # the first wait was begun with the ordinary patience
    await process.groups("filed", "stored")
    await add(pool, "another")
    await process.groups("filed", "stored", "another")


async def test_what_was_discovered_stays(tmp_path: Path) -> None:
    local = Deployment(id="discovered-llama", group="llama", provider="ollama", model="llama")
    bus = Fragile(topology_of((), 1000))
    await bus.open()
    process = Process(bus, write(tmp_path, "filed"), (local,))
    write(tmp_path, "later")
    await process.current.reload()
    assert [deployment.group for deployment in process.current.config.deployments] == ["later", "llama"]
    await bus.close()
