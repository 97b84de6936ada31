"""One request that waits for its answer: frames in from the reply queue, pieces of the answer out to the client.

The asker forwards exactly one attempt. Until a byte of it is out, a second attempt may take its place; afterwards a
second one is refused, and the answer ends with an error.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from schemas.envelope import Answer, Chunk, Ended, Failed, Frame, Opened, Request, Started
from schemas.failures import Failure, Kind, Refused

if TYPE_CHECKING:
    from api.course import Course
    from api.lines import Line
    from api.payment import Payment

Piece = Answer | Opened | Chunk | Ended


def ends(frame: Frame) -> bool:
    """Whether its attempt says nothing more."""
    return isinstance(frame, Failed | Ended) or (isinstance(frame, Answer) and not frame.more)


class Verdict(NamedTuple):
    """What to do about an attempt that announced itself: let it go on, and which earlier one it replaces."""

    go: bool
    replaces: Started | None = None


class Pending:
    """The state of one request on the asking side. Not thread-safe; all calls on the loop.

    `bound` is how much of a stream may be unread, in bytes.
    """

    __slots__ = (
        "_bound", "_failure", "_hungry", "_pieces", "_waiter",
        "abandoned", "ahead", "answered", "attempt", "body", "course", "cut_off", "done", "events", "handed", "hands",
        "last", "line", "n", "opened", "out", "payment", "published",
        "request", "taken", "timer", "unread", "unserved",
    )  # fmt: skip

    def __init__(self, request: Request, body: bytes, course: "Course", bound: int) -> None:
        self.request = request
        self.body = body
        self.payment: Payment | None = None  # None: nothing limits what it may spend
        self.course = course
        self.line: Line | None = None  # where it waits to begin
        self.out = False  # it is in the queue, and has not begun
        self.handed = ""  # the deployment that it was handed to last
        self.hands = 0  # how often it was handed on to another one
        self.published = 0.0  # loop time at which it was, last; 0: never
        self.timer: asyncio.TimerHandle | None = None  # it will join its line again then
        self.ahead = 0  # requests that were before it when it joined its line
        self.abandoned = False  # the client is gone
        self.taken = False  # the client has something of the answer
        self.attempt: Started | None = None
        self.opened = False  # something of the answer has come: from here on only this attempt can end it
        self.done = False  # nothing more will come
        self.answered = False  # the answer is complete, or its end was told: nobody works on it any more
        self.last = 0.0  # loop time of the last frame
        self.n = 0
        self.unserved: float | None = None  # loop time since which nobody has served its model
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
        if self.done or self.opened or started.n != self.request.n:
            return Verdict(go=False)
        replaces, self.attempt = self.attempt, started
        return Verdict(go=True, replaces=replaces)

    def piece(self, frame: Piece, body: bytes) -> None:
        """A part of the answer; those of an attempt that is not ours are ignored."""
        if not self.done and self.attempt is not None and frame.attempt == self.attempt.attempt:
            self._piece(frame, body)

    def failed(self, frame: Failed) -> Failure | None:
        """What a failure means for the request; None: nothing, or not yet."""
        if self.done or (frame.attempt and (self.attempt is None or frame.attempt != self.attempt.attempt)):
            return None
        if frame.failure.kind is Kind.DRAINING and not self.opened:
            if frame.attempt:
                self.attempt = None  # the message goes back to the queue: another worker begins anew
                if self.payment is not None:
                    self.payment.returned()
            return None
        self.answered = True
        if frame.failure.kind is Kind.CANCELLED:  # not by us: we would not listen any more
            return Failure(Kind.WORKER_LOST, "The worker gave the request up.")
        return frame.failure

    @property
    def failing(self) -> bool:
        """It has ended with a failure."""
        return self._failure is not None

    def begin_anew(self) -> None:
        """It goes to the queue once more."""
        self.attempt = None
        self.answered = False

    def fail(self, failure: Failure) -> None:
        """End the request; what has already come is still handed out first."""
        if not self.done:
            self.done = True
            self._failure = failure
            self._wake()

    def abandon(self) -> None:
        """The client is gone."""
        if not self.done:
            self.abandoned = True
            self.fail(Failure(Kind.CANCELLED, "The client went away."))

    def revive(self) -> None:
        """It goes on without its client, for a while."""
        self.abandoned = self.done = False
        self._failure = None
        self.cut_off = lambda: None

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
        self.taken = True
        piece, body = self._pieces.popleft()
        self.unread -= len(body)
        return piece, body

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
