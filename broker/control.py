"""The control plane, on aio-pika: declaring the topology and looking at its queues. Never on the request path."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from aiormq.exceptions import ChannelAccessRefused

from broker.amqp.endpoint import endpoint
from broker.port import BusDown
from broker.topology import Exchange, Queue, Topology

T = TypeVar("T")
_TIMEOUT = 10.0  # seconds, for connecting and for each answer


class TopologyError(BusDown):
    """What is on the broker is not what the topology says, and we may not, or must not, change it."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """What a queue holds: messages that are ready, and consumers."""

    messages: int
    consumers: int


async def declare(url: str, topology: Topology) -> None:
    """Make sure that exchanges, queues and bindings exist; what is there already is left as it is.

    Who may not declare something only checks that it is there. Raises TopologyError naming what is missing, or the
    queue that has other arguments and RabbitMQ's own words for the difference; BusDown when there is no connection.
    """
    async with _connected(url) as connection:
        work, missing = _Work(connection), list[str]()
        refused: set[str] = set()  # a right is for all exchanges, or for all queues on one
        for exchange in topology.exchanges:
            if "" not in refused and await work.run(f"exchange {exchange.name!r}", _declare_exchange, exchange):
                continue
            refused.add("")
            missing += await _missing_exchange(work, exchange)
        for queue in topology.queues:
            if queue.exchange not in refused and await work.run(f"queue {queue.name!r}", _declare_queue, queue):
                continue
            refused.add(queue.exchange)
            missing += await _missing_queue(work, queue)
    if missing:
        raise TopologyError(f"missing, and this user may not declare: {', '.join(missing)}")


async def inspect(url: str, topology: Topology) -> Mapping[str, QueueState | None]:
    """State of each queue of the topology by name, None for one that does not exist. Raises BusDown."""
    found: dict[str, QueueState | None] = {}
    async with _connected(url) as connection:
        work = _Work(connection)
        for queue in topology.queues:
            try:
                declared = await (await work.channel()).declare_queue(queue.name, passive=True, timeout=_TIMEOUT)
            except ChannelNotFoundEntity:
                found[queue.name] = None
                continue
            result = declared.declaration_result
            found[queue.name] = QueueState(result.message_count or 0, result.consumer_count or 0)
    return found


class _Work:
    """A channel that is opened again after each refusal: RabbitMQ closes it with every one."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None

    async def channel(self) -> AbstractChannel:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.channel(publisher_confirms=False)
        return self._channel

    async def run(self, what: str, step: Callable[[AbstractChannel, T], Awaitable[None]], item: T) -> bool:
        """False when we may not."""
        try:
            await step(await self.channel(), item)
            return True
        except ChannelAccessRefused:
            return False
        except ChannelPreconditionFailed as error:
            raise TopologyError(f"{what} exists with other arguments: {error}") from None


async def _declare_exchange(channel: AbstractChannel, exchange: Exchange) -> None:
    await channel.declare_exchange(exchange.name, exchange.kind, durable=True, timeout=_TIMEOUT)


async def _declare_queue(channel: AbstractChannel, queue: Queue) -> None:
    declared = await channel.declare_queue(
        queue.name, durable=True, arguments=dict(queue.arguments()), timeout=_TIMEOUT
    )
    await declared.bind(queue.exchange, routing_key=queue.name, timeout=_TIMEOUT)


async def _missing_exchange(work: _Work, exchange: Exchange) -> list[str]:
    """By a passive declaration, which needs no permission."""
    try:
        await (await work.channel()).get_exchange(exchange.name)
    except ChannelNotFoundEntity:
        return [f"exchange {exchange.name!r}"]
    return []


async def _missing_queue(work: _Work, queue: Queue) -> list[str]:
    try:
        await (await work.channel()).declare_queue(queue.name, passive=True, timeout=_TIMEOUT)
    except ChannelNotFoundEntity:
        return [f"queue {queue.name!r}"]
    return []


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AbstractConnection]:
    where = endpoint(url)
    try:
        connection = await aio_pika.connect(
            host=where.host,
            port=where.port,
            login=where.user,
            password=where.password,
            virtualhost=where.vhost,
            ssl=where.tls is not None,
            ssl_context=where.tls,
            timeout=_TIMEOUT,
            client_properties={"connection_name": "penstock topology"},
        )
    except (AMQPConnectionError, OSError, TimeoutError) as error:
        raise BusDown(f"cannot connect to {where}: {error or type(error).__name__}") from None
    try:
        yield connection
    except (AMQPError, OSError, TimeoutError) as error:
        raise BusDown(f"the control connection to {where} failed: {error or type(error).__name__}") from None
    finally:
        await connection.close()
