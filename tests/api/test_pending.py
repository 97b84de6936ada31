"""One attempt is forwarded, never two mixed; and nobody waits for what cannot come."""

import pytest

from api.course import Course, Wishes
from api.pending import Pending
from schemas.envelope import Answer, Chunk, Ended, Endpoint, Failed, Opened, Request, Started
from schemas.failures import Failure, Kind, Refused


def pending(*, stream: bool = True, bound: int = 1000) -> Pending:
    request = Request(
        id="r", endpoint=Endpoint.CHAT, group="g", model="g", stream=stream, received=0, deadline=1, reply_to="i"
    )
    return Pending(request, b"0123456789", Course((), Wishes(), 0), bound)


def started(attempt: str) -> Started:
    return Started(attempt=attempt, worker="w", deployment="d", provider="p", model="m", at=1)


async def text(waiting: Pending) -> bytes:
    got = b""
    while True:
        piece, body = await waiting.next()
        got += body
        if isinstance(piece, Ended) or (isinstance(piece, Answer) and not piece.more):
            return got


async def test_the_pieces_come_out_as_they_came_in() -> None:
    waiting = pending()
    assert waiting.announced(started("a")).go
    waiting.piece(Opened(attempt="a"), b"1")
    waiting.piece(Chunk(attempt="a", n=1), b"2")
    waiting.piece(Ended(attempt="a", n=2), b"3")
    assert await text(waiting) == b"123"
    assert waiting.unread == 0


async def test_before_the_first_byte_a_second_attempt_takes_over() -> None:
    waiting = pending(stream=False)
    first = started("a")
    waiting.announced(first)
    verdict = waiting.announced(started("b"))
    assert verdict.go
    assert verdict.replaces is first
    waiting.piece(Answer(attempt="a"), b"late")
    waiting.piece(Answer(attempt="b"), b"good")
    assert await text(waiting) == b"good"


async def test_after_the_first_byte_a_second_attempt_is_refused() -> None:
    waiting = pending()
    waiting.announced(started("a"))
    waiting.piece(Opened(attempt="a"), b"1")
    assert not waiting.announced(started("b")).go
    waiting.piece(Opened(attempt="b"), b"x")
    waiting.piece(Ended(attempt="a", n=1), b"2")
    assert await text(waiting) == b"12"


async def test_a_missing_part_ends_the_answer() -> None:
    waiting = pending()
    waiting.announced(started("a"))
    waiting.piece(Opened(attempt="a"), b"1")
    waiting.piece(Chunk(attempt="a", n=2), b"3")
    assert (await waiting.next())[1] == b"1"
    with pytest.raises(Refused) as caught:
        await waiting.next()
    assert caught.value.failure.kind is Kind.WORKER_LOST


async def test_a_worker_that_drains_hands_the_request_on() -> None:
    waiting = pending()
    waiting.announced(started("a"))
    assert waiting.failed(Failed(failure=Failure(Kind.DRAINING, "bye"), attempt="a")) is None
    assert not waiting.done
    assert waiting.announced(started("b")).replaces is None


async def test_the_end_of_an_attempt_that_is_not_ours_changes_nothing() -> None:
    waiting = pending()
    waiting.announced(started("a"))
    waiting.announced(started("b"))
    assert waiting.failed(Failed(failure=Failure(Kind.CANCELLED, "replaced"), attempt="a")) is None
    assert not waiting.done


async def test_a_slow_reader_is_bounded() -> None:
    waiting = pending(bound=10)
    waiting.announced(started("a"))
    waiting.piece(Opened(attempt="a"), b"12345")
    waiting.piece(Chunk(attempt="a", n=1), b"678901")
    assert not waiting.done  # one long event is no slowness
    stuck = []
    waiting.cut_off = lambda: stuck.append(True)
    waiting.piece(Chunk(attempt="a", n=2), b"2")
    assert waiting.done
    assert stuck
    await waiting.next()
    await waiting.next()
    with pytest.raises(Refused) as caught:
        await waiting.next()
    assert caught.value.failure.kind is Kind.SLOW_READER


async def test_a_whole_answer_in_parts_has_no_bound_here() -> None:
    waiting = pending(stream=False, bound=10)
    waiting.announced(started("a"))
    waiting.piece(Answer(attempt="a", more=True), b"x" * 20)
    waiting.piece(Chunk(attempt="a", n=1), b"y" * 20)
    waiting.piece(Ended(attempt="a", n=2), b"z")
    assert await text(waiting) == b"x" * 20 + b"y" * 20 + b"z"
