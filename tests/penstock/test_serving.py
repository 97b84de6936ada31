"""The HTTP server below every role: what is not HTTP, an address that cannot be had."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock.serving import HttpServer


async def _app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no request should get here")


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    found = HttpServer(_app, "127.0.0.1", 0, drain=1)
    await found.start()
    yield found
    await found.stop()


@pytest.mark.parametrize(
    "sent",
    [
        b"no HTTP at all\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nx-one: a\x01b\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_an_error_like_any_other(server: HttpServer, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(sent)
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    assert lines[0] == "HTTP/1.1 400 Bad Request"
    assert headers["x-request-id"].startswith("req_")
    assert headers["content-type"] == "application/json"
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


async def test_a_head_without_end_is_cut_off(server: HttpServer) -> None:
    _, writer = await asyncio.open_connection(server.host, server.port)

    async def send() -> None:
        for _ in range(64):
            writer.write(b"x" * 2**20)
            await writer.drain()

    writer.write(b"GET / HTTP/1.1\r\nx-long: ")
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionError):
            await send()
    writer.close()


async def test_an_address_that_is_taken_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"):
            await HttpServer(_app, "127.0.0.1", port, drain=1).start()


@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade", b"UPGRADE"])
@pytest.mark.parametrize("parts", [1, 2])
async def test_an_offer_to_upgrade_is_ignored(name: bytes, parts: int) -> None:
    got: list[tuple[list[bytes], bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.append(([header for header, _ in scope["headers"]], (await receive())["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    server = HttpServer(app, "127.0.0.1", 0, drain=1)
    await server.start()
    head = (
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n%b: h2c\r\nContent-Length: 9\r\n\r\n"
        % name
    )
    body = b'{"a": 12}'
    reader, writer = await asyncio.open_connection(server.host, server.port)
    for _ in range(2):  # the connection stays as it was
        for part in (head + body,) if parts == 1 else (head, body):
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()
    await server.stop()
    assert [body for _, body in got] == [body, body]
    assert all(b"content-length" in headers and b"upgrade" not in headers for headers, _ in got)
