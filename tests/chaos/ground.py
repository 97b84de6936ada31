"""What the tests here share: an upstream that counts and waits, callers that judge answers, the ledger's audit."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests.support.house import House, separate
from tests.support.upstream import Upstream, Wire

CHUNKS = 5
PROMPT, COMPLETION = 7, 11  # what the upstream says of every call


async def until(check: Callable[[], Awaitable[bool]], within: float = 20) -> None:
    """For what nobody tells us: look again until it is so. Raises `TimeoutError`."""
    async with asyncio.timeout(within):
        while True:
            if await check():
                return
            await asyncio.sleep(0.03)


class Provider:
    """An upstream in OpenAI's dialect. The last message's first word says how a call goes; each answer has its number.

    `go` answers at once; `hold` waits at the gate before the first byte; `early` streams two chunks and then waits.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.gate = asyncio.Event()
        self.begun = 0
        self.held = asyncio.Semaphore(0)  # one for each call that came to the gate
        upstream.script(self._reply)

    def close_gate(self) -> None:
        """From now on calls wait again."""
        self.gate.clear()
        self.held = asyncio.Semaphore(0)

    async def holds(self, count: int) -> None:
        """Wait until so many more calls have come to the gate."""
        async with asyncio.timeout(20):
            for _ in range(count):
                await self.held.acquire()

    async def _reply(self, wire: Wire) -> None:
        self.begun += 1
        number = self.begun
        asked = wire.request.json()
        how = asked["messages"][-1]["content"].split()[0]
        if how == "hold":
            await self._wait(wire)
        if asked.get("stream"):
            await self._stream(wire, number, early=how == "early")
        else:
            await _write(wire, "application/json", json.dumps(_answer(f"{number}")).encode())

    async def _stream(self, wire: Wire, number: int, *, early: bool) -> None:
        await wire.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for at in range(CHUNKS):
            if early and at == 2:
                await self._wait(wire)
            await _chunk(wire, _event({"choices": [{"index": 0, "delta": {"content": f"{number}:{at} "}}]}))
        await _chunk(wire, _event({"choices": [], "usage": _usage()}) + b"data: [DONE]\n\n")
        await wire.write(b"0\r\n\r\n")

    async def _wait(self, wire: Wire) -> None:
        self.held.release()
        if not self.gate.is_set():
            await wire.wait(self.gate)


@dataclass
class Outcome:
    """What a caller got. `call` is the number of the upstream call that answered."""

    status: int = 0  # 0: the connection broke
    call: int = 0
    kind: str = ""  # the error's code
    retry_after: int = 0
    complete: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def clear(self) -> bool:
        """A whole answer, or an error that says what it is."""
        return self.complete or bool(self.kind)


class Caller:
    """A client of one API process."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.first_bytes = asyncio.Semaphore(0)  # one for each stream that has begun

    async def ask(self, words: str, *, stream: bool = False) -> Outcome:
        """One call; an answer that is neither whole nor a clear error, or that mixes two, is an `AssertionError`."""
        body = {"model": "m", "messages": [{"role": "user", "content": words}], "stream": stream}
        try:
            async with self.http.stream("POST", "/v1/chat/completions", json=body) as response:
                outcome = Outcome(response.status_code, headers=response.headers)
                outcome.retry_after = int(response.headers.get("retry-after", "0"))
                if stream and response.status_code == 200:
                    await self._read_stream(response, outcome)
                else:
                    _read_whole(json.loads(await response.aread()), outcome)
        except httpx.TransportError as error:
            if isinstance(error, httpx.TimeoutException):
                raise
            return Outcome()
        assert outcome.clear, outcome
        return outcome

    async def many(self, count: int, words: str, *, stream: bool = False) -> list[Outcome]:
        """So many at once."""
        return await asyncio.gather(*(self.ask(f"{words} {i}", stream=stream) for i in range(count)))

    async def until_served(self, within: float = 25) -> Outcome:
        """Ask again and again until it works."""
        async with asyncio.timeout(within):
            while (outcome := await self.ask("go")).status != 200:
                assert outcome.status in (0, 503), outcome
                await asyncio.sleep(0.1)
        return outcome

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """The readiness route's word."""
        response = await self.http.get("/health/readiness")
        return response.status_code, response.json()

    async def until_ready(self, status: int, within: float = 20) -> dict[str, Any]:
        """Until readiness has that status."""
        found: dict[str, Any] = {}

        async def seen() -> bool:
            nonlocal found
            now, found = await self.ready()
            return now == status

        await until(seen, within)
        return found

    async def _read_stream(self, response: httpx.Response, outcome: Outcome) -> None:
        text, done = "", False
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            ended = done or bool(outcome.kind)
            assert not ended, f"after its end: {line}"
            if line == "data: [DONE]":
                done = True
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                outcome.kind = event["error"]["code"]
            elif event["choices"]:
                if not text:
                    self.first_bytes.release()
                text += event["choices"][0]["delta"]["content"]
        words = [word.split(":") for word in text.split()]
        assert len({number for number, _ in words}) <= 1, f"two attempts in one answer: {text}"
        assert [int(at) for _, at in words] == list(range(len(words))), f"a chunk is missing: {text}"
        outcome.call = int(words[0][0]) if words else 0
        outcome.complete = done and len(words) == CHUNKS


