"""Upstreams and clients that misbehave, over RabbitMQ with each role in its own process.

Each leaves a clear error in OpenAI's shape, a row with the right status, bounded memory, no open call, and a process
that serves the next request.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import pytest_asyncio

from tests.e2e import wire
from tests.e2e.conftest import configuration
from tests.e2e.stand import ONLY_THE_TEST, SEPARATE, Stand, standing
from tests.support import upstream as up
from tests.support.house import MASTER_KEY, Process
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ
from tests.support.upstream import Reply, Upstream, Wire

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.blocks_loop,  # megabytes are made and compared here
    ONLY_THE_TEST,
]
ASK = [{"role": "user", "content": "Say hello."}]
MIB = 2**20
T = TypeVar("T")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(
    rabbitmq: RabbitMQ, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stand]:
    folder = tmp_path_factory.mktemp("misbehaviour")
    async with Upstream() as upstream:
        config = configuration(upstream.url) | {
            "penstock": {
                "stream_comment_after": 0.5,
                "stream_gap": 0.5,
                "max_answer_bytes": 32 * MIB,
                "disconnect_grace": 0.1,
            }
        }
        async with standing(SEPARATE, config, upstream, folder, (rabbitmq, postgres)) as stand:
            yield stand


@pytest_asyncio.fixture(loop_scope="module")
async def stand(started: Stand) -> AsyncIterator[Stand]:
    """The system; whatever the test did to it, it serves the next call and nothing stays open."""
    started.upstream.requests.clear()
    yield started
    async with asyncio.timeout(10):
        await started.upstream.idle()
        started.upstream.script(up.raw(wire.ANSWER))
        assert (await ask(started)).content == wire.ANSWER


async def ask(stand: Stand, *, stream: bool = False, **fields: Any) -> httpx.Response:
    """One call, read to its end."""
    body = {"model": "gpt-4o", "messages": ASK, "stream": stream, **fields}
    async with asyncio.timeout(20):
        return await stand.http.post("/v1/chat/completions", json=body)


@asynccontextmanager
async def streaming(stand: Stand) -> AsyncIterator[AsyncIterator[bytes]]:
    """A stream whose 200 has come; its bytes as they arrive."""
    body = {"model": "gpt-4o", "messages": ASK, "stream": True}
    async with asyncio.timeout(10), stand.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        yield answer.aiter_raw()


def events(answer: httpx.Response) -> list[Any]:
    """The data of a stream's events."""
    found = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
    return [text if text == "[DONE]" else json.loads(text) for text in found]


def is_error(body: Any, code: str) -> None:
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["code"] == code
    assert "127.0.0.1" not in body["error"]["message"]


def pss(process: Process) -> int:
    """Bytes that the process holds, its part of what is shared included."""
    for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Pss")


async def growth(stand: Stand, work: Awaitable[T]) -> tuple[T, dict[str, int]]:
    """What the work gave, and by how many bytes API and worker were larger than before at any time."""
    watched = {name: stand.house.processes[name] for name in ("api0", "worker0")}
    before = {name: pss(process) for name, process in watched.items()}
    most = dict.fromkeys(watched, 0)

    async def look() -> None:
        while True:
            for name, process in watched.items():
                most[name] = max(most[name], pss(process) - before[name])
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        return await work, most
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


GARBLED, BROKEN = "provider_invalid_response", "provider_stream_interrupted"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reply", "status", "codes", "http_status"),
    [
        pytest.param(up.garbage(), 502, {GARBLED}, 0, id="garbage"),
        pytest.param(up.endless_header(), 502, {GARBLED}, 0, id="endless-header"),
        pytest.param(up.hang_up(), 502, {BROKEN}, 0, id="hang-up"),
        pytest.param(up.break_off([]), 502, {BROKEN}, 200, id="head-only"),
        pytest.param(up.html(502), 502, {"provider_error"}, 502, id="html-502"),
        pytest.param(up.html(200), 502, {GARBLED}, 200, id="html-200"),
        pytest.param(up.raw(b'{"id": "c", "choices": [', headers=JSON), 502, {GARBLED, BROKEN}, 200, id="half-json"),
        pytest.param(up.raw(b""), 502, {GARBLED, BROKEN}, 200, id="empty"),
        pytest.param(
            up.chunked([b"x" * 65536] * 64, "text/html", 500), 500, {"provider_error"}, 500, id="long-error-page"
        ),
        pytest.param(
            up.json({}, 302, {"location": "http://127.0.0.1:9/"}), 404, {"provider_not_found"}, 302, id="redirect"
        ),
    ],
)
async def test_what_comes_before_any_answer_is_a_status(
    stand: Stand, reply: Reply, status: int, codes: set[str], http_status: int, stream: bool
) -> None:
    stand.upstream.script(reply)
    answer = await ask(stand, stream=stream)
    assert answer.status_code == status, answer.text
    code = answer.json()["error"]["code"]
    assert code in codes
    is_error(answer.json(), code)
    row = await stand.row(answer.headers["x-request-id"])
    assert (row["outcome"], row["http_status"], row["failure"]) == ("failure", http_status, code)


