"""A TCP proxy that breaks connections as networks do: cut, stalled, slow."""

import asyncio
import contextlib
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65536


class Line:
    """One proxied connection."""

    def __init__(self) -> None:
        self.rate: float | None = None  # bytes per second and direction; None is as fast as it goes
        self.passed = 0  # bytes, both directions
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: list[asyncio.StreamWriter] = []

    def cut(self) -> None:
        """Break it off, with a reset on both sides."""
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Let nothing through any more, without closing: what a dead network looks like."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let it flow again, what was held back first."""
        self._flowing.set()

    async def serve(self, writers: list[asyncio.StreamWriter], readers: list[asyncio.StreamReader]) -> None:
        """Copy in both directions until one side ends."""
        self._writers = writers
        try:
            copies = (self._copy(readers[0], writers[1]), self._copy(readers[1], writers[0]))
            await asyncio.wait([asyncio.ensure_future(one) for one in copies], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._flowing.set()
            self.cut()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if self.rate is not None:
                    await asyncio.sleep(len(data) / self.rate)
                await self._flowing.wait()
                writer.write(data)
                self.passed += len(data)
                await writer.drain()


class Proxy:
    """`async with Proxy(url) as proxy`: `proxy.url` is the same URL through here; `lines` in the order they came."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.lines: list[Line] = []
        self.refusing = False  # accept, and close at once
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login = self._target.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._target._replace(netloc=f"{login}@127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut every line there is."""
        for line in self.lines:
            line.cut()

    async def arrivals(self, count: int) -> None:
        """Wait until so many connections have come since the start."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.lines) >= count)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        line = Line()
        self.lines.append(line)
        async with self._arrived:
            self._arrived.notify_all()
        upstream = await asyncio.open_connection(self._target.hostname, self._target.port)
        await line.serve([writer, upstream[1]], [reader, upstream[0]])
