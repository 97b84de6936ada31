"""One Penstock and its scripted upstream, set up once for a module of tests."""

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.support.house import MASTER_KEY, House, separate, serving
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ
from tests.support.upstream import Upstream

PROVIDER_KEY = "sk-provider-secret-0123456789abcdef"
# Starting a system is what takes time here, on a busy machine much of it: it has limits of its own.
ONLY_THE_TEST = pytest.mark.timeout(60, func_only=True)
EMBEDDED, RABBITMQ, SEPARATE = "embedded", "rabbitmq", "separate"


@dataclass(frozen=True)
class Stand:
    """What a test needs: the system, its upstream, a client, and the URL of its broker (empty when embedded)."""

    house: House
    upstream: Upstream
    sdk: openai.AsyncOpenAI
    http: httpx.AsyncClient
    amqp_url: str = ""

    async def row(self, request_id: str) -> dict[str, Any]:
        """The one spend row of a request."""
        return (await self.house.rows(1, request_id=request_id))[0]

    def logs(self) -> str:
        """All that the processes have said."""
        return "".join(process.output() for process in self.house.processes.values())


def sdk(base: str, key: str = MASTER_KEY, **options: Any) -> openai.AsyncOpenAI:
    """An OpenAI client that neither retries nor looks at the machine's environment."""
    client = httpx.AsyncClient(trust_env=False)
    return openai.AsyncOpenAI(base_url=base, api_key=key, max_retries=0, http_client=client, **options)


@contextmanager
def urls(rabbitmq: RabbitMQ, postgres: Postgres) -> Iterator[dict[str, str]]:
    """A vhost and a database of our own: the variables that name them."""
    name = f"e2e_{uuid.uuid4().hex[:12]}"
    vhost = name if rabbitmq.ours else ""
    if vhost:
        rabbitmq.add_vhosts(vhost)
    postgres.run(f"create database {name}")
    try:
        amqp = rabbitmq.url(vhost) if vhost else rabbitmq.base_url
        yield {"AMQP_URL": amqp, "DATABASE_URL": postgres.url(name)}
    finally:
        postgres.run(f"drop database {name} with (force)")
        if vhost:
            rabbitmq.delete_vhost(vhost)


@asynccontextmanager
async def standing(
    form: str, config: Mapping[str, Any], upstream: Upstream, folder: Path, servers: tuple[RabbitMQ, Postgres] | None
) -> AsyncIterator[Stand]:
    """Penstock in one of its three forms; `servers` may be None for the embedded one."""
    async with AsyncExitStack() as stack:
        environ = {} if servers is None else stack.enter_context(urls(*servers))
        start = separate if form == SEPARATE else serving
        house = await stack.enter_async_context(start(config, folder, **environ))
        if form == RABBITMQ:  # what its worker says of itself comes over the broker
            await house.knows(1, next(iter(house.processes)))
        client = await stack.enter_async_context(sdk(house.base))
        http = await stack.enter_async_context(house.client())
        yield Stand(house, upstream, client, http, environ.get("AMQP_URL", ""))
