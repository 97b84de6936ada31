"""What a process keeps when it has to stop at a bad moment, and what it says to those whom it cannot wait for."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.house import MASTER_KEY, House, serving
from tests.support.postgres import private_postgres
from tests.support.upstream import Upstream, stall, stall_after

CONFIG = {"model_list": [{"model_name": "demo", "litellm_params": {"model": "demo/demo"}}]}
BODY = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}


async def test_serve_without_rabbitmq_keeps_rows_that_postgres_could_not_take(tmp_path: Path) -> None:
    with private_postgres() as server:
        url = server.postgres.url()
        async with serving(CONFIG, tmp_path, DATABASE_URL=url) as house, house.client() as client:
            server.stop()
            for _ in range(3):
                assert (await client.post("/v1/chat/completions", json=BODY)).status_code == 200
        server.start()
        async with serving(CONFIG, tmp_path, DATABASE_URL=url) as house:
            assert {row["status"] for row in await house.rows(3)} == {"success"}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as found:
        yield found


@pytest.fixture
def stalled(upstream: Upstream) -> dict[str, object]:
    """A model whose provider answers nothing, and one whose provider stops in the middle."""
    upstream.script(stall(), stall_after([b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n']))
    params = {"model": "openai/m", "api_key": "sk-provider", "api_base": f"{upstream.url}/v1"}
    return {"model_list": [{"model_name": "m", "litellm_params": params}]}


async def test_whoever_still_waits_when_the_drain_is_over_is_told(
    upstream: Upstream, stalled: dict[str, object], database_url: str, tmp_path: Path
) -> None:
    async with serving(stalled, tmp_path, DATABASE_URL=database_url, PENSTOCK_DRAIN="1") as house:
        body = {**BODY, "model": "m"}
        async with house.client() as client:
            whole = asyncio.create_task(client.post("/v1/chat/completions", json=body))
            await upstream.received(1)
            async with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as streamed:
                lines = streamed.aiter_lines()
                await anext(lines)
                reader, writer = await _half_a_request(house)
                stopping = asyncio.create_task(house.processes["serve"].stop())
                last = [line async for line in lines if line][-1]
            answer = await whole
            unread, _, said = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            assert await stopping == 0
    assert answer.status_code == 503
    assert answer.headers["x-request-id"]
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["error"]["code"] == "shutting_down"
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert b" 503 " in unread.splitlines()[0]
    assert json.loads(said)["error"]["code"] == "shutting_down"
    assert "Traceback" not in house.processes["serve"].output()


async def _half_a_request(house: House) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = httpx.URL(house.base)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nx-api-key: {MASTER_KEY}\r\nexpect: 100-continue\r\n"
    writer.write(f"{head}content-length: 100\r\n\r\n".encode())
    await reader.readuntil(b" 100 Continue\r\n\r\n")  # it waits for the body
    return reader, writer
