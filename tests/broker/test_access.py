"""Who may come in, and what each role may do: TLS and the permissions of `topology.ROLES`."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote, urlsplit, urlunsplit

import pytest

from broker import control
from broker.port import Address, BusDown, Message
from broker.rabbitmq import RabbitBus
from broker.topology import (
    DEAD_QUEUE,
    EVENTS,
    REPLIES,
    REQUESTS,
    ROLES,
    USAGE,
    USAGE_QUEUE,
    Topology,
    requests_queue,
    topology,
)
from tests.support.listeners import Heard, Taken
from tests.support.rabbitmq import RabbitMQ

QUEUE = requests_queue("a")
TO_WORKERS = Address(REQUESTS, QUEUE)
TO_LEDGER = Address(USAGE, USAGE_QUEUE)
TOPOLOGY = topology(("a",), 64 * 2**20)


@pytest.fixture
def urls(rabbitmq: RabbitMQ, amqp_url: str) -> Iterator[dict[str, str]]:
    """The vhost's URL for a user of each role."""
    vhost, found = urlsplit(amqp_url).path[1:], {}
    for role, may in ROLES.items():
        user = f"{role}-{uuid.uuid4().hex[:8]}"
        patterns = ", ".join(f"<<{json.dumps(one)}>>" for one in (may.configure, may.write, may.read))
        rabbitmq.evaluate(
            f'rabbit_auth_backend_internal:add_user(<<"{user}">>, <<"sesame">>, <<"test">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"{user}">>, <<"{vhost}">>, {patterns}, <<"test">>), ok'
        )
        parts = urlsplit(amqp_url)
        found[role] = urlunsplit(parts._replace(netloc=f"{user}:sesame@{parts.netloc.rpartition('@')[2]}"))
    yield found
    for url in found.values():
        rabbitmq.evaluate(f'rabbit_auth_backend_internal:delete_user(<<"{urlsplit(url).username}">>, <<"test">>), ok')


async def opened(url: str) -> RabbitBus:
    bus = RabbitBus(url, TOPOLOGY, name="role")
    await bus.open()
    return bus


async def test_each_role_can_do_its_work(urls: dict[str, str]) -> None:
    await control.declare(urls["setup"], TOPOLOGY)
    await control.declare(urls["setup"], TOPOLOGY)
    api, worker, accounting = [await opened(urls[role]) for role in ("api", "worker", "accounting")]
    answers, asked, spent, dead = Heard(), Taken(), Taken(), Taken()
    inbox = await api.inbox(REPLIES, answers, lambda: None)
    ears = [Heard() for _ in range(3)]
    for ear, bus in zip(ears, (api, worker, accounting), strict=True):
        await bus.inbox(EVENTS, ear, lambda: None)
    for bus in (api, worker, accounting):
        bus.send(Address(EVENTS, ""), Message(b"beat"))
        assert [await ear.next() for ear in ears] == [(b"beat", "")] * 3
    await worker.consume(QUEUE, asked, 1)
    await accounting.consume(USAGE_QUEUE, spent, 1)
    await accounting.consume(DEAD_QUEUE, dead, 1)
    await api.publish(TO_WORKERS, Message(b"request", reply_to=inbox.address))
    request = await asked.next()
    worker.send(Address(REPLIES, request.reply_to), Message(b"frame"))
    assert await answers.next() == (b"frame", "")
    for bus in (worker, api):
        await bus.publish(TO_LEDGER, Message(b"usage", durable=True))
        (await spent.next()).ack()
    request.reject()
    (await dead.next()).ack()
    for bus in (api, worker, accounting):
        await bus.close()


@pytest.mark.parametrize(
    ("role", "to"),
    [
        ("api", Address(REPLIES, "inbox.x")),
        ("api", Address("penstock.dead", "")),
        ("api", Address("", QUEUE)),
        ("worker", TO_WORKERS),
        ("worker", Address("", QUEUE)),
        ("accounting", TO_WORKERS),
        ("accounting", TO_LEDGER),
        ("setup", TO_WORKERS),
        ("setup", TO_LEDGER),
    ],
)
async def test_no_role_can_publish_more(urls: dict[str, str], role: str, to: Address) -> None:
    await control.declare(urls["setup"], TOPOLOGY)
    bus = await opened(urls[role])
    with pytest.raises(BusDown, match="ACCESS_REFUSED"):
        await bus.publish(to, Message(b"x"))
    await bus.close()


