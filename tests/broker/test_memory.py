"""What only the in-process bus has: an injected clock, and bounds that can be watched from inside."""

import asyncio

from broker.memory import MemoryBus
from broker.port import Address, Message
from broker.topology import DEAD, DEAD_QUEUE, REQUESTS, Exchange, Queue, Topology, requests_queue, topology
from tests.support.listeners import Taken

QUEUE = requests_queue("a")
TO = Address(REQUESTS, QUEUE)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_expiry_is_by_the_injected_clock_and_at_the_head() -> None:
    now = [1000.0]
    bus = MemoryBus(topology(("a",), 1000), lambda: now[0])
    await bus.open()
    dead, taken = Taken(), Taken()
    await bus.consume(DEAD_QUEUE, dead, 10)
    for body, ttl in ((b"1", 10.0), (b"2", 5.0), (b"3", 60.0)):
        await bus.publish(TO, Message(body, ttl=ttl))
    now[0] += 7
    await turn()
    assert dead.all == []  # "2" has expired, but behind "1", as in RabbitMQ
    now[0] += 4
    await bus.consume(QUEUE, taken, 10)
    await turn()
    assert [one.body for one in dead.all] == [b"1", b"2"]
    assert [one.body for one in taken.all] == [b"3"]
    await bus.close()


async def test_a_requeued_message_that_expired_meanwhile_is_dead() -> None:
    now = [0.0]
    bus = MemoryBus(topology(("a",), 1000), lambda: now[0])
    await bus.open()
    dead, taken = Taken(), Taken()
    await bus.consume(DEAD_QUEUE, dead, 1)
    await bus.consume(QUEUE, taken, 1)
    await bus.publish(TO, Message(b"x", ttl=5))
    delivery = await taken.next()
    now[0] = 6
    delivery.requeue()
    assert (await dead.next()).body == b"x"
    assert len(taken.all) == 1
    await bus.close()


async def test_several_requeued_keep_their_order() -> None:
    bus = MemoryBus(topology(("a",), 1000))
    await bus.open()
    taken, again = Taken(), Taken()
    consumer = await bus.consume(QUEUE, taken, 3)
    for body in (b"1", b"2", b"3", b"4"):
        await bus.publish(TO, Message(body))
    held = await taken.some(3)
    await consumer.cancel()
    for delivery in (held[1], held[2], held[0]):
        delivery.requeue()
    await bus.consume(QUEUE, again, 4)
    assert [one.body for one in await again.some(4)] == [b"1", b"2", b"3", b"4"]
    await bus.close()


async def test_dead_letters_drop_the_oldest() -> None:
    exchanges = (Exchange(REQUESTS, "direct"), Exchange(DEAD, "fanout"))
    small = Queue(DEAD_QUEUE, DEAD, "quorum", max_bytes=10, dead_letters=False, full="drop-head")
    bus = MemoryBus(Topology(exchanges, (small,)))
    await bus.open()
    for body in (b"1111", b"2222", b"3333", b"x" * 11):
        await bus.publish(Address(DEAD, ""), Message(body))
    await bus.publish(Address(DEAD, ""), Message(b"4"))
    dead = Taken()
    await bus.consume(DEAD_QUEUE, dead, 5)
    await turn()
    assert [one.body for one in dead.all] == [b"4"]  # the one that is too large has pushed the others out
    await bus.close()
