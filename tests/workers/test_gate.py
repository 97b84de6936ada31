"""A worker's gates: what is called when, what goes back to the queue, and what others are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.events import Events
from broker.memory import MemoryBus
from broker.outbox import Outbox
from broker.port import Address, Message
from broker.topology import REPLIES, REQUESTS, handoff_queue, requests_queue, topology_of
from policy.valve import Lane
from schemas.config import Config, Deployment, Limits, Settings
from schemas.envelope import Beat, Cancel, Class, Endpoint, Event, Failed, Request, Started, pack, unpack_frame
from schemas.failures import Kind
from tests.support import upstream as up
from tests.support.inside import free
from tests.support.listeners import Heard, Taken
from tests.support.upstream import Upstream
from workers.execute import Bench
from workers.pool import Pools
from workers.providers.registry import adapter
from workers.transport import Transport

BODY = b'{"model":"g","messages":[{"role":"user","content":"hi"}]}'
OK = up.json({"choices": [{}], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
SLOW_DOWN = {"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded"}}
NOW = 1000.0


@dataclass
class Yard:
    """Workers on one bus, what they tell everybody, and an asker's ear."""

    bus: MemoryBus
    events: Events
    frames: Heard
    beats: list[Beat]
    inbox: str
    told: asyncio.Event
    workers: list[Pools]

    def heard(self, event: Event) -> None:
        """A beat has come."""
        if isinstance(event, Beat):
            self.beats.append(event)
            self.told.set()

    async def beat(self, **wanted: float) -> Beat:
        """The next beat whose first row has more than this in each field."""
        async with asyncio.timeout(10):
            while True:
                for beat in self.beats:
                    if beat.serving and all(getattr(beat.serving[0], name) > least for name, least in wanted.items()):
                        return beat
                self.beats.clear()
                self.told.clear()
                await self.told.wait()

    async def ask(self, name: str, queue: str = "", model: str = "g", body: bytes = BODY, **fields: object) -> None:
        """A request in a queue, the group's unless another is said."""
        facts = {"received": NOW, "published": NOW, "deadline": NOW + 60, "reply_to": self.inbox, **fields}
        group = "w/*" if "/" in model else "g"
        request = Request(id=name, endpoint=Endpoint.CHAT, group=group, model=model, **facts)  # type: ignore[arg-type]
        to = Address(REQUESTS, queue or requests_queue(group))
        await self.bus.publish(to, Message(pack(request, body), name, name))

    async def started(self) -> Started:
        """The next announcement."""
        while True:
            frame, _ = unpack_frame((await self.frames.next())[0])
            if isinstance(frame, Started):
                return frame

    async def failed(self) -> Failed:
        """The next failure."""
        while True:
            frame, _ = unpack_frame((await self.frames.next())[0])
            if isinstance(frame, Failed):
                return frame


@asynccontextmanager
async def yard(tmp_path: Path, *deployments: Deployment, workers: int = 1) -> AsyncIterator[Yard]:
    """Some workers that serve all of these deployments."""
    config = Config(deployments=deployments)
    bus, transport, frames = MemoryBus(topology_of(deployments, 2**20)), Transport(), Heard()
    await bus.open()
    events = Events(bus)
    await events.open()
    inbox = await bus.inbox(REPLIES, frames, lambda: None)
    found = Yard(bus, events, frames, [], inbox.address, asyncio.Event(), [])
    events.listen(found.heard)
    settings = Settings(beat_every=0.2)
    for number in range(workers):
        outbox = Outbox(bus, tmp_path)
        bench = Bench(f"w{number}", bus, outbox, transport, settings, free, unseal=lambda sealed: {}, now=lambda: NOW)
        found.workers.append(Pools(config, deployments, bench, events, adapter))
    try:
        for pools in found.workers:
            await pools.start()
        yield found
    finally:
        for pools in found.workers:
            await pools.drain(1)
        await events.close()
        await bus.close()
        await transport.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        server.script(OK)
        yield server


