"""A cheap HTTP/1.1 client: requests that are bytes already, connections that are kept, one callback per answer."""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import httptools


class Reply(NamedTuple):
    """What came back. `status` 0: the connection broke, or (`timed_out`) nothing whole came in time.

    `headers` holds `retry-after` and what begins with `x-penstock-`, in lower case; `body` only that of a refusal.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    timed_out: bool = False


Done = Callable[[Reply], None]


class Client:
    """As many connections to one server as there are requests under way. Nothing is sent twice."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._open: set[_Connection] = set()

    def send(self, request: bytes, patience: float, done: Done) -> None:
        """Send now; `done` is called once, within `patience` seconds."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                connection.ask(request, patience, done)
                return
        task = asyncio.get_running_loop().create_task(self._connect(request, patience, done))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def close(self) -> None:
        """Break off what is under way; its callbacks are told."""
        opening, connections = list(self._opening), list(self._open)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for connection in connections:
            connection.abort()
            await connection.lost.wait()

    async def _connect(self, request: bytes, patience: float, done: Done) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(patience):
                _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except OSError as problem:  # a timeout is one too
            done(Reply(0, {}, timed_out=isinstance(problem, TimeoutError)))
        except asyncio.CancelledError:
            done(Reply(0, {}))
            raise
        else:
            connection.ask(request, patience, done)

    def opened(self, connection: "_Connection") -> None:
        self._open.add(connection)

    def free(self, connection: "_Connection") -> None:
        self._idle.append(connection)

    def closed(self, connection: "_Connection") -> None:
        self._open.discard(connection)


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, client: Client) -> None:
        self.lost = asyncio.Event()
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._done: Done | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._headers: dict[str, str] = {}
        self._body = b""

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes, patience: float, done: Done) -> None:
        if self._transport is None:  # it was closed between its opening and now
            done(Reply(0, {}))
            return
        self._done = done
        self._timer = asyncio.get_running_loop().call_later(patience, self._give_up)
        self._transport.write(request)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._client.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._client.closed(self)
        self.lost.set()
        self._end(Reply(0, {}))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def on_message_begin(self) -> None:
        self._headers = {}
        self._body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"retry-after" or lower.startswith(b"x-penstock-"):
            self._headers[lower.decode("latin-1")] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        if self._parser.get_status_code() >= 400:
            self._body += body

    def on_message_complete(self) -> None:
        keep = self._parser.should_keep_alive()
        self._end(Reply(self._parser.get_status_code(), self._headers, self._body))
        if keep:
            self._client.free(self)
        else:
            self.abort()

    def _give_up(self) -> None:
        self._end(Reply(0, {}, timed_out=True))
        self.abort()

    def _end(self, reply: Reply) -> None:
        done, self._done = self._done, None
        if self._timer is not None:
            self._timer.cancel()
        if done is not None:
            done(reply)
