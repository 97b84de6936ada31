"""The `dead` queue into the ledger: one row and one warning per message that nobody could use. RabbitMQ only."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from aio_pika import IncomingMessage
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue

from broker.topology import DEAD_QUEUE, USAGE_QUEUE
from ledger.dead_letters import DeadLetter, bury
from ledger.pool import FAILED, Pool

_LOG = logging.getLogger("penstock.dead")


class DeadLetters:
    """One consumer of the `dead` queue; it declares nothing, the topology is there before it starts."""

    def __init__(self, amqp_url: str, pool: Pool, prefetch: int = 20, retry_every: float = 5.0) -> None:
        self._pool = pool
        self._retry_every = retry_every
        self._stopping = asyncio.Event()
        # Neither FastStream's own log lines (they hold message ids at INFO) nor an answer to `reply_to`: the asker's
        # request is dead, and FastStream would send it this handler's result.
        self._broker = RabbitBroker(amqp_url, logger=None, default_channel=Channel(prefetch))
        self._subscriber = self._broker.subscriber(
            RabbitQueue(DEAD_QUEUE, declare=False), ack_policy=AckPolicy.MANUAL, no_reply=True, decoder=_raw
        )
        self._subscriber(self._handle)

    async def start(self) -> None:
        """Connect and consume. Raises what aio-pika raises when RabbitMQ is away."""
        await self._broker.start()

    async def stop(self) -> None:
        """Consume no more, let the handlers end, disconnect; what is not stored stays in the queue."""
        self._stopping.set()
        await self._subscriber.stop()
        await self._broker.stop()

    async def _handle(self, body: bytes, message: RabbitMessage) -> None:
        letter = _letter(message.raw_message)
        while not self._stopping.is_set():
            try:
                await bury(self._pool, [letter])
            except FAILED as problem:
                _LOG.warning("a dead letter waits: %s", type(problem).__name__)
                await self._pause()
                continue
            _LOG.warning(
                "dead letter from %s: %s (message %s)", letter.queue, letter.reason, letter.message_id or "without id"
            )
            await message.ack()
            return

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._retry_every):
                await self._stopping.wait()
        except TimeoutError:
            return


async def _raw(message: RabbitMessage) -> bytes:
    """The body as it is: it may be anything, that may be why it died."""
    return message.body


def _letter(message: IncomingMessage) -> DeadLetter:
    death = _first_death(message.headers)
    queue = str(death.get("queue", "unknown"))
    body = message.body.decode("utf-8", "replace") if queue == USAGE_QUEUE else None
    return DeadLetter(
        queue, str(death.get("reason", "unknown")), message.message_id or "", str(message.correlation_id or ""), body
    )


def _first_death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """RabbitMQ's `x-death`, newest first; https://www.rabbitmq.com/docs/dlx#effects."""
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[-1], dict):
        return deaths[-1]
    return {}
