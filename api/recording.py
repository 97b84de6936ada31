"""One answer as ASGI messages: recorded as it comes, replayed from its start to any number of clients, kept whole."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import msgspec

from api import errors
from api.body import ClientGone, Receive
from api.reply import Headers, Send
from schemas.failures import Failure

Message = MutableMapping[str, Any]

_REPLAYED = (b"x-penstock-idempotent-replay", b"true")
_LAST_WORD = 5.0  # seconds for a client that does not read


class Whole(msgspec.Struct, frozen=True):
    """An answer from its status to its last byte; a stream's events are its body."""

    status: int
    headers: Headers
    body: bytes

    @property
    def failed(self) -> bool:
        """True for a stream whose last event is the failure that ended it; its status is 200 all the same."""
        text = self.body.rstrip(b"\r\n")
        last_line = text[max(text.rfind(b"\n"), text.rfind(b"\r")) + 1 :]
        return is_stream(self.headers) and last_line.startswith(b'data: {"error":')

    async def follow(self, send: Send) -> None:
        """Send all of it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class Recording:
    """The messages of an answer under way. Not thread-safe; all calls on the loop.

    All of it is held while it runs, so nobody's reading holds it up, and nobody who comes late has missed anything.
    """

    def __init__(self) -> None:
        self.size = 0  # bytes of the body so far
        self.begun = False
        self.complete = False  # the last byte has come
        self._closed = False
        self._messages: list[Message] = []
        self._news = asyncio.Event()

    async def send(self, message: Message) -> None:
        """ASGI's `send` for whoever makes the answer. Waits for nobody."""
        self.begun = True
        self.complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        self.size += len(message.get("body", b""))
        self._messages.append(message)
        self._tell()

    def close(self) -> None:
        """Nothing more will come, whether the answer is complete or not."""
        self._closed = True
        self._tell()

    @property
    def over(self) -> bool:
        """True when nothing more will come."""
        return self.complete or self._closed

    async def beginning(self) -> None:
        """Wait for the first message, or for the end of a recording that stays empty."""
        while not (self.begun or self._closed):
            await self._news.wait()

    async def follow(self, send: Send) -> None:
        """Send what has come and then what comes, until the answer is complete or the recording is closed."""
        sent = 0
        while True:
            while sent < len(self._messages):
                sent += 1
                await send(self._messages[sent - 1])
            if self.over:
                return
            await self._news.wait()

    def whole(self) -> Whole | None:
        """The answer, if it is complete."""
        if not self.complete:
            return None
        start, *parts = self._messages
        return Whole(start["status"], list(start["headers"]), b"".join(part.get("body", b"") for part in parts))

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Audience:
    """Who watches a recording. `abandoned` when for `grace` seconds nobody has, or when nobody shall any more."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._watchers = 0
        self._gone = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def abandoned(self) -> bool:
        """True once whoever makes the answer was told to stop."""
        return self._gone.is_set()

    async def receive(self) -> Message:
        """ASGI's `receive` for whoever makes the answer: the disconnect, when it is abandoned."""
        await self._gone.wait()
        return {"type": "http.disconnect"}

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Somebody watches while the block runs."""
        self._watchers += 1
        self._stop_timer()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers and not self.abandoned:
                self._timer = asyncio.get_running_loop().call_later(self._grace, self.abandon)

    def abandon(self) -> None:
        """Nobody has to be waited for any more, whoever may still be there."""
        self._stop_timer()
        self._gone.set()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Watcher:
    """One client that is sent a recorded answer. `begun` once something of it was sent."""

    def __init__(self, send: Send, *, replayed: bool) -> None:
        self.begun = False
        self._send = send
        self._replayed = replayed
        self._unfinished_stream = False

    async def send(self, message: Message) -> None:
        """One message, in a copy: whoever stands between us and the client adds headers to what passes."""
        own = dict(message)
        if message["type"] == "http.response.start":
            self.begun = True
            self._unfinished_stream = is_stream(message["headers"])
            own["headers"] = [*message["headers"], *([_REPLAYED] if self._replayed else [])]
        elif not message.get("more_body", False):
            self._unfinished_stream = False
        await self._send(own)

    async def break_off(self, failure: Failure) -> None:
        """End an answer whose rest will not come: a stream with an event that says why, any other by silence."""
        if self._unfinished_stream:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORD):
                    await self.send({"type": "http.response.body", "body": errors.event(failure), "more_body": False})


@contextlib.asynccontextmanager
async def present(receive: Receive) -> AsyncIterator[None]:
    """Let the block run as long as its client is there. Raises `ClientGone` out of it when the client leaves."""
    clock = asyncio.get_running_loop().time

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        patience.reschedule(clock())

    try:
        async with asyncio.timeout(None) as patience:
            listener = asyncio.create_task(listen(), name="does the client listen")
            try:
                yield
            finally:
                listener.cancel()
    except TimeoutError:
        if not patience.expired():
            raise
        raise ClientGone from None


def is_stream(headers: Headers) -> bool:
    """Whether an answer with these headers is a stream of events."""
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)