async def test_an_answer_that_is_cut_short(stand: Stand) -> None:
    stand.upstream.script(up.short(wire.ANSWER))
    answer = await ask(stand)
    assert answer.status_code == 502
    is_error(answer.json(), BROKEN)
    row = await stand.row(answer.headers["x-request-id"])
    assert (row["failure"], row["estimated"]) == (BROKEN, True)


OVERLOADED = b'event: error\ndata: {"error":{"message":"overloaded","type":"overloaded_error"}}\n\n'


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        pytest.param(up.stall_after(wire.WORDS[:3]), "provider_timeout", id="stall"),
        pytest.param(up.break_off(wire.WORDS[:3]), BROKEN, id="break-off"),
        pytest.param(up.chunked([*wire.WORDS[:3], OVERLOADED]), "provider_overloaded", id="error-event"),
    ],
)
async def test_a_stream_that_goes_wrong_ends_with_an_error_event(stand: Stand, reply: Reply, code: str) -> None:
    stand.upstream.script(reply)
    answer = await ask(stand, stream=True)
    assert answer.status_code == 200
    *before, last = events(answer)
    assert [e["choices"][0]["delta"].get("content") for e in before] == ["", "Hel", "lo, wörld"]
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert b"[DONE]" not in answer.content
    row = await stand.row(answer.headers["x-request-id"])
    assert (row["outcome"], row["failure"], row["estimated"]) == ("failure", code, True)
    assert row["completion_tokens"] > 0


async def test_an_endless_line_is_given_up_in_bounded_memory(stand: Stand) -> None:
    stand.upstream.script(up.endless_line())
    answer, grown = await growth(stand, ask(stand, stream=True))
    assert answer.status_code == 502
    is_error(answer.json(), GARBLED)
    assert grown["worker0"] < 64 * MIB
    assert grown["api0"] < 16 * MIB
    row = await stand.row(answer.headers["x-request-id"])
    assert (row["outcome"], row["failure"]) == ("failure", GARBLED)


async def test_a_stall_before_the_first_byte_ends_at_the_deadline(stand: Stand) -> None:
    stand.upstream.script(up.stall())
    answer = await ask(stand, timeout=0.4)
    assert answer.status_code == 504
    row = await stand.row(answer.headers["x-request-id"])
    assert (row["outcome"], row["failure"]) == ("failure", "provider_timeout")
    answer = await ask(stand, stream=True, timeout=0.8)  # beyond the first comment: the 200 is out
    assert answer.status_code == 200
    assert events(answer)[-1]["error"]["type"] == "timeout_error"
    row = await stand.row(answer.headers["x-request-id"])
    assert (row["outcome"], row["failure"]) == ("failure", "provider_timeout")


@pytest.mark.parametrize("announced", [False, True])
async def test_an_answer_of_100_mb_is_refused_in_bounded_memory(stand: Stand, announced: bool) -> None:
    stand.upstream.script(up.huge(100 * MIB, announced=announced))
    answer, grown = await growth(stand, ask(stand))
    assert answer.status_code == 502
    is_error(answer.json(), "provider_response_too_large")
    assert grown["worker0"] < 64 * MIB
    assert grown["api0"] < 16 * MIB
    row = await stand.row(answer.headers["x-request-id"])
    assert (row["outcome"], row["failure"], row["estimated"]) == ("failure", "provider_response_too_large", True)


