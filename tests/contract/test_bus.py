"""The contract of `broker.port.Bus`, on RabbitMQ and on the in-process twin."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from broker.memory import MemoryBus
from broker.port import Address, Bus, BusDown, BusError, Message, QueueFull, Unroutable
from broker.rabbitmq import RabbitBus
from broker.topology import (
    DEAD_QUEUE,
    EVENTS,
    REPLIES,
    REQUESTS,
    USAGE,
    USAGE_QUEUE,
    handoff_queue,
    requests_queue,
    topology,
)
from tests.support.listeners import Heard, Taken

QUEUE = requests_queue("a")
TO = Address(REQUESTS, QUEUE)
NOWHERE = Address(REQUESTS, requests_queue("nobody"))
BOUND = 3 * 2**20
ODD = "openai/* #1 ü " + "long" * 60
TOPOLOGY = topology(("a", "b", "openai/*", ODD), BOUND)


@pytest.fixture(params=["memory", "rabbitmq"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        made: Bus = MemoryBus(TOPOLOGY)
    else:
        made = RabbitBus(request.getfixturevalue("amqp_url"), TOPOLOGY, name="contract")
    await made.open()
    yield made
    await made.close()


def nothing() -> None:
    pass


async def settle(bus: Bus) -> None:
    """A few round trips through a queue and an inbox: what was to be delivered before has been."""
    heard, taken = Heard(), Taken()
    inbox = await bus.inbox(REPLIES, heard, nothing)
    consumer = await bus.consume(requests_queue("b"), taken, 1)
    for _ in range(3):
        await bus.publish(Address(REPLIES, inbox.address), Message(b"there"))
        await heard.next()
        await bus.publish(Address(REQUESTS, requests_queue("b")), Message(b"back"))
        (await taken.next()).ack()
    await consumer.cancel()
    await inbox.close()


async def failure_of(post: Callable[[Callable[[BusError], None]], None]) -> BusError:
    failed: asyncio.Future[BusError] = asyncio.get_running_loop().create_future()
    post(failed.set_result)
    return await asyncio.wait_for(failed, 10)


async def test_a_message_arrives_as_it_was_published(bus: Bus) -> None:
    taken = Taken()
    await bus.consume(QUEUE, taken, 10)
    await bus.publish(TO, Message(b"body", id="i\u00e4", correlation="c", reply_to="r", ttl=60, durable=True))
    one = await taken.next()
    assert (one.body, one.id, one.correlation, one.reply_to) == (b"body", "i\u00e4", "c", "r")
    assert (one.redelivered, one.lost) == (False, False)
    one.ack()


@pytest.mark.parametrize("group", ["openai/*", ODD])
async def test_groups_of_any_name(bus: Bus, group: str) -> None:
    taken = Taken()
    await bus.consume(requests_queue(group), taken, 1)
    await bus.publish(Address(REQUESTS, requests_queue(group)), Message(b"x"))
    assert (await taken.next()).body == b"x"


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 2 * 2**20])
async def test_bodies_of_every_size(bus: Bus, size: int) -> None:
    taken = Taken()
    await bus.consume(QUEUE, taken, 10)
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    await bus.publish(TO, Message(body))
    await bus.publish(TO, Message(b"next"))
    assert (await taken.next()).body == body
    assert (await taken.next()).body == b"next"


async def test_order_is_kept(bus: Bus) -> None:
    taken = Taken()
    for number in range(200):
        bus.post(TO, Message(str(number).encode()), pytest.fail)
    await bus.publish(TO, Message(b"200"))
    await bus.consume(QUEUE, taken, 1000)
    assert [one.body for one in await taken.some(201)] == [str(number).encode() for number in range(201)]


async def test_nothing_is_delivered_inside_post(bus: Bus) -> None:
    taken, heard = Taken(), Heard()
    await bus.consume(QUEUE, taken, 10)
    inbox = await bus.inbox(REPLIES, heard, nothing)
    bus.post(TO, Message(b"x"), pytest.fail)
    bus.send(Address(REPLIES, inbox.address), Message(b"y"))
    assert taken.all == []
    assert heard.waiting == 0
    await taken.next()
    await heard.next()


async def test_prefetch_bounds_what_is_in_hand(bus: Bus) -> None:
    taken = Taken()
    await bus.consume(QUEUE, taken, 2)
    for number in range(4):
        await bus.publish(TO, Message(str(number).encode()))
    first, second = await taken.some(2)
    await settle(bus)
    assert len(taken.all) == 2
    second.ack()
    third = await taken.next()
    await settle(bus)
    assert [one.body for one in taken.all] == [b"0", b"1", b"2"]
    first.ack()
    third.ack()
    assert (await taken.next()).body == b"3"


async def test_consumers_of_a_queue_take_turns(bus: Bus) -> None:
    one, other = Taken(), Taken()
    await bus.consume(QUEUE, one, 10)
    await bus.consume(QUEUE, other, 10)
    for _ in range(6):
        await bus.publish(TO, Message(b"x"))
    await one.some(3)
    await other.some(3)


async def test_a_full_consumer_leaves_the_rest_to_others(bus: Bus) -> None:
    full, free = Taken(), Taken()
    await bus.consume(QUEUE, full, 1)
    await bus.consume(QUEUE, free, 10)
    for _ in range(6):
        await bus.publish(TO, Message(b"x"))
    await full.some(1)
    await free.some(5)


async def test_requeue_gives_it_to_somebody_marked(bus: Bus) -> None:
    taken = Taken()
    await bus.consume(QUEUE, taken, 1)
    await bus.publish(TO, Message(b"first", id="1", correlation="c", reply_to="r"))
    await bus.publish(TO, Message(b"second"))
    (await taken.next()).requeue()
    again = await taken.next()
    assert (again.body, again.id, again.correlation, again.reply_to) == (b"first", "1", "c", "r")
    assert again.redelivered
    again.ack()
    assert not (await taken.next()).redelivered


async def test_only_the_first_ending_counts(bus: Bus) -> None:
    taken = Taken()
    await bus.consume(QUEUE, taken, 1)
    await bus.publish(TO, Message(b"once"))
    one = await taken.next()
    one.ack()
    one.requeue()
    one.reject()
    one.ack()
    await bus.publish(TO, Message(b"next"))
    assert (await taken.next()).body == b"next"


async def test_rejected_goes_to_the_dead_letters(bus: Bus) -> None:
    taken, dead = Taken(), Taken()
    await bus.consume(QUEUE, taken, 1)
    await bus.consume(DEAD_QUEUE, dead, 1)
    await bus.publish(TO, Message(b"bad", id="7", correlation="c"))
    (await taken.next()).reject()
    buried = await dead.next()
    assert (buried.body, buried.id, buried.correlation) == (b"bad", "7", "c")
    buried.ack()


async def test_what_nobody_takes_in_time_goes_to_the_dead_letters(bus: Bus) -> None:
    dead, taken = Taken(), Taken()
    await bus.consume(DEAD_QUEUE, dead, 1)
    await bus.publish(TO, Message(b"late", ttl=0.05))
    assert (await dead.next()).body == b"late"
    await bus.consume(QUEUE, taken, 1)
    await bus.publish(TO, Message(b"in time", ttl=60))
    assert (await taken.next()).body == b"in time"


@pytest.mark.parametrize("ttl", [-5.0, 1e12])
async def test_a_ttl_out_of_range_harms_nobody(bus: Bus, ttl: float) -> None:
    taken = Taken()
    await bus.publish(TO, Message(b"odd", ttl=ttl))
    await bus.publish(TO, Message(b"even"))
    await bus.consume(QUEUE, taken, 5)
    while (await taken.next()).body != b"even":
        pass


async def test_a_full_queue_refuses_and_takes_again_when_it_is_drained(bus: Bus) -> None:
    half = Message(b"x" * (BOUND // 2))
    await bus.publish(TO, half)
    await bus.publish(TO, half)
    with pytest.raises(QueueFull):
        await bus.publish(TO, half)
    assert isinstance(await failure_of(lambda failed: bus.post(TO, half, failed)), QueueFull)
    await bus.publish(Address(USAGE, USAGE_QUEUE), Message(b"others are not full", durable=True))
    taken = Taken()
    await bus.consume(QUEUE, taken, 2)
    await taken.some(2)
    await bus.publish(TO, half)


async def test_no_queue_is_said_at_once(bus: Bus) -> None:
    with pytest.raises(Unroutable):
        await bus.publish(NOWHERE, Message(b"x"))
    failed = await failure_of(lambda on_failure: bus.post(NOWHERE, Message(b"x"), on_failure))
    assert isinstance(failed, Unroutable)


async def test_each_failure_belongs_to_its_message(bus: Bus) -> None:
    """Confirms are coalesced, and equal messages may fare differently."""
    failed: list[tuple[int, BusError]] = []
    taken = Taken()
    await bus.consume(QUEUE, taken, 1000)
    for number in range(300):
        to = NOWHERE if number % 3 == 0 else TO
        bus.post(to, Message(b"same"), lambda error, number=number: failed.append((number, error)))  # type: ignore[misc]
    await bus.publish(TO, Message(b"end"))
    assert [number for number, _ in failed] == list(range(0, 300, 3))
    assert {type(error) for _, error in failed} == {Unroutable}
    await taken.some(201)


async def test_a_sent_message_that_no_queue_took_comes_back(bus: Bus) -> None:
    returned: asyncio.Queue[tuple[Message, Address]] = asyncio.Queue()
    bus.on_return = lambda message, to: returned.put_nowait((message, to))
    gone = Address(REPLIES, "inbox.gone")
    bus.send(gone, Message(b"frame", id="7", correlation="c"))
    message, to = await asyncio.wait_for(returned.get(), 10)
    assert (message.id, message.correlation, to) == ("7", "c", gone)


async def test_an_inbox_gets_what_is_sent_to_it(bus: Bus) -> None:
    mine, theirs = Heard(), Heard()
    inbox = await bus.inbox(REPLIES, mine, nothing)
    other = await bus.inbox(REPLIES, theirs, nothing)
    for number in range(50):
        bus.send(Address(REPLIES, inbox.address), Message(str(number).encode(), correlation=f"c{number}"))
    bus.send(Address(REPLIES, other.address), Message(b"other"))
    assert [await mine.next() for _ in range(50)] == [(str(n).encode(), f"c{n}") for n in range(50)]
    assert await theirs.next() == (b"other", "")


async def test_every_inbox_on_a_fanout_hears_everything(bus: Bus) -> None:
    ears = [Heard(), Heard(), Heard()]
    for ear in ears:
        await bus.inbox(EVENTS, ear, nothing)
    bus.send(Address(EVENTS, ""), Message(b"news"))
    assert [await ear.next() for ear in ears] == [(b"news", "")] * 3


async def test_a_closed_inbox_is_gone(bus: Bus) -> None:
    inbox = await bus.inbox(REPLIES, Heard(), lambda: pytest.fail("it was closed, not lost"))
    await inbox.close()
    await inbox.close()
    with pytest.raises(Unroutable):
        await bus.publish(Address(REPLIES, inbox.address), Message(b"x"))


async def test_after_cancel_nothing_comes_and_what_is_in_hand_stays_valid(bus: Bus) -> None:
    first, second = Taken(), Taken()
    consumer = await bus.consume(QUEUE, first, 2)
    for number in range(4):
        await bus.publish(TO, Message(str(number).encode()))
    held = await first.some(2)
    await consumer.cancel()
    await consumer.cancel()
    held[0].ack()
    await settle(bus)
    assert len(first.all) == 2
    await bus.consume(QUEUE, second, 10)
    assert [one.body for one in await second.some(2)] == [b"2", b"3"]
    assert not held[1].lost
    held[1].requeue()
    again = await second.next()
    assert (again.body, again.redelivered) == (b"1", True)


async def test_pausing_and_resuming_many_times(bus: Bus) -> None:
    """Pausing is a cancel and a new consume; a message may come twice, none may stay away."""
    missing = {str(number).encode() for number in range(100)}
    for body in sorted(missing):
        bus.post(TO, Message(body), pytest.fail)
    while missing:
        taken = Taken()
        consumer = await bus.consume(QUEUE, taken, 3)
        await taken.next()
        await consumer.cancel()
        for delivery in taken.all:
            delivery.ack()
            missing.discard(delivery.body)


async def test_a_queue_that_is_not_there_cannot_be_consumed(bus: Bus) -> None:
    with pytest.raises(Unroutable):
        await bus.consume(requests_queue("nobody"), Taken(), 1)
    assert bus.trouble is None
    await bus.publish(TO, Message(b"the bus goes on"))


async def test_a_larger_topology_adds_queues_and_takes_none_away(bus: Bus) -> None:
    await bus.publish(TO, Message(b"before"))
    for _ in range(2):
        await bus.extend(topology(("c",), BOUND, ("one", "two")))
    taken = Taken()
    for name in (requests_queue("c"), handoff_queue("one"), QUEUE):
        await bus.consume(name, taken, 10)
    for name in (requests_queue("c"), handoff_queue("one")):
        await bus.publish(Address(REQUESTS, name), Message(name.encode()))
    assert {delivery.body for delivery in await taken.some(3)} == {
        b"before",
        requests_queue("c").encode(),
        handoff_queue("one").encode(),
    }


async def test_a_callback_that_raises_does_not_stop_the_others(bus: Bus) -> None:
    def broken(_: object, __: object = None) -> None:
        raise RuntimeError("a bug of the caller")

    heard, taken = Heard(), Taken()
    await bus.inbox(EVENTS, broken, nothing)
    await bus.inbox(EVENTS, heard, nothing)
    broken_consumer = await bus.consume(QUEUE, broken, 1)
    bus.post(NOWHERE, Message(b"x"), broken)
    bus.send(Address(EVENTS, ""), Message(b"news"))
    assert await heard.next() == (b"news", "")
    await bus.publish(TO, Message(b"1"))
    await bus.publish(TO, Message(b"2"))
    await settle(bus)
    await broken_consumer.cancel()
    await bus.consume(QUEUE, taken, 1)
    assert (await taken.next()).body == b"2"


@pytest.mark.parametrize("kind", ["memory", "rabbitmq"])
async def test_life_and_death_of_a_bus(kind: str, request: pytest.FixtureRequest) -> None:
    troubles: list[str | None] = []
    lost: list[str] = []
    bus: Bus
    if kind == "memory":
        bus = MemoryBus(TOPOLOGY)
    else:
        bus = RabbitBus(request.getfixturevalue("amqp_url"), TOPOLOGY, name="contract")
    assert bus.trouble
    with pytest.raises(BusDown):
        await bus.publish(TO, Message(b"too early"))
    bus.on_trouble = troubles.append
    await bus.open()
    assert bus.trouble is None
    taken = Taken()
    await bus.inbox(REPLIES, Heard(), lambda: lost.append("inbox"))
    await bus.consume(QUEUE, taken, 1)
    await bus.publish(TO, Message(b"x"))
    delivery = await taken.next()
    await bus.flushed()
    await bus.close()
    assert (bus.trouble, lost, delivery.lost) == ("closed", ["inbox"], True)
    assert troubles == [None, "closed"]
    delivery.ack()
    bus.send(TO, Message(b"dropped"))
    await bus.flushed()
    for late in (publish_late(bus), consume_late(bus), inbox_late(bus)):
        with pytest.raises(BusDown):
            await late
    assert isinstance(await failure_of(lambda failed: bus.post(TO, Message(b"late"), failed)), BusDown)


def publish_late(bus: Bus) -> Awaitable[object]:
    return bus.publish(TO, Message(b"late"))


def consume_late(bus: Bus) -> Awaitable[object]:
    return bus.consume(QUEUE, Taken(), 1)


def inbox_late(bus: Bus) -> Awaitable[object]:
    return bus.inbox(REPLIES, Heard(), nothing)
