"""What is left of the bus's promises when connections and channels break."""

import asyncio
import contextlib

import aio_pika
import pytest
from pamqp import commands

from broker import control
from broker.port import Address, BusDown, BusError, Message, Unroutable
from broker.rabbitmq import RabbitBus
from broker.sessions import QueueConsumer
from broker.topology import REPLIES, REQUESTS, requests_queue
from tests.broker.conftest import TOPOLOGY
from tests.support.listeners import Heard, Taken, Troubles
from tests.support.proxy import Proxy

QUEUE = requests_queue("a")
TO = Address(REQUESTS, QUEUE)
PUBLISHING, CONSUMING = 0, 1


async def test_everything_comes_back_after_a_cut(bus: RabbitBus, proxy: Proxy) -> None:
    troubles, taken, heard, lost = Troubles(bus), Taken(), Heard(), asyncio.Event()
    await bus.consume(QUEUE, taken, 5)
    inbox = await bus.inbox(REPLIES, heard, lost.set)
    before = inbox.address
    await bus.publish(TO, Message(b"x"))
    held = await taken.next()
    proxy.cut()
    assert "not connected" in await troubles.some()
    with pytest.raises(BusDown, match="not connected"):
        await bus.publish(TO, Message(b"y"))
    await troubles.over()
    assert lost.is_set()
    assert held.lost
    held.ack()
    again = await taken.next()
    assert (again.body, again.redelivered) == (b"x", True)
    again.ack()
    assert inbox.address != before
    await bus.publish(Address(REPLIES, inbox.address), Message(b"here"))
    assert await heard.next() == (b"here", "")
    with pytest.raises(Unroutable):
        await bus.publish(Address(REPLIES, before), Message(b"too late"))


async def test_the_publishing_connection_alone(bus: RabbitBus, proxy: Proxy) -> None:
    troubles, taken = Troubles(bus), Taken()
    await bus.consume(QUEUE, taken, 1)
    await bus.inbox(REPLIES, Heard(), lambda: pytest.fail("the inbox was not on that connection"))
    await bus.publish(TO, Message(b"1"))
    await bus.publish(TO, Message(b"2"))
    held = await taken.next()
    proxy.lines[PUBLISHING].cut()
    await troubles.some()
    assert not held.lost
    held.ack()
    assert (await taken.next()).body == b"2"
    await troubles.over()
    await bus.publish(TO, Message(b"3"))


async def test_the_consuming_connection_alone(bus: RabbitBus, proxy: Proxy) -> None:
    troubles, taken = Troubles(bus), Taken()
    await bus.consume(QUEUE, taken, 1)
    await bus.publish(TO, Message(b"1"))
    held = await taken.next()
    proxy.lines[CONSUMING].cut()
    await troubles.some()
    assert held.lost
    await bus.publish(TO, Message(b"a usage event must still go out"))
    assert (await taken.next()).redelivered


async def test_what_was_not_confirmed_fails_once(bus: RabbitBus, proxy: Proxy) -> None:
    failures: list[BusError] = []
    proxy.lines[PUBLISHING].stall()
    for _ in range(10):
        bus.post(TO, Message(b"x"), failures.append)
    waiting = asyncio.ensure_future(bus.publish(TO, Message(b"y")))
    await bus.flushed()
    assert failures == []
    proxy.lines[PUBLISHING].cut()
    with pytest.raises(BusDown, match="before it was confirmed"):
        await waiting
    assert [type(one) for one in failures] == [BusDown] * 10


