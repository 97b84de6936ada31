"""The HTTP server: uvicorn, started and stopped from outside and without signal handlers of its own."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api import errors
from api.reply import request_id
from schemas.failures import Failure, Kind

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)
_LONGEST_HEAD = 2**16  # bytes of a request's headers, beside what one read brings


class HttpServer:
    """One uvicorn server on one socket. `start` returns once it listens."""

    def __init__(self, app: Any, host: str, port: int, drain: float) -> None:
        self.host = host
        self.port = port
        self._server = _Quiet(
            uvicorn.Config(
                app,
                http=_Protocol,
                loop="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,  # longer than the 60 s of common load balancers, which else reset calls
                timeout_graceful_shutdown=max(1, int(drain)),
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises `OSError`, with the address in its text, when that cannot be."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            raise OSError(f"cannot listen on {self.host} port {self.port}: {error.strerror}") from None
        self.port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve([listener]), name="http server")
        await self._server.listening.wait()

    async def stop(self) -> None:
        """Accept nothing new, let running answers end within the drain time, close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


class _Protocol(HttpToolsProtocol):
    """What is not HTTP is answered like every other mistake; so is a head without end, which the parser would keep.

    An offer to upgrade (Java's client makes it by default: h2c) is declined by ignoring it, as HTTP allows; the parser
    would take the body for the other protocol's.
    """

    _heading = False
    _in_body = False
    _head = 0  # bytes of a head that did not end in the read that began it

    def data_received(self, data: bytes) -> None:
        """Parse, and count what a head that goes on has cost so far."""
        continued = self._heading
        if not self._in_body and (b"pgrade" in data or b"PGRADE" in data):
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"", head) + end + rest
        super().data_received(data)
        self._head = self._head + len(data) if continued and self._heading else 0
        if self._head > _LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's headers are too long.")

    def on_message_begin(self) -> None:
        """A head begins."""
        self._heading = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """And ends."""
        self._heading = False
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """A 400 in OpenAI's shape, with a request id, and the end of the connection."""
        body = errors.render(Failure(Kind.INVALID_REQUEST, msg))
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id()}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _Quiet(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when it is done."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the command."""
        yield