def at(upstream: Upstream, name: str = "d", group: str = "g", model: str = "up", **fields: object) -> Deployment:
    """A deployment at the scripted upstream."""
    facts = {"provider": "openai", "api_base": upstream.url, **fields}
    return Deployment(id=name, group=group, model=model, **facts)  # type: ignore[arg-type]


async def test_calls_begin_at_the_limits_pace_in_their_order(upstream: Upstream, tmp_path: Path) -> None:
    clock = asyncio.get_running_loop().time
    async with yard(tmp_path, at(upstream, limits=Limits(rpm=1200))) as works:
        begin = clock()
        for n in range(41):
            await works.ask(f"r{n}")
        await upstream.received(41)
        assert clock() - begin >= 0.95  # twenty at once, and twenty a second
        row = (await works.beat(used=0.5)).serving[0]
        assert row.pace == 20


async def test_a_refusal_shuts_the_deployment_and_the_others_have_the_requests(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.script(up.json(SLOW_DOWN, 429, {"retry-after": "30"}))
    async with yard(tmp_path, at(upstream)) as works:
        await works.ask("r1")
        failed = await works.failed()
        assert (failed.failure.kind, failed.failure.retry_after) == (Kind.PROVIDER_RATE_LIMIT, 30)
        row = (await works.beat(shut=1)).serving[0]
        assert 28 < row.refused <= 30
        assert row.room == 0
        await asyncio.sleep(0.3)  # longer than a consumer takes to be shut
        await works.ask("r2")
        taken = Taken()
        await works.bus.consume(requests_queue("g"), taken, 1)
        delivery = await taken.next()  # nobody else wants it
        assert delivery.id == "r2"
        delivery.ack()
    assert len(upstream.requests) == 1


async def test_what_is_held_goes_back_when_the_worker_leaves(upstream: Upstream, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream, limits=Limits(rpm=20))) as works:
        await works.ask("r1")
        await works.ask("r2")
        await works.started()
        await works.workers[0].drain(1)
        taken = Taken()
        await works.bus.consume(requests_queue("g"), taken, 1)
        delivery = await taken.next()
        assert (delivery.id, delivery.redelivered) == ("r2", True)
        delivery.ack()
    assert len(upstream.requests) == 1


async def test_batch_requests_begin_only_with_what_is_left(upstream: Upstream, tmp_path: Path) -> None:
    gate = asyncio.Event()
    upstream.script(up.chunked([gate, b'{"choices":[{}]}'], "application/json"))
    async with yard(tmp_path, at(upstream, slots=10)) as works:
        for n in range(20):
            await works.ask(f"b{n}", requests_queue("g", Class.BATCH), klass=Class.BATCH)
        await upstream.opened(9)  # one slot is kept
        await works.ask("r1")
        await upstream.opened(10)
        assert {(await works.started()).attempt for _ in range(10)}
        gate.set()
        await upstream.received(21)


async def test_a_limited_model_of_a_wildcard_does_not_hold_up_another(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(up.json(SLOW_DOWN, 429, {"retry-after": "30"}), OK)
    async with yard(tmp_path, at(upstream, "w", "w/*", "*")) as works:
        await works.ask("r1", model="w/slow")
        await works.failed()
        await works.ask("r2", model="w/slow")
        returned = await works.failed()
        assert (returned.attempt, returned.failure.kind) == ("", Kind.PROVIDER_RATE_LIMIT)
        assert returned.failure.retry_after > 28
        await works.ask("r3", model="w/fast")
        await upstream.received(2)
    assert [call.json()["model"] for call in upstream.requests] == ["slow", "fast"]


async def test_a_request_that_is_cancelled_while_it_waits_is_never_called(upstream: Upstream, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream, limits=Limits(rpm=120))) as works:
        for name in ("r1", "r2", "r3"):
            await works.ask(name)
        await upstream.received(1)
        works.events.tell(Cancel("r2"))
        await upstream.received(2)
        await works.ask("r4")
        await upstream.received(3)
        started = [await works.started() for _ in range(3)]
    assert len(started) == 3