async def test_confirmed_means_there(bus: RabbitBus, proxy: Proxy) -> None:
    """Cut again and again under load: what failed is posted again, and in the end everything has come."""
    taken, arrived, missing = Taken(), set[str](), {str(number) for number in range(1500)}
    await bus.consume(QUEUE, taken, 50)

    async def insist(number: str) -> None:
        while True:
            with contextlib.suppress(BusDown):
                await bus.publish(TO, Message(b"x" * 2000, id=number))
                return
            await asyncio.sleep(0.01)

    async def take() -> None:
        handled = 0
        while arrived != missing:
            delivery = await taken.next()
            arrived.add(delivery.id)
            delivery.ack()
            handled += 1
            if handled % 300 == 0:
                proxy.lines[handled // 300 % len(proxy.lines)].cut()

    async with asyncio.TaskGroup() as group:
        group.create_task(take())
        for number in missing:
            group.create_task(insist(number))
    assert len(proxy.lines) > 2


@pytest.mark.parametrize("line", [PUBLISHING, CONSUMING])
async def test_a_silent_connection_is_given_up(bus: RabbitBus, proxy: Proxy, line: int) -> None:
    troubles, taken = Troubles(bus), Taken()
    await bus.consume(QUEUE, taken, 1)
    proxy.lines[line].stall()
    assert "heartbeat" in await troubles.some()
    await troubles.over()
    await bus.publish(TO, Message(b"x"))
    assert (await taken.next()).body == b"x"


async def test_an_idle_connection_is_kept(bus: RabbitBus, proxy: Proxy) -> None:
    """RabbitMQ itself closes after two silent intervals: our heartbeats must reach it."""
    troubles = Troubles(bus)
    await asyncio.sleep(3.5)
    assert troubles.all == []
    assert len(proxy.lines) == 2


async def test_a_refusing_broker_is_tried_again(bus: RabbitBus, proxy: Proxy) -> None:
    troubles, taken = Troubles(bus), Taken()
    proxy.refusing = True
    proxy.cut()
    await troubles.some()
    consumer = await bus.consume(QUEUE, taken, 1)
    gone = await bus.consume(QUEUE, Taken(), 1)
    await gone.cancel()
    with pytest.raises(BusDown):
        await bus.inbox(REPLIES, Heard(), lambda: None)
    proxy.refusing = False
    await troubles.over()
    await bus.publish(TO, Message(b"begun meanwhile"))
    assert (await taken.next()).body == b"begun meanwhile"
    await consumer.cancel()


async def test_a_channel_closed_by_rabbitmq_comes_back(bus: RabbitBus, proxy: Proxy) -> None:
    """406, as for a consumer that was too slow: only that channel goes."""
    one, other = Taken(), Taken()
    consumer = await bus.consume(QUEUE, one, 1)
    await bus.publish(TO, Message(b"1"))
    held = await one.next()
    await bus.consume(QUEUE, other, 1)
    await bus.publish(TO, Message(b"2"))
    unaffected = await other.next()
    assert isinstance(consumer, QueueConsumer)
    assert consumer._channel is not None
    consumer._channel.ack(999)  # an unknown delivery tag
    again = await one.next()
    assert (again.body, again.redelivered) == (b"1", True)
    assert (held.lost, unaffected.lost, len(proxy.lines)) == (True, False, 2)


async def test_a_deleted_queue_is_declared_again(amqp_url: str) -> None:
    bus, taken = RabbitBus(amqp_url, TOPOLOGY, name="deleted"), Taken()
    await bus.open()
    await bus.consume(QUEUE, taken, 1)
    async with await aio_pika.connect(amqp_url) as connection:
        await (await connection.channel()).queue_delete(QUEUE)
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(Unroutable):
                await bus.publish(TO, Message(b"x"))
                break
    assert (await taken.next()).body == b"x"
    await bus.close()


async def test_a_deleted_inbox_comes_back(bus: RabbitBus, amqp_url: str, proxy: Proxy) -> None:
    troubles, heard, lost = Troubles(bus), Heard(), asyncio.Event()
    inbox = await bus.inbox(REPLIES, heard, lost.set)
    before = inbox.address
    assert bus._consuming._connection is not None
    channel = await bus._consuming._connection.channel()  # exclusive: only its own connection may
    await channel.call(commands.Queue.Delete(queue=before))
    await troubles.some()
    await troubles.over()
    assert lost.is_set()
    await bus.publish(Address(REPLIES, inbox.address), Message(b"x"))
    assert await heard.next() == (b"x", "")
    assert len(proxy.lines) == 2


async def test_a_deleted_exchange_is_declared_again(amqp_url: str) -> None:
    bus = RabbitBus(amqp_url, TOPOLOGY, name="deleted")
    await bus.open()
    troubles = Troubles(bus)
    async with await aio_pika.connect(amqp_url) as connection:
        await (await connection.channel()).exchange_delete(REQUESTS)
    with pytest.raises(BusDown, match="no exchange"):
        await bus.publish(TO, Message(b"x"))
    await troubles.over()
    await bus.publish(TO, Message(b"x"))
    await bus.close()


async def test_closing_loses_nothing_that_was_posted(bus: RabbitBus, amqp_url: str, proxy: Proxy) -> None:
    proxy.lines[PUBLISHING].rate = 10_000_000
    for _ in range(100):
        bus.post(TO, Message(b"x" * 20_000), pytest.fail)
    await bus.close()
    state = (await control.inspect(amqp_url, TOPOLOGY))[QUEUE]
    assert state is not None
    assert state.messages == 100


async def test_closing_without_a_connection_is_quick(bus: RabbitBus, proxy: Proxy) -> None:
    troubles = Troubles(bus)
    proxy.refusing = True
    proxy.cut()
    await troubles.some()
    async with asyncio.timeout(2):
        await bus.close()
    assert bus.trouble == "closed"


async def test_closing_a_stalled_connection_ends(bus: RabbitBus, proxy: Proxy) -> None:
    failed = asyncio.Event()
    for line in proxy.lines:
        line.stall()
    bus.post(TO, Message(b"x"), lambda _: failed.set())
    async with asyncio.timeout(5):
        await bus.close()
    assert failed.is_set()


async def test_a_slow_network_holds_the_sender_back(bus: RabbitBus, proxy: Proxy) -> None:
    """20 MB in many frames, through a thin pipe: `flushed` waits, and the body arrives whole."""
    heard = Heard()
    inbox = await bus.inbox(REPLIES, heard, lambda: None)
    body = bytes(range(256)) * (20 * 2**20 // 256)
    proxy.lines[PUBLISHING].rate = 40_000_000
    bus.send(Address(REPLIES, inbox.address), Message(body))
    await bus.flushed()
    assert proxy.lines[PUBLISHING].passed > 10 * 2**20
    assert (await heard.next())[0] == body


async def test_nobody_there(unused_tcp_port: int) -> None:
    bus = RabbitBus(f"amqp://me:sesame@127.0.0.1:{unused_tcp_port}/", TOPOLOGY, name="alone")
    with pytest.raises(BusDown) as caught:
        await bus.open()
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("declare", [True, False])
async def test_a_wrong_password(amqp_url: str, declare: bool) -> None:
    scheme, _, rest = amqp_url.partition("://")
    url = f"{scheme}://me:sesame@{rest.partition('@')[2]}"
    bus = RabbitBus(url, TOPOLOGY, name="wrong", declare=declare)
    with pytest.raises(BusDown, match="ACCESS_REFUSED") as caught:
        await bus.open()
    assert "sesame" not in str(caught.value)
    assert bus.trouble is not None