class Ledger:
    """The spend rows, read past Penstock."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def reconnect(self, url: str) -> None:
        """After a restart."""
        self._connection.terminate()
        self._connection = await asyncpg.connect(url)

    def close(self) -> None:
        """Leave."""
        self._connection.terminate()

    async def rows(self) -> list[dict[str, Any]]:
        """All of them."""
        return [dict(row) for row in await self._connection.fetch("SELECT * FROM spend_logs ORDER BY started")]

    async def any(self) -> bool:
        """Whether there are rows."""
        return bool(await self.rows())

    async def none_lost(self) -> bool:
        """Whether every attempt's own event has come."""
        return not any(row["lost"] for row in await self.rows())

    async def until(self, count: int, within: float = 20) -> list[dict[str, Any]]:
        """The rows once there are so many; fewer in time, or more, is an `AssertionError`."""
        found: list[dict[str, Any]] = []

        async def there() -> bool:
            nonlocal found
            found = await self.rows()
            return len(found) >= count

        with contextlib.suppress(TimeoutError):
            await until(there, within)
        assert len(found) == count, [(row["status"], row["failure"], row["worker"], row["request"]) for row in found]
        return found

    async def audit(self, provider: Provider, caller: Caller) -> list[dict[str, Any]]:
        """Every call that the upstream saw begin has its one row, and the sums are those of the rows.

        One more call goes through first: its row comes after all that was on its way before.
        """
        await caller.until_served()
        rows = await self.until(provider.begun)
        assert await self.sums_agree()
        return rows

    async def sums_agree(self) -> bool:
        """Whether the daily sums are those of the rows."""
        fields = "prompt), sum(completion), coalesce(sum({}), 0)"
        of_rows = await self._connection.fetchrow(f"SELECT count(*), sum({fields.format('cost')} FROM spend_logs")
        sums = await self._connection.fetchrow(
            f"SELECT sum(requests), sum({fields.format('spend')} FROM daily_spend WHERE dimension = 'all'"
        )
        return tuple(sums or ()) == tuple(of_rows or ())


@dataclass
class Ground:
    """A running Penstock with its upstream, and everybody who watches it."""

    house: House
    provider: Provider
    ledger: Ledger
    callers: list[Caller]

    @property
    def caller(self) -> Caller:
        return self.callers[0]

    @asynccontextmanager
    async def at(self, api: str) -> AsyncIterator[Caller]:
        """A client of another API process."""
        async with self.house.client(base=self.house.processes[api].base, **UNBOUNDED) as http:
            yield Caller(http)


UNBOUNDED: dict[str, Any] = {"limits": httpx.Limits(max_connections=None, max_keepalive_connections=None)}


@asynccontextmanager
async def ground(
    folder: Path, amqp_url: str, database_url: str, *, workers: int = 1, apis: int = 1, slots: int = 256, **environ: str
) -> AsyncIterator[Ground]:
    """All roles as processes, one model group `m` with one deployment of so many slots in each worker process."""
    async with Upstream() as upstream:
        provider = Provider(upstream)
        config = {
            "model_list": [
                {
                    "model_name": "m",
                    "litellm_params": {
                        "model": "openai/scripted",
                        "api_base": f"{upstream.url}/v1",
                        "api_key": "sk-none",
                        "max_parallel_requests": slots,
                        "input_cost_per_token": 0.001,
                        "output_cost_per_token": 0.002,
                    },
                }
            ]
        }
        settings = {"AMQP_URL": amqp_url, "DATABASE_URL": database_url, "PENSTOCK_BEAT_EVERY": "0.5", **environ}
        async with separate(config, folder, workers=workers, apis=apis, **settings) as house:
            ledger = Ledger(await asyncpg.connect(database_url))
            https = [house.client(base=house.processes[f"api{i}"].base, **UNBOUNDED) for i in range(apis)]
            try:
                yield Ground(house, provider, ledger, [Caller(http) for http in https])
            finally:
                provider.gate.set()
                ledger.close()
                await asyncio.gather(*(http.aclose() for http in https))


def _read_whole(answer: dict[str, Any], outcome: Outcome) -> None:
    if outcome.status == 200:
        outcome.call, outcome.complete = int(answer["choices"][0]["message"]["content"]), True
    else:
        assert answer["error"].keys() >= {"message", "type", "param", "code"}
        outcome.kind = answer["error"]["code"]


def _usage() -> dict[str, int]:
    return {"prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "total_tokens": PROMPT + COMPLETION}


def _answer(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": _usage()}


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


async def _write(wire: Wire, kind: str, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    await wire.write(head.encode() + body)


async def _chunk(wire: Wire, data: bytes) -> None:
    await wire.write(b"%x\r\n%b\r\n" % (len(data), data))
