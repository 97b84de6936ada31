"""The processes: each has an event loop, a connection, and the product's own objects in it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from msgspec import structs

from api import errors
from api.announced import AnnouncedAttempts
from api.asker import Asker
from api.connections import Connections
from api.course import Wishes
from api.pending import Pending
from api.planner import Planner
from broker.events import Events, Pulse
from broker.outbox import Outbox
from policy.roster import Roster
from schemas.catalog import Catalog
from schemas.config import Config, Deployment
from schemas.envelope import Beat, Class, Endpoint, Request
from schemas.failures import Failure, Kind, Refused
from schemas.usage import Caller
from tests.simulation.bus import Broker
from tests.simulation.clock import EPOCH, Loop, Time
from tests.simulation.provider import Dialect, Provider
from workers.execute import Bench
from workers.pool import Pools
from workers.providers.port import Call, Script
from workers.transport import Response, Transport

DEADLINE = 30.0  # seconds
GROUP = "g"
_SIGMA = 0.5  # of the logarithm of the work that a request is
_SPOOL = Path("/nonexistent")  # nothing is ever written: the simulated broker takes every usage event


@dataclass(slots=True)
class Asked:
    """A request as its client sees it, and when its call began. Times in seconds; `status` 0: not answered yet."""

    at: float
    key: str
    klass: Class
    status: int = 0
    kind: str = ""
    retry_after: float = 0.0
    began: float = 0.0
    ended: float = 0.0

    @property
    def waited(self) -> float:
        """Seconds until its (last) call began."""
        return self.began - self.at


class Api:
    """An API process, from the door's inner side on."""

    def __init__(self, name: str, config: Config, time: Time, broker: Broker, seed: int) -> None:
        self.name = name
        self.loop = Loop(time)
        self.wire = broker.wire(self.loop)
        self.asked: list[Asked] = []
        self._work = {klass: Random(f"{seed} {name} {klass}") for klass in Class}
        self._time = time
        self._config = config

    def start(self, prices: Mapping[str, Decimal]) -> None:
        """Open it. `prices` are US dollars per token, by deployment."""
        self.loop.create_task(self._open(prices))

    def ask(self, key: str = "", klass: Class = Class.INTERACTIVE, deadline: float = DEADLINE) -> Asked:
        """One request, now. Its body says how much work it is: the same in every simulation with this seed."""
        asked = Asked(self._time.now, key, klass)
        self.asked.append(asked)
        body = b"%.6f" % self._work[klass].lognormvariate(0.0, _SIGMA)
        self.loop.call_soon(self._ask, asked, body, deadline)
        return asked

    async def _open(self, prices: Mapping[str, Decimal]) -> None:
        config, wire, roster = self._config, self.wire, Roster(self.loop.time)
        events = Events(wire)
        await events.open()
        self._planner = Planner(Catalog(config), config.routing, roster, _Facts(prices))
        attempts = AnnouncedAttempts(Outbox(wire, _SPOOL), _free, self._time.wall)
        world = Connections(wire, events, roster, attempts, self._planner, self._time.wall)
        self._asker = asker = Asker(world, config.settings)
        asker.lines.others = lambda queue: roster.askers(queue, but=self.name)
        await asker.open()
        still = Beat(process=self.name, role="api", every=config.settings.beat_every)
        self._pulse = Pulse(events, lambda: structs.replace(still, waiting=asker.lines.waiting()), still)
        self._pulse.start()

    def _ask(self, asked: Asked, body: bytes, deadline: float) -> None:
        """As `api.inference` asks."""
        found = self._planner.catalog.resolve(GROUP)
        assert found is not None
        now, caller = self._time.wall(), _caller(asked.key)
        try:
            request = Request(
                id=f"{self.name}-{id(asked)}",
                endpoint=Endpoint.CHAT,
                group=found.group,
                model=found.model,
                received=now,
                deadline=now + deadline,
                reply_to=self._asker.address,
                klass=asked.klass,
                caller=caller,
            )
            course = self._planner.course(found, caller, body, Wishes())
            pending = self._asker.ask(request, body, course)
        except Refused as refused:
            self._failed(asked, refused.failure)
        else:
            self.loop.create_task(self._wait(asked, pending))

    async def _wait(self, asked: Asked, pending: Pending) -> None:
        """As `api.inference` waits for an answer."""
        alarm = self.loop.call_later(pending.request.deadline - self._time.wall(), _expire, pending)
        try:
            await pending.next()
            asked.status, asked.ended = 200, self._time.now
        except Refused as refused:
            self._failed(asked, refused.failure)
        finally:
            alarm.cancel()
            self._asker.dismiss(pending)
        if pending.attempt is not None:
            asked.began = pending.attempt.at / 1e6 - EPOCH

    def _failed(self, asked: Asked, failure: Failure) -> None:
        asked.status, asked.kind, asked.ended = errors.status_of(failure), failure.kind, self._time.now
        asked.retry_after = float(dict(errors.headers(failure)).get(b"retry-after", b"0"))


class Worker:
    """A worker process."""

    def __init__(self, name: str, config: Config, time: Time, broker: Broker) -> None:
        self.name = name
        self.loop = Loop(time)
        self.wire = broker.wire(self.loop)
        self._time = time
        self._config = config

    def start(self, providers: Mapping[str, Provider]) -> None:
        """Open it."""
        self.loop.create_task(self._open(providers))

    async def _open(self, providers: Mapping[str, Provider]) -> None:
        events = Events(self.wire)
        await events.open()
        bench = Bench(
            worker=self.name,
            bus=self.wire,
            outbox=Outbox(self.wire, _SPOOL),
            transport=_Road(providers),
            settings=self._config.settings,
            price=_free,
            unseal=lambda _: {},
            now=self._time.wall,
            heard_for=events.heard_for,
        )
        self.pools = Pools(self._config, self._config.deployments, bench, events, Dialect)
        await self.pools.start()


class _Road(Transport):
    """To the simulated providers."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = providers

    async def open(self, call: Call | Script) -> Response:
        assert isinstance(call, Call)
        provider = self._providers[call.url]
        status, headers, seconds = provider.call(float(call.body))
        provider.under_way += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            provider.under_way -= 1
        return _Answer(status, headers)


class _Answer(Response):
    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers

    async def read(self, limit: int) -> bytes:
        return b"{}"

    def close(self) -> None:
        pass

    async def _next(self) -> bytes:
        return b""


class _Facts:
    """`api.planner.Facts`."""

    def __init__(self, prices: Mapping[str, Decimal]) -> None:
        self._prices = prices

    def context_window(self, deployment: Deployment, model: str) -> int | None:
        return None

    def per_token(self, deployment: Deployment, model: str) -> Decimal | None:
        return self._prices.get(deployment.id)


@lru_cache(1024)
def _caller(key: str) -> Caller:
    return Caller(key_hash=key)


def _free(*_: Any) -> Decimal:
    return Decimal(0)


def _expire(pending: Pending) -> None:
    if not pending.opened:
        pending.fail(Failure(Kind.DEADLINE, "The request's deadline passed before it was answered."))
