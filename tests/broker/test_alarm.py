"""A memory alarm, and a restart: on a broker of its own."""

import asyncio
from collections.abc import Iterator

import pytest

from broker.port import Address, BusDown, Message
from broker.rabbitmq import RabbitBus
from broker.topology import REPLIES, REQUESTS, USAGE, USAGE_QUEUE, requests_queue, topology
from tests.support.listeners import Heard, Taken, Troubles
from tests.support.rabbitmq import RabbitMQServer, private_rabbitmq

QUEUE = requests_queue("a")
TO = Address(REQUESTS, QUEUE)
TOPOLOGY = topology(("a",), 64 * 2**20)


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitMQServer]:
    with private_rabbitmq() as server:
        yield server


async def test_a_memory_alarm(server: RabbitMQServer) -> None:
    bus = RabbitBus(server.broker.base_url, TOPOLOGY, name="alarm", goodbye=1)
    await bus.open()
    troubles, taken, heard = Troubles(bus), Taken(), Heard()
    inbox = await bus.inbox(REPLIES, heard, lambda: None)
    await bus.consume(QUEUE, taken, 1)
    await bus.publish(TO, Message(b"1"))
    await bus.publish(TO, Message(b"2"))
    first = await taken.next()
    server.broker.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.0)")
    begun = asyncio.ensure_future(bus.publish(TO, Message(b"3")))  # RabbitMQ tells those who publish, and only then
    assert (await troubles.some()).startswith("blocked: ")
    with pytest.raises(BusDown, match="blocked"):
        await bus.publish(TO, Message(b"refused at once"))
    bus.send(Address(REPLIES, inbox.address), Message(b"a frame", correlation="c"))
    first.ack()
    assert (await taken.next()).body == b"2"  # acks flow on the other connection
    server.broker.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.4)")
    await troubles.over()
    assert await heard.next() == (b"a frame", "c")
    await begun
    await bus.publish(TO, Message(b"4"))
    await bus.close()


async def test_a_restart_loses_nothing_that_is_durable(server: RabbitMQServer) -> None:
    bus = RabbitBus(server.broker.base_url, TOPOLOGY, name="restart", goodbye=1)
    await bus.open()
    troubles, lost, taken = Troubles(bus), asyncio.Event(), Taken()
    await bus.inbox(REPLIES, Heard(), lost.set)
    usage = Address(USAGE, USAGE_QUEUE)
    for number in range(50):
        bus.post(usage, Message(b"x", id=str(number), durable=True), pytest.fail)
    await bus.publish(usage, Message(b"x", id="50", durable=True))
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, server.kill)
    await asyncio.wait_for(lost.wait(), 10)
    assert await troubles.some()
    await loop.run_in_executor(None, server.start)
    await troubles.over()
    await bus.consume(USAGE_QUEUE, taken, 100)
    assert {one.id for one in await taken.some(51)} == {str(number) for number in range(51)}
    await bus.close()
