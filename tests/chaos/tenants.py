"""What the tests of budgets and limits share: an upstream that says what calls used, clients that spend, the audit.

`bench/tenants` measures with the same parts.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx

from tests.chaos.ground import UNBOUNDED, until
from tests.support.house import House, separate
from tests.support.upstream import Upstream, Wire

MOST = 1000  # completion tokens of a call; just below the end of one of the estimator's buckets
INPUT, OUTPUT = Decimal("0.0000001"), Decimal("0.000008")  # US dollars a token
DEAREST = MOST * OUTPUT + 1000 * INPUT
"""US dollars: no call costs more, and so no estimate is wrong by more."""
LEASE, TIMEOUT, LAG = 2.0, 4.0, 6.0  # seconds: what was leased by a process that died is free after their sum
_PAUSE = 0.05  # seconds before a client comes again that found no server


class Provider:
    """An upstream whose calls use 1 to 100 % of `max_tokens`, or of `MOST`; by seed. `times`: when each has begun."""

    def __init__(self, upstream: Upstream, seed: int) -> None:
        self._chance = random.Random(seed)
        self._clock = asyncio.get_running_loop().time
        self.times: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        upstream.script(self._reply)

    async def _reply(self, wire: Wire) -> None:
        self.times.append(self._clock())
        most = wire.request.json().get("max_tokens", MOST)
        completion = max(1, most * self._chance.randint(1, 100) // 100)
        if not self.gate.is_set():
            await wire.wait(self.gate)
        usage = {"prompt_tokens": 10, "completion_tokens": completion, "total_tokens": 10 + completion}
        message = {"role": "assistant", "content": "Yes."}
        answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        body = json.dumps(answer).encode()
        await wire.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        await wire.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))


class Key(NamedTuple):
    """A virtual key: its secret, and the id that it is recorded under."""

    secret: str
    id: str


class Door:
    """One API process as clients see it."""

    def __init__(self, name: str, http: httpx.AsyncClient) -> None:
        self.name = name
        self._http = http

    async def ask(self, key: Key, most: int | None = None) -> tuple[int, str, float]:
        """(status, the error's code, seconds after which to come again); status 0: no answer."""
        body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Shall we?"}]}
        if most is not None:
            body["max_tokens"] = most
        try:
            answer = await self._http.post("/v1/chat/completions", json=body, headers=bearer(key))
        except httpx.TransportError:
            return 0, "", _PAUSE
        if answer.status_code == 200:
            return 200, "", 0.0
        error = answer.json()["error"]
        assert error.keys() >= {"message", "type", "param", "code"}
        return answer.status_code, error["type"], float(answer.headers.get("retry-after", "0"))

    async def move(self, http: httpx.AsyncClient) -> None:
        """To another process."""
        await self.close()
        self._http = http

    async def close(self) -> None:
        """No more calls."""
        await self._http.aclose()

    async def models(self, key: Key) -> int:
        """The status of a route that needs nothing but the key."""
        return (await self._http.get("/v1/models", headers=bearer(key))).status_code

    async def manage(self, route: str, **body: Any) -> dict[str, Any]:
        """A management call with the master key. Raises `httpx.HTTPStatusError`."""
        answer = await self._http.post(route, json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def key(self, **terms: Any) -> Key:
        """A new one."""
        made = await self.manage("/key/generate", **terms)
        return Key(made["key"], made["token_id"])

    async def spend(self, key: Key) -> Decimal:
        """What `/key/info` says that a key has spent."""
        answer = await self._http.get("/key/info", params={"key": key.secret})
        return Decimal(str(answer.raise_for_status().json()["info"]["spend"]))


def bearer(key: Key) -> Mapping[str, str]:
    """The header."""
    return {"Authorization": f"Bearer {key.secret}"}


@dataclass
class Spent:
    """What is recorded of one key, US dollars: its budget's balance, its rows, its total."""

    balance: Decimal
    rows: Decimal
    total: Decimal
    calls: int


@dataclass
class Tenants:
    """A running Penstock, its upstream, the doors of its API processes, and the ledger read past it."""

    house: House
    upstream: Upstream
    provider: Provider
    doors: list[Door]
    url: str
    workers: int
    seen: Counter[str] = field(default_factory=Counter)

    async def spend_all(self, key: Key, clients: int, chance: random.Random, doors: list[Door] | None = None) -> None:
        """So many clients at once, half of whose calls bound their completion, until each is refused for good."""
        seeds = [chance.random() for _ in range(clients)]
        await asyncio.gather(*(self._client(key, random.Random(seed), doors or self.doors) for seed in seeds))

    async def spent_at_least(self, key: Key, amount: Decimal, within: float = 30) -> None:
        """Wait until so much is recorded."""

        async def there() -> bool:
            return bool(await self.value("SELECT sum(cost) >= $2 FROM spend_logs WHERE key_hash = $1", key.id, amount))

        await until(there, within)

    async def settled(self, key: Key, within: float = 20) -> Spent:
        """What is recorded once every call that the upstream saw has its row."""

        async def there() -> bool:
            return bool(await self.value("SELECT count(*) >= $1 FROM spend_logs", len(self.provider.times)))

        await until(there, within)
        return Spent(
            await self.value("SELECT spent FROM balances WHERE kind = 'key' AND id = $1", key.id),
            await self.value("SELECT sum(cost) FROM spend_logs WHERE key_hash = $1", key.id),
            await self.value("SELECT spend FROM totals WHERE kind = 'key' AND id = $1", key.id),
            await self.value("SELECT count(*) FROM spend_logs WHERE key_hash = $1", key.id),
        )

    async def value(self, sql: str, *given: Any) -> Any:
        """The one value of a query, on a connection of its own: Postgres may have been restarted."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(sql, *given)
        finally:
            await connection.close()

    async def replace(self, number: int) -> None:
        """A new API process for one that has ended."""
        process = await self.house.add(f"api{number}", "api", "--port", "0")
        await self.doors[number].move(self.house.client(base=process.base, **UNBOUNDED))
        await self.house.knows(self.workers, f"api{number}")

    async def _client(self, key: Key, chance: random.Random, doors: list[Door]) -> None:
        while True:
            door = chance.choice(doors)
            most = chance.randint(MOST // 5, MOST) if chance.random() < 0.5 else None
            status, kind, pause = await door.ask(key, most)
            self.seen[f"{status} {kind}".strip()] += 1
            if (status, kind) == (422, "budget_exceeded"):
                return
            assert status in (0, 200, 503, 504) or (status, kind) == (429, "budget_exceeded"), (status, kind)
            if status != 200:
                await asyncio.sleep(min(pause, 0.5))


@asynccontextmanager
async def tenants(
    folder: Path, amqp_url: str, database_url: str, *, workers: int = 1, apis: int = 3, seed: int = 1, **environ: str
) -> AsyncIterator[Tenants]:
    """All roles as processes; one priced model `m`."""
    async with Upstream() as upstream:
        provider = Provider(upstream, seed)
        params = {
            "model": "openai/scripted",
            "api_base": f"{upstream.url}/v1",
            "api_key": "sk-none",
            "input_cost_per_token": float(INPUT),
            "output_cost_per_token": float(OUTPUT),
        }
        settings = {
            "AMQP_URL": amqp_url,
            "DATABASE_URL": database_url,
            "PENSTOCK_BEAT_EVERY": "0.5",
            "PENSTOCK_LEASE": f"{LEASE:g}",
            "PENSTOCK_REQUEST_TIMEOUT": f"{TIMEOUT:g}",
            "PENSTOCK_USAGE_LAG": f"{LAG:g}",
            **environ,
        }
        config = {"model_list": [{"model_name": "m", "litellm_params": params}]}
        async with separate(config, folder, workers=workers, apis=apis, **settings) as house:
            https = [house.client(base=house.processes[f"api{i}"].base, **UNBOUNDED) for i in range(apis)]
            doors = [Door(f"api{i}", http) for i, http in enumerate(https)]
            try:
                yield Tenants(house, upstream, provider, doors, database_url, workers)
            finally:
                provider.gate.set()
                await asyncio.gather(*(door.close() for door in doors))