async def test_only_the_publication_that_is_meant_is_cancelled(upstream: Upstream, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream)) as works:
        works.events.tell(Cancel("r1", n=1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await works.ask("r1", n=1)
        await works.ask("r1", n=2)
        assert (await works.started()).n == 2


async def test_what_was_handed_over_and_what_all_may_have_take_turns(upstream: Upstream, tmp_path: Path) -> None:
    other = at(upstream, "e", limits=Limits(rpm=0.001))
    async with yard(tmp_path, at(upstream, limits=Limits(rpm=600)), other) as works:
        await works.ask("first", handoff_queue("d"))
        for n in range(3):
            await works.ask(f"h{n}", handoff_queue("d"))
        await upstream.received(4)
        assert [(await works.started()).deployment for _ in range(4)] == ["d"] * 4


async def test_two_workers_keep_to_one_limit(upstream: Upstream, tmp_path: Path) -> None:
    clock = asyncio.get_running_loop().time
    async with yard(tmp_path, at(upstream, limits=Limits(rpm=1200)), workers=2) as works:
        await asyncio.sleep(0.2)  # until each has noticed the other
        begin = clock()
        for n in range(30):
            await works.ask(f"r{n}")
        await upstream.received(30)
        seconds = clock() - begin
        workers = {(await works.started()).worker for _ in range(30)}
    assert seconds >= 1.2
    assert workers == {"w0", "w1"}


async def test_a_limit_on_parallel_calls_is_shared(upstream: Upstream, tmp_path: Path) -> None:
    gate = asyncio.Event()
    upstream.script(up.chunked([gate, b'{"choices":[{}]}'], "application/json"))
    async with yard(tmp_path, at(upstream, limits=Limits(parallel=3)), workers=2) as works:
        await asyncio.sleep(0.3)
        for n in range(8):
            await works.ask(f"r{n}")
        await upstream.opened(3)
        await asyncio.sleep(0.1)
        assert upstream.open_calls == 3
        gate.set()
        await upstream.received(8)


@pytest.mark.parametrize("digits", [9, 400])
async def test_an_absurd_estimate_holds_nobody_up(upstream: Upstream, tmp_path: Path, digits: int) -> None:
    upstream.script(up.json({"error": {"message": "Too many.", "type": "invalid_request_error"}}, 400), OK)
    body = b'{"model":"g","messages":[],"max_tokens":1' + b"0" * digits + b"}"
    async with yard(tmp_path, at(upstream, limits=Limits(tpm=60_000))) as works:
        await works.ask("r1", body=body)
        assert (await works.failed()).failure.kind is Kind.INVALID_REQUEST
        await works.ask("r2")
        await upstream.received(2)


async def test_a_call_that_is_cancelled_before_its_first_step_is_done_with(upstream: Upstream, tmp_path: Path) -> None:
    async with yard(tmp_path, at(upstream)) as works:
        pools, held = works.workers[0], Taken()
        await pools.gates[0].close()
        await works.bus.consume(requests_queue("g"), held, 1)
        await works.ask("r1")
        pools._take(pools.gates[0], await held.next(), Lane.SHARED)
        pools._cancel("r1", "", 0)
        assert (await works.failed()).failure.kind is Kind.CANCELLED
        await asyncio.sleep(0.05)
        assert not works.bus.left(requests_queue("g"))
        assert pools.gates[0].running == 0
    assert not upstream.requests


async def test_of_two_publications_the_newer_one_counts(upstream: Upstream, tmp_path: Path) -> None:
    gate = asyncio.Event()
    upstream.script(up.chunked([gate, b'{"choices":[{}]}'], "application/json"))
    async with yard(tmp_path, at(upstream)) as works:
        await works.ask("r1", n=2)
        await upstream.received(1)
        await works.ask("r1", n=1)
        await asyncio.sleep(0.05)
        gate.set()
        assert (await works.started()).n == 2
        await asyncio.sleep(0.05)
        assert not works.bus.left(requests_queue("g"))
    assert len(upstream.requests) == 1