@pytest.mark.parametrize(
    ("role", "queue"),
    [("api", QUEUE), ("api", USAGE_QUEUE), ("worker", USAGE_QUEUE), ("worker", DEAD_QUEUE), ("accounting", QUEUE)],
)
async def test_no_role_can_read_more(urls: dict[str, str], role: str, queue: str) -> None:
    await control.declare(urls["setup"], TOPOLOGY)
    bus = await opened(urls[role])
    with pytest.raises(BusDown, match="ACCESS_REFUSED"):
        await bus.consume(queue, Taken(), 1)
    assert bus.trouble is None
    await bus.close()


async def test_what_is_missing_is_named_to_who_may_not_declare(urls: dict[str, str]) -> None:
    await control.declare(urls["setup"], Topology(TOPOLOGY.exchanges, TOPOLOGY.queues[:2]))
    with pytest.raises(control.TopologyError, match="missing") as caught:
        await opened(urls["api"])
    assert QUEUE in str(caught.value)
    assert USAGE_QUEUE not in str(caught.value)


async def test_a_worker_declares_the_queues_of_a_new_model_and_no_others(urls: dict[str, str]) -> None:
    await control.declare(urls["setup"], TOPOLOGY)
    api, worker, asked = await opened(urls["api"]), await opened(urls["worker"]), Taken()
    larger = topology(("a", "b"), 64 * 2**20, ("one", "two"))
    with pytest.raises(control.TopologyError, match="missing"):
        await api.extend(larger)
    await worker.extend(larger)
    await api.extend(larger)
    await worker.consume(requests_queue("b"), asked, 1)
    await api.publish(Address(REQUESTS, requests_queue("b")), Message(b"request"))
    (await asked.next()).ack()
    other = topology(("a",), 64 * 2**20)
    strange = Topology((), (*other.queues, replace(other.queues[0], name="usage2")))
    with pytest.raises(control.TopologyError, match="usage2"):
        await worker.extend(strange)
    for bus in (api, worker):
        await bus.close()


async def test_a_queue_with_other_arguments_is_named(amqp_url: str) -> None:
    await control.declare(amqp_url, TOPOLOGY)
    with pytest.raises(control.TopologyError) as caught:
        await control.declare(amqp_url, topology(("a",), 1000))
    assert QUEUE in str(caught.value)
    assert "x-max-length-bytes" in str(caught.value)
    assert "1000" in str(caught.value)


async def test_inspect(amqp_url: str) -> None:
    assert set((await control.inspect(amqp_url, TOPOLOGY)).values()) == {None}
    bus, taken = await opened(amqp_url), Taken()
    await bus.publish(TO_WORKERS, Message(b"x"))
    await bus.consume(USAGE_QUEUE, taken, 1)
    found = await control.inspect(amqp_url, TOPOLOGY)
    assert found[QUEUE] == control.QueueState(messages=1, consumers=0)
    assert found[USAGE_QUEUE] == control.QueueState(messages=0, consumers=1)
    await bus.close()


async def test_tls(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    secure = rabbitmq.tls_url(urlsplit(amqp_url).path[1:])
    bus, taken = await opened(f"{secure}?cafile={quote(rabbitmq.cafile)}"), Taken()
    await bus.consume(QUEUE, taken, 1)
    await bus.publish(TO_WORKERS, Message(b"x" * 1_000_000))
    assert len((await taken.next()).body) == 1_000_000
    await bus.close()


@pytest.mark.parametrize("declare", [True, False])
async def test_a_certificate_that_nobody_vouches_for(rabbitmq: RabbitMQ, amqp_url: str, declare: bool) -> None:
    secure = rabbitmq.tls_url(urlsplit(amqp_url).path[1:])
    bus = RabbitBus(secure, TOPOLOGY, name="tls", declare=declare)
    with pytest.raises(BusDown, match="certificate"):
        await bus.open()
    unchecked = await opened(f"{secure}?no_verify_ssl=1")
    await unchecked.close()


@pytest.mark.parametrize("url", ["http://localhost/", "amqp:///vhost", "amqp://me:sesame@host:port/", ""])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="AMQP URL") as caught:
        RabbitBus(url, TOPOLOGY, name="url")
    assert "sesame" not in str(caught.value)
