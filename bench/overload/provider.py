"""A provider that keeps to its limits: OpenAI-shaped chat completions, truthful headers, refusals, failures on demand.

    python -m bench.overload.provider --port 9100 --deployment a=60 --deployment b=6:12 --median 1 --sigma 0.5 --seed 1

`NAME=RATE[:CAPACITY]` is a deployment at `/NAME/v1` with calls per second and how many at once (a second's worth).

    GET /_set?deployment=a&fail=20            every call fails with a 500 for so many seconds from now
    GET /_set?deployment=a&rate=30&capacity=5 another limit, which has seen no call yet
    GET /_set?median=0.2&sigma=0              another latency: lognormal, seconds
    GET /_stats[?log=1]                       what was done, by deployment; with all times (of CLOCK_MONOTONIC)

A call is counted, and its headers are made, when it has arrived; its answer comes after the latency. Refusals and
failures are answered at once, and failures are not counted against the limit.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import httptools
import msgspec
import uvloop

from bench.overload.deployment import Deployment, Latency
from bench.overload.limit import RateLimit

_REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 429: b"Too Many Requests", 500: b"Server Error"}
_USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
_OF_ALL, _OF_ONE = {"median", "sigma"}, {"deployment", "rate", "capacity", "fail"}
_WORDS = ("One ", "two ", "three ", "four ", "five.")


class Asked(msgspec.Struct):
    """What of a call's body is read."""

    model: str = ""
    stream: bool = False
    stream_options: dict[str, Any] | None = None


class Provider:
    """All deployments, their latency, and how they are controlled."""

    def __init__(self, deployments: Mapping[str, Deployment], latency: Latency, clock: Callable[[], float]) -> None:
        self.deployments = deployments
        self.latency = latency
        self.clock = clock

    def control(self, url: str) -> tuple[int, Any]:
        """The status and JSON answer to a GET."""
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query))
        try:
            if parts.path == "/_set":
                self._set(given)
                return 200, {"now": self.clock()}
            if parts.path == "/_stats":
                return 200, self._stats("log" in given)
        except (KeyError, ValueError) as problem:
            return 400, {"error": f"{type(problem).__name__}: {problem}"}
        return 404, {"error": f"nothing at {parts.path}"}

    def _set(self, given: dict[str, str]) -> None:
        known = _OF_ALL | (_OF_ONE if "deployment" in given else set())
        if unknown := given.keys() - known:
            raise ValueError(f"not understood: {', '.join(sorted(unknown))}")
        if "capacity" in given and "rate" not in given:
            raise ValueError("a capacity without a rate")
        numbers = {name: float(value) for name, value in given.items() if name != "deployment"}
        if "deployment" in given:
            deployment, now = self.deployments[given["deployment"]], self.clock()
            if "rate" in numbers:
                deployment.limit = RateLimit(numbers["rate"], numbers.get("capacity"), now)
            deployment.failing_until = now + numbers["fail"] if "fail" in numbers else deployment.failing_until
        self.latency.median = numbers.get("median", self.latency.median)
        self.latency.sigma = numbers.get("sigma", self.latency.sigma)

    def _stats(self, log: bool) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "now": self.clock(),
            "cpu_s": used.ru_utime + used.ru_stime,
            "deployments": {name: one.stats(log) for name, one in self.deployments.items()},
        }


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, one request at a time."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._body = b""
        self._under_way: tuple[asyncio.TimerHandle, Deployment] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._under_way is not None:
            timer, deployment = self._under_way
            timer.cancel()
            deployment.aborted += 1
            deployment.ended.append(self._provider.clock())

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._close()

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._under_way is not None:
            self._close()  # pipelined: nobody who calls us does that
        elif self._parser.get_method() == b"GET":
            status, told = self._provider.control(self._url.decode("latin-1"))
            self._write(status, b"", json.dumps(told).encode())
        else:
            self._call()

    def _call(self) -> None:
        deployment = self._provider.deployments.get(self._url.decode("latin-1").strip("/").partition("/")[0])
        if deployment is None:
            return self._write(404, b"", _error("no such deployment", "not_found"))
        try:
            asked = msgspec.json.decode(self._body, type=Asked)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            return self._write(400, b"", _error(str(problem), "invalid_request"))
        verdict = deployment.call(self._provider.clock())
        if verdict.status == 429:
            return self._write(429, verdict.headers, _error("Rate limit reached for requests", "rate_limit_exceeded"))
        if verdict.status == 500:
            return self._write(500, verdict.headers, _error("The server had an error", "server_error"))
        latency = self._provider.latency.draw()
        timer = asyncio.get_running_loop().call_later(latency, self._answer, asked, verdict.headers)
        self._under_way = timer, deployment
        return None

    def _answer(self, asked: Asked, headers: bytes) -> None:
        assert self._under_way is not None
        deployment, self._under_way = self._under_way[1], None
        deployment.ended.append(self._provider.clock())
        if asked.stream:
            self._send(_head(200, headers + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"))
            with_usage = bool((asked.stream_options or {}).get("include_usage"))
            self._send(b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in _events(asked.model, with_usage)))
            self._send(b"0\r\n\r\n")
        else:
            self._write(200, headers, _completion(asked.model))

    def _write(self, status: int, headers: bytes, body: bytes) -> None:
        lines = headers + b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        self._send(_head(status, lines) + body)
        if not self._parser.should_keep_alive():
            self._close()

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _head(status: int, lines: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, _REASONS[status], lines)


def _error(message: str, code: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": code, "param": None, "code": code}}).encode()


def _completion(model: str) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(_WORDS)},
        "logprobs": None,
        "finish_reason": "stop",
    }
    return msgspec.json.encode(_object("chat.completion", model) | {"choices": [choice], "usage": _USAGE})


def _events(model: str, with_usage: bool) -> list[bytes]:
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": word}, None) for word in _WORDS]
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in [*deltas, ({}, "stop")]
    ]
    if with_usage:
        chunks.append({"choices": [], "usage": _USAGE})
    base = _object("chat.completion.chunk", model)
    return [*(b"data: %b\n\n" % msgspec.json.encode(base | chunk) for chunk in chunks), b"data: [DONE]\n\n"]


def _object(kind: str, model: str) -> dict[str, Any]:
    return {"id": "chatcmpl-bench", "object": kind, "created": 1_700_000_000, "model": model}


def arguments(given: list[str]) -> argparse.Namespace:
    """The command line. `deployment` becomes pairs of a name and a `Deployment`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--deployment", type=_deployment, action="append", required=True, metavar="NAME=RATE[:CAPACITY]"
    )
    parser.add_argument("--median", type=float, default=1.0)
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(given)


def _deployment(text: str) -> tuple[str, Deployment]:
    name, _, limit = text.partition("=")
    rate, _, capacity = limit.partition(":")
    return name, Deployment(RateLimit(float(rate), float(capacity) if capacity else None, time.monotonic()))


async def serve(provider: Provider, port: int) -> asyncio.Server:
    """Listen on 127.0.0.1; port 0 takes a free one."""
    return await asyncio.get_running_loop().create_server(lambda: Connection(provider), "127.0.0.1", port, backlog=1024)


async def _main(given: argparse.Namespace) -> None:
    latency = Latency(given.median, given.sigma, given.seed)
    server = await serve(Provider(dict(given.deployment), latency, time.monotonic), given.port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(arguments(sys.argv[1:])))
