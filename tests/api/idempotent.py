"""For the tests of idempotent calls: processes, a fake upstream, clients, and a ledger that goes away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from api.body import Receive
from api.idempotency import Call, Idempotency, Timing, call_of
from api.recording import Message
from api.reply import Send
from broker.seal import Seal
from ledger.pool import Pool, open_pool
from schemas.envelope import Endpoint
from schemas.failures import Refused

KEY = "order-4711 of today"
SALT = "sk-salt"
NOW = 1000.0
BODY = b'{"answer": "forty-two"}'
JSON = [(b"content-type", b"application/json"), (b"x-request-id", b"req_first")]
SSE = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-request-id", b"req_first")]
MARK = (b"x-penstock-idempotent-replay", b"true")
QUICK = Timing(first_pause=0.01, longest_pause=0.02, retry=0.01)


def asked(data: bytes = b"{}", *, key: str = KEY, caller: str = "hash", deadline: float = NOW + 100) -> Call:
    headers = [(b"content-type", b"application/json"), (b"idempotency-key", key.encode())]
    found = call_of(headers, caller, (Endpoint.CHAT, None), data, deadline)
    assert found is not None
    return found


class Upstream:
    """What makes the answers: `begun` is set once it was asked, and it goes on when it is told."""

    def __init__(self, *parts: bytes, status: int = 200, headers: list[tuple[bytes, bytes]] = JSON) -> None:
        self.calls = 0
        self.gone = False  # it was told that nobody waits
        self.begun = asyncio.Event()
        self._go = asyncio.Semaphore(0)
        self._parts = parts or (BODY,)
        self._status = status
        self._headers = headers

    def go(self, parts: int = 1) -> "Upstream":
        for _ in range(parts):
            self._go.release()
        return self

    async def __call__(self, receive: Receive, send: Send) -> None:
        self.calls += 1
        self.begun.set()
        listening = asyncio.create_task(self._listen(receive))
        try:
            for number, part in enumerate(self._parts):
                await self._go.acquire()
                if self.gone:
                    return
                if number == 0:
                    await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
                more = number + 1 < len(self._parts)
                await send({"type": "http.response.body", "body": part, "more_body": more})
        finally:
            listening.cancel()

    async def _listen(self, receive: Receive) -> None:
        assert (await receive())["type"] == "http.disconnect"
        self.gone = True
        self._go.release()


class Client:
    """A client's connection; its messages are changed on their way, as middleware does."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._left = asyncio.Event()
        self._news = asyncio.Event()

    async def send(self, message: Message) -> None:
        self.messages.append(message)
        if message["type"] == "http.response.start":
            message["headers"].append((b"x-added", b"by middleware"))
        self._news.set()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        self._left.set()

    async def has(self, body: bytes) -> None:
        while self.body != body:
            self._news.clear()
            await self._news.wait()

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        assert self.messages[0]["headers"].count((b"x-added", b"by middleware")) == 1
        return [pair for pair in self.messages[0]["headers"] if pair[0] != b"x-added"]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def complete(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", False)


Make = Callable[..., Awaitable[Idempotency]]


@asynccontextmanager
async def processes(pool_url: str) -> AsyncIterator[Make]:
    """Makes the idempotency of another process, with a pool of its own unless one is given, at every call."""
    async with AsyncExitStack() as stack:

        async def make(timing: Timing = QUICK, own: Any = None) -> Idempotency:
            if own is None:
                own = await open_pool(pool_url, size=3)
                stack.push_async_callback(own.close)
            made = Idempotency(own, Seal(SALT), "api", 600, lambda: NOW, timing)
            stack.push_async_callback(made.close, 0)
            return made

        yield make


async def answered(where: Idempotency, run: Upstream, call: Call | None = None) -> Client:
    client = Client()
    await where.serve(call or asked(), run, client.receive, client.send)
    return client


def started(where: Idempotency, run: Upstream, call: Call | None = None) -> tuple[Client, asyncio.Task[None]]:
    client = Client()
    return client, asyncio.create_task(where.serve(call or asked(), run, client.receive, client.send))


async def refused(where: Idempotency, run: Upstream, call: Call | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await answered(where, run, call)
    return caught.value


async def holds(pool: Pool, condition: str) -> bool:
    return bool(await pool.fetchval(f"SELECT {condition}"))


async def until(pool: Pool, condition: str) -> None:
    while not await holds(pool, condition):
        pass


DONE = "(SELECT state = 'done' FROM idempotent_calls)"
RELEASED = "NOT EXISTS (SELECT FROM idempotent_calls)"


class Away:
    """A pool whose server goes away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.away = False
        self.asked = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        if self.away:
            self.asked.set()
            raise ConnectionRefusedError
        return getattr(self._pool, name)
