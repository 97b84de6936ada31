import asyncio
import logging
from collections.abc import AsyncIterator

import aio_pika
import pytest

from broker.topology import DEAD, DEAD_QUEUE, USAGE_QUEUE, requests_queue, topology
from ledger.pool import Pool
from workers.accounting.dead_letters import DeadLetters


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    connection = await aio_pika.connect(amqp_url)
    channel = await connection.channel()
    await channel.declare_exchange(DEAD, "fanout", durable=True)
    for queue in topology(("m",), 2**20).queues:
        declared = await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments()))
        if queue.name == DEAD_QUEUE:
            await declared.bind(DEAD, queue.name)
    yield channel
    await connection.close()


async def die(channel: aio_pika.abc.AbstractChannel, queue: str, body: bytes, id: str) -> None:
    """Publish a message and reject it."""
    message = aio_pika.Message(
        body, message_id=id, correlation_id=f"c-{id}", reply_to="nowhere", content_type="application/json"
    )
    await channel.default_exchange.publish(message, queue)
    taken = await (await channel.get_queue(queue)).get(timeout=10)
    assert taken is not None
    await taken.reject()


async def rows(pool: Pool, count: int) -> list[tuple[object, ...]]:
    sql = "SELECT queue, reason, message_id, correlation_id, body FROM dead_letters ORDER BY message_id"
    async with asyncio.timeout(20):
        while len(found := await pool.fetch(sql)) < count:  # noqa: ASYNC110 - a row has no event
            await asyncio.sleep(0.02)
    return [tuple(row) for row in found]


async def unsettled(channel: aio_pika.abc.AbstractChannel) -> int | None:
    return (await channel.declare_queue(DEAD_QUEUE, passive=True)).declaration_result.message_count


async def test_letters_are_stored_and_told_without_bodies(
    amqp_url: str, pool: Pool, channel: aio_pika.abc.AbstractChannel, caplog: pytest.LogCaptureFixture
) -> None:
    requests = requests_queue("m")
    letters = DeadLetters(amqp_url, pool)
    with caplog.at_level(logging.INFO):
        await letters.start()
        await die(channel, requests, b'{"messages": "my secret"}', "m1")
        await die(channel, USAGE_QUEUE, b"not an event \xff \x00", "m2")
        found = await rows(pool, 2)
        await letters.stop()
    assert found == [
        (requests, "rejected", "m1", "c-m1", None),
        ("usage", "rejected", "m2", "c-m2", "not an event \ufffd \ufffd"),
    ]
    assert await unsettled(channel) == 0
    assert [record.levelname for record in caplog.records if record.name == "penstock.dead"] == ["WARNING"] * 2
    assert "secret" not in caplog.text


async def test_without_postgres_they_stay_in_the_queue(
    amqp_url: str, pool: Pool, channel: aio_pika.abc.AbstractChannel, caplog: pytest.LogCaptureFixture
) -> None:
    await pool.execute("ALTER TABLE dead_letters RENAME TO elsewhere")
    letters = DeadLetters(amqp_url, pool, retry_every=60)
    await letters.start()
    await die(channel, USAGE_QUEUE, b"x", "m1")
    async with asyncio.timeout(20):
        while "a dead letter waits" not in caplog.text:  # noqa: ASYNC110 - nor has a log
            await asyncio.sleep(0.02)
        await letters.stop()
    await pool.execute("ALTER TABLE elsewhere RENAME TO dead_letters")
    again = DeadLetters(amqp_url, pool)
    await again.start()
    assert len(await rows(pool, 1)) == 1
    await again.stop()
