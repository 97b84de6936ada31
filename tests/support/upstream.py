"""A scripted upstream on a free port of the loopback interface, raw on asyncio so that it can misbehave.

    async with Upstream() as upstream:
        upstream.script(json({"id": …}), sse([{…}, {…}]))    # one reply per call, in order; the last one repeats
        … call upstream.url + "/v1/chat/completions" …
        await upstream.received(1)         # wait until that many requests have arrived in full
        upstream.requests[0].json()        # what was asked: method, path, headers (lower-case), body
        await upstream.disconnected(1)     # wait until that many clients went away in the middle of a call
        upstream.open_calls                # calls that are being answered now
        upstream.connections               # TCP connections so far: fewer than calls when they are kept alive

Replies: `json(value, status, headers)`, `raw(body, …)`, `html(status)`, `sse(events)`, `ndjson(lines)`,
`chunked(parts)`.
Misbehaviour: `stall()` never answers, `stall_after(parts)` stops in mid-stream, `hang_up()` closes without an answer,
`break_off(parts)` closes in mid-stream, `short(body, missing)` promises more than it sends, `garbage(data)` is no HTTP,
`endless_header()`, `endless_line()`, `huge(size)` is a large answer in small parts, `closing(reply)` answers and then
closes a connection that it had not announced to close. A step `gate` (asyncio.Event) in `parts` waits for it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

Part = bytes | asyncio.Event
Reply = Callable[["Wire"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Gone(Exception):
    """The client went away."""


class Wire:
    """What a reply writes to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Received) -> None:
        self._reader, self._writer = reader, writer
        self.request = request
        self.keep = True

    async def write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (ConnectionError, OSError):
            raise Gone from None

    async def wait(self, gate: asyncio.Event) -> None:
        """Until the gate opens; raises `Gone` when the client goes first."""
        opened, gone = asyncio.ensure_future(gate.wait()), asyncio.ensure_future(self._reader.read(1))
        try:
            await asyncio.wait((opened, gone), return_when=asyncio.FIRST_COMPLETED)
            if not opened.done():
                raise Gone
        finally:
            for task in (opened, gone):
                task.cancel()
            await asyncio.gather(opened, gone, return_exceptions=True)


class Upstream:
    """The server; see the module's words."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.open_calls = 0
        self.connections = 0
        self.left = 0
        self._replies: list[Reply] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Upstream":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=2**26)
        self.port = int(self._server.sockets[0].getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def script(self, *replies: Reply) -> None:
        """What the next calls are answered; the last one repeats."""
        self._replies = list(replies)

    async def received(self, count: int) -> None:
        """Wait for that many requests in all."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def disconnected(self, count: int) -> None:
        """Wait until that many clients have gone away before their answer was complete."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.left >= count)

    async def opened(self, count: int) -> None:
        """Wait until exactly that many calls are open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open_calls == count)

    async def idle(self) -> None:
        """Wait until no call is open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open_calls == 0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ")
        pairs = (item.partition(":") for item in rest if item)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        reply = self._replies[0] if len(self._replies) == 1 else self._replies.pop(0)
        received = Received(method, path, headers, body)
        await self._note(received, 1)
        wire = Wire(reader, writer, received)
        try:
            await reply(wire)
        except Gone:
            self.left += 1
            wire.keep = False
        finally:
            await self._note(None, -1)
        return wire.keep

    async def _note(self, request: Received | None, calls: int) -> None:
        async with self._changed:
            if request is not None:
                self.requests.append(request)
            self.open_calls += calls
            self._changed.notify_all()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def raw(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A whole body."""

    async def reply(wire: Wire) -> None:
        await wire.write(_head(status, {"content-length": str(len(body)), **(headers or {})}) + body)

    return reply


def json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A whole JSON body."""
    return raw(msgspec.json.encode(value), status, {"content-type": "application/json", **(headers or {})})


def html(status: int = 502) -> Reply:
    """A proxy's error page."""
    page = b"<html><head><title>Bad gateway</title></head><body>nginx</body></html>"
    return raw(page, status, {"content-type": "text/html"})


