"""One request that waits for its answer: frames in from the reply queue, pieces of the answer out to the client.

The asker forwards exactly one attempt. Until a byte of it is out, a second attempt may take its place; afterwards a
second one is refused, and the answer ends with an error.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from schemas.envelope import Answer, Chunk, Ended, Failed, Opened, Request, Started
from schemas.failures import Failure, Kind, Refused

Piece = Answer | Opened | Chunk | Ended


class Verdict(NamedTuple):
    """What to do about an attempt that announced itself: let it go on, and which earlier one it replaces."""

    go: bool
    replaces: Started | None = None


class Pending:
    """The state of one request on the asking side. Not thread-safe; all calls on the loop.

    `size` is the length of the body that was sent; `bound` is how much of a stream may be unread. Both in bytes.
    """

    __slots__ = (
        "_bound", "_failure", "_hungry", "_pieces", "_waiter",
        "abandoned", "answered", "attempt", "cut_off", "done", "events", "last", "n", "opened", "request", "size",
        "unread",
    )  # fmt: skip

    def __init__(self, request: Request, size: int, bound: int) -> None:
        self.request = request
        self.size = size
        self.abandoned = False  # the client is gone
        self.attempt: Started | None = None
        self.opened = False  # something of the answer has come: from here on only this attempt can end it
        self.done = False  # nothing more will come
        self.answered = False  # the answer is complete, or its end was told: nobody works on it any more
        self.last = 0.0  # loop time of the last frame
        self.n = 0
        self.unread = 0
        self.cut_off: Callable[[], None] = lambda: None  # whoever hands on waits for the client: end that wait
        self.events = 0  # of a stream so far; about one token each
        self._bound = bound
        self._hungry = False  # somebody is inside `next`
        self._pieces: deque[tuple[Piece, bytes]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Failure | None = None

    def announced(self, started: Started) -> Verdict:
        """An attempt wants to begin, or has begun."""
        if self.done or self.opened:
            return Verdict(go=False)
        replaces, self.attempt = self.attempt, started
        return Verdict(go=True, replaces=replaces)

    def frame(self, frame: Piece | Failed, body: bytes) -> None:
        """A frame of the answer; those of an attempt that is not ours are ignored."""
        if self.done:
            return
        if isinstance(frame, Failed):
            self._failed(frame)
        elif self.attempt is not None and frame.attempt == self.attempt.attempt:
            self._piece(frame, body)

    def fail(self, failure: Failure) -> None:
        """End the request; what has already come is still handed out first."""
        if not self.done:
            self.done = True
            self._failure = failure
            self._wake()

    def abandon(self) -> None:
        """The client is gone."""
        self.abandoned = True
        self.fail(Failure(Kind.CANCELLED, "The client went away."))

    def finish(self) -> None:
        """The client has all, or is gone: nothing more is wanted."""
        self.done = True
        self._pieces.clear()

    async def next(self) -> tuple[Piece, bytes]:
        """The next piece of the answer. Raises `Refused` when the request failed."""
        self._hungry = True
        try:
            while not self._pieces:
                if self._failure is not None:
                    raise Refused.carrying(self._failure)
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        finally:
            self._hungry = False
        piece, body = self._pieces.popleft()
        self.unread -= len(body)
        return piece, body

    def _failed(self, frame: Failed) -> None:
        if frame.attempt and (self.attempt is None or frame.attempt != self.attempt.attempt):
            return
        if frame.failure.kind is Kind.DRAINING and not self.opened:
            if frame.attempt:
                self.attempt = None  # the message goes back to the queue: another worker begins anew
            return
        self.answered = True
        if frame.failure.kind is Kind.CANCELLED:  # not by us: we would not listen any more
            self.fail(Failure(Kind.WORKER_LOST, "The worker gave the request up."))
        else:
            self.fail(frame.failure)

    def _piece(self, frame: Piece, body: bytes) -> None:
        if isinstance(frame, Chunk | Ended):
            if not self.opened:
                return  # the beginning was lost: the worker knows, and the message goes to somebody anew
            self.n += 1
            if frame.n != self.n:
                self.fail(Failure(Kind.WORKER_LOST, "A part of the answer was lost on the way."))
                return
        self.opened = True
        # A whole answer has the bound of all answers; and whoever waits for a piece is not slow, only not yet awake.
        if self.request.stream and self.unread > self._bound and not self._hungry:
            self.fail(Failure(Kind.SLOW_READER, "The client did not read its answer fast enough."))
            self.cut_off()
            return
        self.unread += len(body)
        if self.request.stream:
            self.events += body.count(b"\n\n")
        self._pieces.append((frame, body))
        if isinstance(frame, Ended) or (isinstance(frame, Answer) and not frame.more):
            self.done = self.answered = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
