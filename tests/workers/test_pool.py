"""A worker's pools: what is cancelled, redelivered, stale, late, not a request; and how they stop."""

import asyncio

from broker.port import Address, Message
from broker.topology import DEAD_QUEUE, REQUESTS
from schemas.envelope import Answer, Cancel, Failed, Started, Verdict
from schemas.failures import Kind
from schemas.usage import Status
from tests.support import upstream as up
from tests.support.listeners import Taken
from tests.support.upstream import Upstream
from tests.workers.conftest import BODY, QUEUE, Works

OK = {"id": "c", "choices": [{}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


async def test_announced_answered_recorded(works: Works, upstream: Upstream) -> None:
    upstream.script(up.json(OK))
    await works.pools.start()
    await works.publish(works.request())
    started, _ = await works.frame()
    assert isinstance(started, Started)
    assert (started.worker, started.deployment, started.model, started.ask) == ("w1", "d1", "up", False)
    answer, body = await works.frame()
    assert isinstance(answer, Answer)
    assert answer.attempt == started.attempt
    assert b'"choices"' in body
    row = await works.row()
    assert (row.attempt, row.status, row.usage.total, row.http_status) == (started.attempt, Status.SUCCESS, 5, 200)


async def test_one_that_was_cancelled_before_it_came_is_dropped(works: Works, upstream: Upstream) -> None:
    upstream.script(up.json(OK))
    works.tell(Cancel("r1"))
    await asyncio.sleep(0)
    await works.pools.start()
    await works.publish(works.request("r1"))
    await works.publish(works.request("r2"))
    await works.frame()
    await works.frame()
    assert (await works.row()).request == "r2"
    assert len(upstream.requests) == 1


async def test_a_running_call_is_cancelled_and_recorded(works: Works, upstream: Upstream) -> None:
    upstream.script(up.stall())
    await works.pools.start()
    await works.publish(works.request())
    await upstream.received(1)
    works.tell(Cancel("r1"))
    row = await works.row()
    assert (row.status, row.failure, row.usage.estimated) == (Status.CANCELLED, "cancelled", True)
    assert row.usage.prompt > 0
    await upstream.disconnected(1)


async def test_a_cancel_of_another_attempt_changes_nothing(works: Works, upstream: Upstream) -> None:
    gate = asyncio.Event()
    upstream.script(up.chunked([gate, b'{"choices":[{}]}'], "application/json"))
    await works.pools.start()
    await works.publish(works.request())
    await upstream.received(1)
    works.tell(Cancel("r1", "another"))
    await asyncio.sleep(0)
    gate.set()
    assert (await works.row()).status is Status.SUCCESS


async def test_an_askers_deadline_is_no_disconnect(works: Works, upstream: Upstream) -> None:
    upstream.script(up.stall())
    await works.pools.start()
    await works.publish(works.request())
    await upstream.received(1)
    works.now += 60
    works.tell(Cancel("r1"))
    row = await works.row()
    assert (row.status, row.failure) == (Status.FAILURE, "provider_timeout")


async def test_a_redelivered_request_asks_first(works: Works, upstream: Upstream) -> None:
    upstream.script(up.json(OK))
    taken = Taken()
    consumer = await works.bus.consume(QUEUE, taken, 1)
    await works.publish(works.request())
    first = await taken.next()
    await consumer.cancel()
    first.requeue()
    await works.pools.start()
    started, _ = await works.frame()
    assert isinstance(started, Started)
    assert started.ask
    assert not upstream.requests
    works.tell(Verdict(started.attempt, go=True))
    assert isinstance((await works.frame())[0], Answer)
    assert (await works.row()).attempt == started.attempt


async def test_a_stale_request_that_nobody_wants_is_never_begun(works: Works, upstream: Upstream) -> None:
    upstream.script(up.json(OK))
    await works.pools.start()
    await works.publish(works.request("old", received=works.now - 5))
    started, _ = await works.frame()
    assert isinstance(started, Started)
    assert started.ask
    works.tell(Verdict(started.attempt, go=False))
    failed, _ = await works.frame()
    assert isinstance(failed, Failed)
    assert failed.failure.kind is Kind.CANCELLED
    await works.publish(works.request("new"))
    assert (await works.row()).request == "new"  # the old one left no row
    assert len(upstream.requests) == 1


async def test_an_expired_request_costs_nothing(works: Works, upstream: Upstream) -> None:
    await works.pools.start()
    await works.publish(works.request(deadline=works.now - 1))
    failed, _ = await works.frame()
    assert isinstance(failed, Failed)
    assert (failed.failure.kind, failed.attempt) == (Kind.DEADLINE, "")
    assert not upstream.requests


async def test_what_is_no_request_goes_to_the_dead_letters(works: Works) -> None:
    dead = Taken()
    await works.bus.consume(DEAD_QUEUE, dead, 10)
    await works.pools.start()
    await works.bus.publish(Address(REQUESTS, QUEUE), Message(b"no request", "x"))
    (await dead.next()).ack()


async def test_a_bad_body_is_refused_without_a_call(works: Works, upstream: Upstream) -> None:
    await works.pools.start()
    await works.publish(works.request(), b"[1]")
    failed, _ = await works.frame()
    assert isinstance(failed, Failed)
    assert failed.failure.kind is Kind.INVALID_REQUEST
    assert not upstream.requests


async def test_a_drain_waits_for_what_runs(works: Works, upstream: Upstream) -> None:
    gate = asyncio.Event()
    upstream.script(up.chunked([gate, b'{"choices":[{}]}'], "application/json"))
    await works.pools.start()
    await works.publish(works.request())
    await upstream.received(1)
    draining = asyncio.create_task(works.pools.drain(10))
    await asyncio.sleep(0)
    gate.set()
    assert await draining
    assert (await works.row()).status is Status.SUCCESS


async def test_what_does_not_end_within_the_drain_goes_back(works: Works, upstream: Upstream) -> None:
    upstream.script(up.stall())
    await works.pools.start()
    await works.publish(works.request(), BODY)
    await upstream.received(1)
    assert not await works.pools.drain(0.05)
    row = await works.row()
    assert (row.status, row.failure) == (Status.FAILURE, "shutting_down")
    again = Taken()
    await works.bus.consume(QUEUE, again, 1)
    delivery = await again.next()
    assert delivery.redelivered
    delivery.ack()


async def test_a_drain_without_patience_takes_nothing_new_either(works: Works, upstream: Upstream) -> None:
    await works.pools.start()
    assert await works.pools.drain(0)
    taken = Taken()
    await works.bus.consume(QUEUE, taken, 10)
    for name in ("r1", "r2"):
        await works.publish(works.request(name))
    for name in ("r1", "r2"):
        delivery = await taken.next()
        assert delivery.id == name
        delivery.ack()
    assert not upstream.requests


async def test_a_header_that_is_no_text_costs_nobody_the_answer(works: Works, upstream: Upstream) -> None:
    said = b'{"choices":[{}]}'
    upstream.script(up.garbage(b"HTTP/1.1 200 OK\r\nx-request-id: caf\xe9\r\ncontent-length: 16\r\n\r\n" + said))
    await works.pools.start()
    await works.publish(works.request())
    await works.frame()
    answer, body = await works.frame()
    assert isinstance(answer, Answer)
    assert (answer.headers, body) == ({}, said)