async def test_an_answer_of_20_mb_passes_whole(stand: Stand) -> None:
    body = b'{"choices":[{"message":{"content":"' + bytes(range(97, 122)) * (20 * MIB // 25) + b'"}}],'
    body += b'"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}}'
    stand.upstream.script(up.raw(body))
    answer = await ask(stand)
    assert answer.status_code == 200
    same = answer.content == body
    assert same, answer.content[-300:]
    row = await stand.row(answer.headers["x-request-id"])
    assert (row["outcome"], row["total_tokens"], row["estimated"]) == ("success", 29, False)


async def test_one_event_of_12_mb_passes_whole(stand: Stand) -> None:
    long = wire.event({"content": "x" * (12 * MIB)})
    stand.upstream.script(up.chunked([*wire.WORDS[:2], long, *wire.WORDS[2:], wire.USAGE_EVENT, wire.DONE]))
    answer = await ask(stand, stream=True)
    whole = b"".join([*wire.WORDS[:2], long, *wire.WORDS[2:], wire.DONE])
    same = answer.content == whole  # megabytes must not be explained to the reader of a failure
    assert same, answer.content[-300:]


@asynccontextmanager
async def silent_client(stand: Stand, **fields: Any) -> AsyncIterator[socket.socket]:
    """A client that has sent its request and reads nothing."""
    url = httpx.URL(stand.house.base)
    body = json.dumps({"model": "gpt-4o", "messages": ASK, "stream": True, **fields}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {MASTER_KEY}\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (url.host, url.port))
        await loop.sock_sendall(client, f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        yield client


async def rest(client: socket.socket) -> bytes:
    """What the server still had for this client, to the end of the answer or of the connection."""
    loop, parts = asyncio.get_running_loop(), [b""]
    while not parts[-1].endswith(b"0\r\n\r\n") and (data := await loop.sock_recv(client, 65536)):
        parts.append(data)
    return b"".join(parts)


async def row_of(stand: Stand, end_user: str) -> dict[str, Any]:
    """The one row of somebody whose request has no known id."""
    async with asyncio.timeout(10):
        while True:
            rows = (await stand.http.get("/spend/logs")).json()
            mine: list[dict[str, Any]] = [row for row in rows if row["end_user"] == end_user]
            if mine:
                assert len(mine) == 1
                return mine[0]
            await asyncio.sleep(0.05)


async def test_a_client_that_does_not_read_is_bounded_and_its_call_ended(stand: Stand) -> None:
    stand.upstream.script(up.endless_line(wire.event({"content": "x" * 50_000})))
    gone = stand.upstream.left
    async with silent_client(stand, user="does-not-read") as client:

        async def ended() -> bytes:
            async with asyncio.timeout(15):
                await stand.upstream.disconnected(gone + 1)
                return await rest(client)

        said, grown = await growth(stand, ended())
    assert b"client_too_slow" in said[-1000:]
    assert max(grown.values()) < 48 * MIB
    row = await row_of(stand, "does-not-read")
    assert (row["outcome"], row["estimated"]) == ("cancelled", True)
    assert row["completion_tokens"] > 10_000


async def test_a_client_that_reads_slowly_but_steadily_gets_everything(stand: Stand) -> None:
    """Backlog below the bound is waiting, not failure."""
    words = [wire.event({"content": "x" * 50_000})] * 60
    stand.upstream.script(up.chunked([*words, *wire.WORDS[2:], wire.DONE]))
    async with silent_client(stand, user="reads-slowly") as client:
        row = await row_of(stand, "reads-slowly")  # the call is over, and 3 MB wait for this client
        async with asyncio.timeout(15):
            said = await rest(client)
    assert row["outcome"] == "success"
    assert said.count(b"x" * 50_000) == 60
    assert b"[DONE]" in said[-100:]


async def test_the_first_chunk_waits_for_nothing(stand: Stand) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    stand.upstream.script(up.chunked([wire.WORDS[0], gates[0], wire.WORDS[1], gates[1], *wire.WORDS[2:], wire.DONE]))
    async with streaming(stand) as parts:
        assert await anext(parts) == wire.WORDS[0]
        gates[0].set()
        assert await anext(parts) == wire.WORDS[1]
        gates[1].set()
        assert b"".join([part async for part in parts]) == b"".join(wire.WORDS[2:]) + wire.DONE


async def test_comments_while_a_stream_waits(stand: Stand) -> None:
    gate = asyncio.Event()
    stand.upstream.script(up.chunked([b": OPENROUTER PROCESSING\n\n", gate, *wire.WORDS, wire.DONE]))
    async with streaming(stand) as parts:
        assert await anext(parts) == b": waiting\n\n"
        gate.set()
        left = b"".join([part async for part in parts])
    assert left.replace(b": waiting\n\n", b"") == b"".join(wire.WORDS) + wire.DONE


async def test_a_refusal_is_a_status_before_the_comments_and_an_event_after(stand: Stand) -> None:
    gate = asyncio.Event()
    refusal = up.json(wire.error("Busy.", "server_error", "engine_overloaded"), 503, {"retry-after": "7"})

    async def late(to: Wire) -> None:
        await to.wait(gate)
        await refusal(to)

    stand.upstream.script(refusal, late)
    answer = await ask(stand, stream=True)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    async with streaming(stand) as parts:
        assert await anext(parts) == b": waiting\n\n"
        gate.set()
        left = b"".join([part async for part in parts])
    is_error(json.loads(left.split(b"data: ")[-1]), "engine_overloaded")
