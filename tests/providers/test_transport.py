import asyncio
import socket
import ssl
from collections.abc import AsyncIterator

import pytest

from schemas.failures import Kind, Refused
from tests.support import upstream as up
from tests.support.upstream import Upstream
from workers.providers.port import Call, Script
from workers.transport import Transport


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    found = Transport(connect_timeout=5)
    yield found
    await found.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as found:
        yield found


def call(upstream: Upstream, body: bytes = b"{}") -> Call:
    return Call(upstream.url + "/v1/chat/completions", {"Authorization": "Bearer sk-secret", "X-Own": "1"}, body)


async def whole(transport: Transport, upstream: Upstream, limit: int = 2**20) -> bytes:
    response = await transport.open(call(upstream))
    try:
        return await response.read(limit)
    finally:
        response.close()


async def refusal(transport: Transport, upstream: Upstream, limit: int = 2**20) -> Kind:
    with pytest.raises(Refused) as raised:
        await whole(transport, upstream, limit)
    assert "secret" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)
    return raised.value.failure.kind


async def test_a_call_arrives_and_its_answer_comes_back(transport: Transport, upstream: Upstream) -> None:
    upstream.script(up.json({"a": 1}, 201, {"X-Request-Id": "r1"}))
    response = await transport.open(call(upstream, b'{"q":2}'))
    assert (response.status, response.headers["x-request-id"]) == (201, "r1")
    assert await response.read(100) == b'{"a":1}'
    asked = upstream.requests[0]
    assert (asked.method, asked.path, asked.json()) == ("POST", "/v1/chat/completions", {"q": 2})
    assert asked.headers["authorization"] == "Bearer sk-secret"
    assert not {"cookie", "user-agent"} & asked.headers.keys()


async def test_connections_are_kept_and_cookies_are_not(transport: Transport, upstream: Upstream) -> None:
    upstream.script(up.json({}, headers={"Set-Cookie": "a=b"}))
    for _ in range(3):
        await whole(transport, upstream)
    assert upstream.connections == 1
    assert "cookie" not in upstream.requests[2].headers


async def test_a_kept_connection_that_was_closed_is_replaced_once(transport: Transport, upstream: Upstream) -> None:
    """The first answer does not announce the close: the second call finds a dead connection."""
    upstream.script(up.json({"n": 1}), up.hang_up(), up.json({"n": 3}))
    await whole(transport, upstream)
    assert await whole(transport, upstream) == b'{"n":3}'
    assert len(upstream.requests) == 3


async def test_a_fresh_connection_is_not_tried_again(transport: Transport, upstream: Upstream) -> None:
    upstream.script(up.hang_up())
    assert await refusal(transport, upstream) is Kind.PROVIDER_BROKE_OFF
    assert len(upstream.requests) == 1


async def test_a_second_hang_up_is_the_end(transport: Transport, upstream: Upstream) -> None:
    upstream.script(up.json({}), up.hang_up())
    await whole(transport, upstream)
    assert await refusal(transport, upstream) is Kind.PROVIDER_BROKE_OFF
    assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (up.garbage(), Kind.PROVIDER_GARBLED),
        (up.garbage(b"HTTP/1.1 two hundred OK\r\n\r\n"), Kind.PROVIDER_GARBLED),
        (up.endless_header(), Kind.PROVIDER_GARBLED),
        (up.short(b'{"a":'), Kind.PROVIDER_BROKE_OFF),
        (up.break_off([b"data: {}\n\n"]), Kind.PROVIDER_BROKE_OFF),
        (up.huge(2**23), Kind.ANSWER_TOO_LARGE),
        (up.huge(2**23, announced=True), Kind.ANSWER_TOO_LARGE),
    ],
    ids=["garbage", "status", "endless-header", "short", "break-off", "huge", "huge-announced"],
)
async def test_misbehaviour_is_named(transport: Transport, upstream: Upstream, reply: up.Reply, kind: Kind) -> None:
    upstream.script(reply)
    assert await refusal(transport, upstream) is kind
    await upstream.idle()


async def test_nobody_listens(transport: Transport) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with pytest.raises(Refused) as raised:
            await transport.open(Call(url, {}, b"{}"))
    assert raised.value.failure.kind is Kind.PROVIDER_UNREACHABLE


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/v1", "http://[broken/v1", "ftp://127.0.0.1/", "nonsense"])
async def test_an_address_that_leads_nowhere(transport: Transport, url: str) -> None:
    with pytest.raises(Refused) as raised:
        await transport.open(Call(url, {}, b"{}"))
    assert raised.value.failure.kind is Kind.PROVIDER_UNREACHABLE


async def test_tls_that_is_none(transport: Transport, upstream: Upstream) -> None:
    upstream.script(up.json({}))
    with pytest.raises(Refused) as raised:
        await transport.open(Call(upstream.url.replace("http:", "https:"), {}, b"{}"))
    assert raised.value.failure.kind is Kind.PROVIDER_UNREACHABLE
    assert ssl.HAS_TLSv1_2


async def test_a_redirect_is_an_answer(transport: Transport, upstream: Upstream) -> None:
    upstream.script(up.raw(b"", 307, {"Location": upstream.url + "/elsewhere"}))
    response = await transport.open(call(upstream))
    assert response.status == 307
    response.close()
    assert len(upstream.requests) == 1


async def test_closing_early_ends_the_upstream_call(transport: Transport, upstream: Upstream) -> None:
    upstream.script(up.stall_after([b"data: 1\n\n"]))
    response = await transport.open(call(upstream))
    async for data in response.chunks():
        assert data == b"data: 1\n\n"
        break
    response.close()
    await upstream.disconnected(1)


async def test_cancelling_while_waiting_ends_the_upstream_call(transport: Transport, upstream: Upstream) -> None:
    upstream.script(up.stall())
    task = asyncio.create_task(transport.open(call(upstream)))
    await upstream.received(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.disconnected(1)


async def test_chunks_come_as_they_come(transport: Transport, upstream: Upstream) -> None:
    gate = asyncio.Event()
    upstream.script(up.chunked([b"one", gate, b"two"]))
    response = await transport.open(call(upstream))
    found = []
    async for data in response.chunks():
        found.append(data)
        gate.set()
    assert found == [b"one", b"two"]


async def test_a_script_needs_no_network(transport: Transport) -> None:
    response = await transport.open(Script((b"a", b"b"), status=201, headers={"X-Y": "z"}))
    assert (response.status, response.headers) == (201, {"x-y": "z"})
    assert await response.read(10) == b"ab"
    response = await transport.open(Script((b"abc",)))
    with pytest.raises(Refused) as raised:
        await response.read(2)
    assert raised.value.failure.kind is Kind.ANSWER_TOO_LARGE
