"""What a worker does so that its death, or a moment of deafness, costs neither a row nor a needless call."""

import asyncio

import pytest

import tests.support.upstream as up
from broker.port import Address, Message
from broker.topology import REPLIES, USAGE
from schemas.envelope import Cancel, Ended, Failed, Opened, Started, Verdict, unpack_frame
from schemas.failures import Kind
from schemas.usage import Status
from tests.e2e.wire import DONE, WORDS
from tests.support.upstream import Upstream
from tests.workers.conftest import Works

OK = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}}], "usage": {"prompt_tokens": 1}}


async def test_who_may_have_missed_a_cancel_asks_first(works: Works, upstream: Upstream) -> None:
    upstream.script(up.json(OK))
    object.__setattr__(works.bench, "heard_for", lambda: 0.2)
    await works.pools.start()
    await works.publish(works.request())
    started, _ = await works.frame()
    assert isinstance(started, Started)
    assert started.ask
    works.tell(Verdict(started.attempt, go=False))
    assert isinstance((await works.frame())[0], Failed)
    assert not upstream.requests


async def test_stopped_while_it_asks_it_leaves_no_row(works: Works, upstream: Upstream) -> None:
    upstream.script(up.json(OK))
    await works.pools.start()
    await works.publish(works.request("asked", received=works.now - 5))
    assert isinstance((await works.frame())[0], Started)
    works.tell(Cancel("asked"))
    failed, _ = await works.frame()
    assert isinstance(failed, Failed)
    assert failed.failure.kind is Kind.CANCELLED
    await works.publish(works.request("next"))
    assert (await works.row()).request == "next"


@pytest.mark.parametrize("status", [200, 500])
async def test_the_event_is_out_between_the_first_frame_and_the_last(
    works: Works, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    upstream.script(up.json(OK, status))
    order: list[str] = []
    send, publish = works.bus.send, works.bus.publish

    def sent(to: Address, message: Message) -> None:
        if to.exchange == REPLIES:
            order.append(type(unpack_frame(message.body)[0]).__name__)
        send(to, message)

    def published(to: Address, message: Message) -> object:
        if to.exchange == USAGE:
            order.append("event")
        return publish(to, message)

    monkeypatch.setattr(works.bus, "send", sent)
    monkeypatch.setattr(works.bus, "publish", published)
    await works.pools.start()
    await works.publish(works.request())
    await works.row()
    assert order == ["Started", "event", "Answer" if status == 200 else "Failed"]


async def test_a_queue_that_takes_its_time_is_not_the_providers_silence(
    works: Works, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    upstream.script(up.chunked([WORDS[0], gate, *WORDS[1:], DONE]))
    flushed, slow = works.bus.flushed, asyncio.Event()

    async def held_up() -> None:
        if gate.is_set():
            slow.set()
            await asyncio.sleep(0.4)
        await flushed()

    monkeypatch.setattr(works.bus, "flushed", held_up)
    await works.pools.start()
    await works.publish(works.request(stream=True, gap=0.2))
    frame, _ = await works.frame()
    while not isinstance(frame, Opened):
        frame, _ = await works.frame()
    await asyncio.sleep(0.03)  # longer than the window: what comes now is sent at once, and waited for
    gate.set()
    while not isinstance(frame, Failed | Ended):
        frame, _ = await works.frame()
    assert slow.is_set()
    assert isinstance(frame, Ended)
    assert (await works.row()).status is Status.SUCCESS
