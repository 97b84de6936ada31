"""The processes: each has an event loop, a connection and the product's own objects in it."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec import structs

from api import errors
from api.announced import AnnouncedAttempts
from api.asker import Asker, Connections
from api.course import wishes
from api.pending import Pending
from api.planner import Planner
from broker.events import Events, Pulse
from broker.outbox import Outbox
from policy.roster import Roster
from schemas.catalog import Catalog
from schemas.config import Config, Deployment
from schemas.envelope import Beat, Class, Endpoint, Request
from schemas.failures import Failure, Kind, Refused
from schemas.usage import Caller, Usage
from tests.simulation.clock import Loop, Time
from tests.simulation.bus import Broker
from tests.simulation.provider import Dialect, Provider
from workers.execute import Bench
from workers.pool import Pools
from workers.transport import Response, Transport

_NOWHERE = Path("/nonexistent")
_CALLERS: dict[str, Caller] = {}


@dataclass(slots=True)
class Asked:
    """A request as its client sees it. Times in seconds; `status` 0: not answered yet."""

    at: float
    key: str
    klass: Class
    status: int = 0
    kind: str = ""
    retry_after: float = 0.0
    began: float = 0.0  # the last call for it
    ended: float = 0.0
    deployment: str = ""


class Api:
    """An API process, from the door's inner side on."""

    def __init__(self, name: str, config: Config, time: Time, broker: Broker) -> None:
        self.name = name
        self.loop = Loop(time)
        self.asked: list[Asked] = []
        self._time = time
        self._config = config
        self.wire = broker.wire(self.loop)

    def start(self, prices: Mapping[str, Decimal]) -> None:
        """Open it."""
        self.loop.call_soon(lambda: self.loop.create_task(self._open(prices)))

    def ask(self, key: str = "", group: str = "g", deadline: float = 30.0, klass: Class = Class.INTERACTIVE) -> Asked:
        """One request, now."""
        asked = Asked(self._time.now, key, klass)
        self.asked.append(asked)
        self.loop.call_soon(self._ask, asked, group, deadline)
        return asked

    async def _open(self, prices: Mapping[str, Decimal]) -> None:
        config, wire = self._config, self.wire
        events = Events(wire)
        await events.open()
        self.roster = Roster(self.loop.time)
        self._planner = Planner(Catalog(config), config.routing, self.roster, _Prices(prices))
        attempts = AnnouncedAttempts(Outbox(wire, _NOWHERE), _free, self._time.wall)
        world = Connections(wire, events, self.roster, attempts, self._planner, self._time.wall)
        self.asker = asker = Asker(world, config.settings)
        asker.lines.others = lambda queue: self.roster.askers(queue, but=self.name)
        await asker.open()
        still = Beat(process=self.name, role="api", every=config.settings.beat_every)
        self._pulse = Pulse(events, lambda: structs.replace(still, waiting=asker.lines.waiting()), still)
        self._pulse.start()

    def _ask(self, asked: Asked, group: str, deadline: float) -> None:
        now = self._time.wall()
        found = self._planner.catalog.resolve(group)
        assert found is not None
        caller = _CALLERS.get(asked.key)
        if caller is None:
            caller = _CALLERS[asked.key] = Caller(key_hash=asked.key)
        try:
            request = Request(
                id=f"{self.name}-{len(self.asked)}-{id(asked)}",
                endpoint=Endpoint.CHAT,
                group=found.group,
                model=found.model,
                received=now,
                deadline=now + deadline,
                reply_to=self.asker.address,
                klass=asked.klass,
                caller=caller,
            )
            course = self._planner.course(found, caller, 2, wishes({}))
            pending = self.asker.ask(request, b"{}", course)
        except Refused as refused:
            self._failed(asked, refused.failure)
            return
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
            self.asker.dismiss(pending)
        if pending.attempt is not None:
            asked.deployment = pending.attempt.deployment
            asked.began = pending.attempt.at / 1e6 - (self._time.wall() - self._time.now)

    def _failed(self, asked: Asked, failure: Failure) -> None:
        asked.status, asked.kind, asked.ended = errors.status_of(failure), failure.kind, self._time.now
        asked.retry_after = float(dict(errors.headers(failure)).get(b"retry-after", b"0"))


class Worker:
    """A worker process."""

    def __init__(self, name: str, config: Config, time: Time, broker: Broker) -> None:
        self.name = name
        self.loop = Loop(time)
        self._time = time
        self._config = config
        self.wire = broker.wire(self.loop)

    def start(self, providers: Mapping[str, Provider]) -> None:
        """Open it."""
        self.loop.call_soon(lambda: self.loop.create_task(self._open(providers)))

    async def _open(self, providers: Mapping[str, Provider]) -> None:
        events = Events(self.wire)
        await events.open()
        bench = Bench(
            worker=self.name,
            bus=self.wire,
            outbox=Outbox(self.wire, _NOWHERE),
            transport=_Transport(providers),
            settings=self._config.settings,
            price=_free,
            unseal=_unseal,
            now=self._time.wall,
            heard_for=events.heard_for,
        )
        self.pools = Pools(self._config, self._config.deployments, bench, events, Dialect)
        await self.pools.start()


class _Transport(Transport):
    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = providers

    async def open(self, call: Any) -> Response:
        """An answer, after its time."""
        provider = self._providers[call.url]
        status, headers, seconds = provider.call()
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
        """Nothing is held."""

    async def _next(self) -> bytes:
        return b""


class _Prices:
    def __init__(self, prices: Mapping[str, Decimal]) -> None:
        self._prices = prices

    def context_window(self, deployment: Deployment, model: str) -> int | None:
        return None

    def per_token(self, deployment: Deployment, model: str) -> Decimal | None:
        return self._prices.get(deployment.id)


def _free(*_: object) -> Decimal:
    return Decimal(0)


def _unseal(_sealed: str) -> dict[str, Any]:
    return {}


def _expire(pending: Pending) -> None:
    if not pending.opened:
        pending.fail(Failure(Kind.DEADLINE, "The request's deadline passed before it was answered."))