def chunked(parts: Iterable[Part], content_type: str = "text/event-stream", status: int = 200) -> Reply:
    """A body in HTTP chunks, one a part."""
    return _stream(list(parts), content_type, status, _end)


def sse(events: Sequence[Any], *, done: bool = True) -> Reply:
    """OpenAI's kind of stream: each event as `data:`; bytes and gates as they are."""
    parts: list[Part] = [
        event if isinstance(event, bytes | asyncio.Event) else b"data: %b\n\n" % msgspec.json.encode(event)
        for event in events
    ]
    return chunked([*parts, b"data: [DONE]\n\n"] if done else parts)


def ndjson(lines: Sequence[Any]) -> Reply:
    """Ollama's kind of stream."""
    return chunked([msgspec.json.encode(line) + b"\n" for line in lines], "application/x-ndjson")


def stall() -> Reply:
    """Take the request, answer nothing, until the client goes."""

    async def reply(wire: Wire) -> None:
        await wire.wait(asyncio.Event())

    return reply


def stall_after(parts: Iterable[Part], content_type: str = "text/event-stream") -> Reply:
    """Stop in mid-stream, until the client goes."""
    return _stream([*parts, asyncio.Event()], content_type, 200, _end)


def hang_up() -> Reply:
    """Close without a byte."""

    async def reply(wire: Wire) -> None:
        wire.keep = False

    return reply


def break_off(parts: Iterable[Part], content_type: str = "text/event-stream") -> Reply:
    """Close in mid-stream."""
    return _stream(list(parts), content_type, 200, hang_up())


def short(body: bytes, missing: int = 10) -> Reply:
    """Promise more bytes than are sent, then close."""

    async def reply(wire: Wire) -> None:
        wire.keep = False
        headers = {"content-length": str(len(body) + missing), "content-type": "application/json"}
        await wire.write(_head(200, headers) + body)

    return reply


def garbage(data: bytes = b"\x00\x01 this is not HTTP\r\n\r\n") -> Reply:
    """No HTTP at all."""

    async def reply(wire: Wire) -> None:
        wire.keep = False
        await wire.write(data)

    return reply


def endless_header() -> Reply:
    """A header that never ends, until the client goes."""

    async def reply(wire: Wire) -> None:
        await wire.write(b"HTTP/1.1 200 OK\r\nx-endless: ")
        while True:
            await wire.write(b"a" * 65536)

    return reply


def endless_line(line: bytes = b"data: " + b"x" * 65536) -> Reply:
    """A stream without an event boundary, until the client goes."""

    async def reply(wire: Wire) -> None:
        await wire.write(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}))
        while True:
            await wire.write(b"%x\r\n%b\r\n" % (len(line), line))

    return reply


def huge(size: int, *, announced: bool = False) -> Reply:
    """A JSON string of `size` bytes in 64 KiB parts, with or without a content length."""
    part = b"x" * 65536
    parts: list[Part] = [b'{"choices":["', *[part] * (size // len(part)), b'"]}']
    if not announced:
        return chunked(parts, "application/json")

    async def reply(wire: Wire) -> None:
        length = sum(len(item) for item in parts if isinstance(item, bytes))
        await wire.write(_head(200, {"content-length": str(length), "content-type": "application/json"}))
        for item in parts:
            assert isinstance(item, bytes)
            await wire.write(item)

    return reply


def closing(reply: Reply) -> Reply:
    """Answer, then close the connection without having said so."""

    async def both(wire: Wire) -> None:
        await reply(wire)
        wire.keep = False

    return both


async def _end(wire: Wire) -> None:
    await wire.write(b"0\r\n\r\n")


def _stream(parts: Sequence[Part], content_type: str, status: int, last: Reply) -> Reply:
    async def reply(wire: Wire) -> None:
        await wire.write(_head(status, {"content-type": content_type, "transfer-encoding": "chunked"}))
        for part in parts:
            if isinstance(part, bytes):
                await wire.write(b"%x\r\n%b\r\n" % (len(part), part))
            else:
                await wire.wait(part)
        await last(wire)

    return reply
