"""A worker's pools on the in-process bus, and an asker that a test speaks for."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.events import Events
from broker.memory import MemoryBus
from broker.outbox import Outbox
from broker.port import Address, Inbox, Message
from broker.topology import REPLIES, REQUESTS, USAGE_QUEUE, requests_queue, topology
from schemas.config import Config, Deployment, Settings
from schemas.envelope import Endpoint, Event, Frame, Request, pack, unpack_frame
from schemas.usage import UsageEvent, decode
from tests.support.inside import free
from tests.support.listeners import Heard, Taken
from tests.support.upstream import Upstream
from workers.execute import Bench
from workers.pool import Pools
from workers.providers.registry import adapter
from workers.transport import Transport

BODY = b'{"model":"g","messages":[{"role":"user","content":"hi"}]}'
QUEUE = requests_queue("g")


@dataclass
class Works:
    """A worker at work; `frames` is what the asker hears, `usage` what the ledger would."""

    bus: MemoryBus
    events: Events
    pools: Pools
    bench: Bench
    inbox: Inbox
    frames: Heard
    usage: Taken
    now: float = 1000.0

    def request(self, name: str = "r1", **fields: object) -> Request:
        """A request that was received now, with a minute to go."""
        facts = {"received": self.now, "deadline": self.now + 60, "reply_to": self.inbox.address, **fields}
        return Request(id=name, endpoint=Endpoint.CHAT, group="g", model="g", **facts)  # type: ignore[arg-type]

    async def publish(self, request: Request, body: bytes = BODY) -> None:
        """Put it into the queue."""
        await self.bus.publish(Address(REQUESTS, QUEUE), Message(pack(request, body), request.id, request.id))

    async def frame(self) -> tuple[Frame, bytes]:
        """The next frame to the asker."""
        return unpack_frame((await self.frames.next())[0])

    async def row(self) -> UsageEvent:
        """The next usage event."""
        delivery = await self.usage.next()
        delivery.ack()
        return decode(delivery.body)

    def tell(self, event: Event) -> None:
        """An event from the asker."""
        self.events.tell(event)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture
async def works(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Works]:
    """One deployment of the group `g` at the scripted upstream, not started: `await works.pools.start()`."""
    deployment = Deployment(id="d1", group="g", provider="openai", model="up", api_base=upstream.url, slots=2)
    bus = MemoryBus(topology(("g",), 2**20))
    await bus.open()
    events, transport, frames, usage = Events(bus), Transport(), Heard(), Taken()
    await events.open()
    await bus.consume(USAGE_QUEUE, usage, 100)
    inbox = await bus.inbox(REPLIES, frames, lambda: None)
    found: list[Works] = []
    bench = Bench(
        worker="w1",
        bus=bus,
        outbox=Outbox(bus, tmp_path),
        transport=transport,
        settings=Settings(beat_every=3600),
        price=free,
        unseal=lambda sealed: {},
        now=lambda: found[0].now,
    )
    pools = Pools(Config(deployments=(deployment,)), (deployment,), bench, events, adapter)
    found.append(Works(bus, events, pools, bench, inbox, frames, usage))
    yield found[0]
    await pools.drain(0.1)
    await events.close()
    await bus.close()
    await transport.close()
    await asyncio.sleep(0)
