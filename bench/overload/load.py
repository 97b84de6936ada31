"""An open-loop load: requests come when a seeded Poisson process says so, however slow the answers are. No retries."""

import asyncio
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from bench.overload.client import Client, Reply

DEADLINE = 30.0  # seconds; `x-penstock-timeout` of every request
GRACE = 5.0  # seconds after the deadline until the load itself gives up
INTERACTIVE, BATCH = "interactive", "batch"
Rate = Callable[[float], float]  # requests per second at a time in seconds since the load began


class Record(NamedTuple):
    """One request. Times in seconds since the load began; `seconds` is from when it was due to its answer's end.

    `status` 0: no whole answer. `retry_after` in seconds; `code` is the error's.
    """

    at: float
    klass: str
    status: int
    seconds: float
    retry_after: float | None = None
    code: str = ""
    timed_out: bool = False
    headers: Mapping[str, str] = {}

    @property
    def end(self) -> float:
        """When it was answered."""
        return self.at + self.seconds

    @property
    def late(self) -> bool:
        """Whether its deadline was not kept, whoever noticed."""
        return self.timed_out or self.status == 504


class Door(NamedTuple):
    """Where requests go."""

    host: str
    port: int
    key: str
    model: str


def arrivals(rate: Rate, peak: float, start: float, end: float, dice: random.Random) -> Iterator[float]:
    """Moments of a Poisson process whose rate changes; `peak` is the highest that `rate` gets (thinning)."""
    at = start
    while True:
        at -= math.log(1.0 - dice.random()) / peak
        if at >= end:
            return
        if dice.random() * peak < rate(at):
            yield at


class Load:
    """Requests at one door, and what became of them. Time zero is its making."""

    def __init__(self, door: Door) -> None:
        self.began = time.monotonic()
        self.records: list[Record] = []
        self.under_way = 0
        self.latest = 0.0  # seconds that a request was sent after it was due, at most
        self.watch: Callable[[Record], None] | None = None  # told of every answer
        self._client = Client(door.host, door.port)
        self._requests = {klass: _request(door, klass) for klass in (INTERACTIVE, BATCH)}
        self._quiet = asyncio.Event()
        self._quiet.set()

    def now(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.began

    def fire(self, at: float, klass: str = INTERACTIVE, then: Callable[[Record], None] | None = None) -> None:
        """Send a request that was due at `at`; `then` is told of its answer."""
        self.under_way += 1
        self.latest = max(self.latest, self.now() - at)
        self._quiet.clear()

        def done(reply: Reply) -> None:
            record = _record(at, klass, self.now() - at, reply)
            self.records.append(record)
            self.under_way -= 1
            if not self.under_way:
                self._quiet.set()
            for told in (then, self.watch):
                if told is not None:
                    told(record)

        self._client.send(self._requests[klass], DEADLINE + GRACE, done)

    async def ask(self, klass: str = INTERACTIVE) -> Record:
        """Send a request now and wait for its answer."""
        answered: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self.fire(self.now(), klass, answered.set_result)
        return await asyncio.shield(answered)  # a cancelled caller must not make the callback fail

    async def open_loop(self, rate: Rate, peak: float, end: float, dice: random.Random) -> None:
        """Send interactive requests at `rate` from now until `end`."""
        for at in arrivals(rate, peak, self.now(), end, dice):
            await asyncio.sleep(max(0.0, at - self.now()))
            self.fire(at)
        await asyncio.sleep(max(0.0, end - self.now()))

    async def closed_loop(self, clients: int, klass: str, end: float) -> None:
        """Keep so many requests under way until `end`; a refused client comes again when it was told to."""

        async def client() -> None:
            while self.now() < end:
                record = await self.ask(klass)
                if record.status != 200:
                    await asyncio.sleep(min(record.retry_after or 1.0, max(0.0, end - self.now())))

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())

    async def drained(self) -> None:
        """Wait until everything is answered or given up: `DEADLINE + GRACE` seconds at most."""
        await self._quiet.wait()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _request(door: Door, klass: str) -> bytes:
    messages = [{"role": "user", "content": "Count to five, in words, and say nothing else."}]
    body = msgspec.json.encode({"model": door.model, "max_tokens": 16, "messages": messages})
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"host: {door.host}:{door.port}",
        f"authorization: Bearer {door.key}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-penstock-timeout: {DEADLINE:g}",
        *(["x-penstock-class: batch"] if klass == BATCH else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _record(at: float, klass: str, seconds: float, reply: Reply) -> Record:
    told = reply.headers.get("retry-after")
    headers = {name: value for name, value in reply.headers.items() if name != "retry-after"}
    wait = float(told) if told is not None and told.strip().isdigit() else None
    return Record(at, klass, reply.status, seconds, wait, _code(reply.body), reply.timed_out, headers)


def _code(body: bytes) -> str:
    try:
        told = msgspec.json.decode(body) if body else None
        return str(told["error"]["code"]) if told else ""
    except (msgspec.DecodeError, KeyError, TypeError):
        return "unreadable"
