"""The models of an Ollama that answers, and nothing when none does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from penstock.discovery import address, tags, with_ollama
from schemas.catalog import Catalog
from schemas.config import Config, Deployment


@asynccontextmanager
async def _server(answer: bytes | None) -> AsyncIterator[str]:
    """Answers every request with these bytes; with None it reads and says nothing."""
    release, handlers = asyncio.Event(), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /api/tags ")
        if answer is None:
            await release.wait()
        else:
            writer.write(answer)
        writer.close()
        with suppress(ConnectionError):  # the asker may have had enough
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        release.set()
        server.close()
        await asyncio.gather(*handlers)
        await server.wait_closed()


def _http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


TAGS = json.dumps({"models": [{"name": "llama3.1:latest"}, {"name": "qwen:7b"}, {"name": 5}, "x", {}]}).encode()


async def test_each_model_is_a_group_under_both_names():
    taken = Config(deployments=(Deployment(id="d", group="qwen:7b", provider="demo", model="demo"),))
    async with _server(_http(TAGS)) as base:
        config = await with_ollama(taken, {"OLLAMA_API_BASE": base + "/"}, patience=30)
    assert Catalog(config).listing() == (
        "qwen:7b",
        "llama3.1",
        "llama3.1:latest",
        "ollama/llama3.1",
        "ollama/llama3.1:latest",
        "ollama/qwen:7b",
    )
    added = config.deployments[1:]
    assert {(d.provider, d.api_base) for d in added} == {("ollama", base)}
    assert [d.model for d in added] == ["llama3.1:latest"] * 4 + ["qwen:7b"]
    assert len({d.id for d in config.deployments}) == len(config.deployments)
    assert {d.price.input for d in added} == {0}
    assert config.deployments[0].provider == "demo"


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"",
        _http(b"<html>"),
        _http(b"[]"),
        _http(b'{"models": {}}'),
        _http(b"\xff\xfe{"),
        _http(TAGS, "500 No"),
        _http(b"", "302 Found"),
        _http(b" " * 3 * 2**20),
    ],
)
async def test_whatever_else_answers_is_no_ollama(answer):
    config = Config()
    async with _server(answer) as base:
        assert await with_ollama(config, {"OLLAMA_API_BASE": base}) is config


async def test_who_says_nothing_does_not_hold_up_the_start():
    async with _server(None) as base, asyncio.timeout(30):
        assert await tags(base, patience=0.1) == ()


async def test_nobody_there():
    async with _server(b"") as base:
        pass
    assert await tags(base) == ()


@pytest.mark.parametrize("base", ["http://[", "http://", "http://host:port", "gopher://x", "http://no.invalid"])
async def test_an_address_that_is_none(base):
    assert await tags(base) == ()


def test_the_address():
    assert address({}) == "http://localhost:11434"
    assert address({"OLLAMA_API_BASE": ""}) == "http://localhost:11434"
    assert address({"OLLAMA_API_BASE": " https://gpu:1/ "}) == "https://gpu:1"
    assert address({"OLLAMA_API_BASE": "gpu:11434"}) == "http://gpu:11434"
