"""Asking: a request out to its group's queue, its frames back from this process's inbox, and nobody left waiting."""

import asyncio
import contextlib
import logging
from collections.abc import Collection

import msgspec
from msgspec import structs

from api import refusals
from api.connections import Connections
from api.course import Course
from api.doubtful import Doubtful
from api.leaving import Leaving
from api.lines import Lines
from api.payment import Payment
from api.pending import Pending, Piece, ends
from api.watch import Watch
from broker.port import Address, BusDown, BusError, Inbox, Message
from broker.topology import REPLIES, REQUESTS, requests_queue
from policy.admission import hopeless, too_late
from policy.decision import Again, Fallback, GiveUp
from schemas.config import Settings
from schemas.envelope import (
    Answer,
    Beat,
    Cancel,
    Class,
    Ended,
    Event,
    Failed,
    Probe,
    Request,
    RollCall,
    Started,
    Verdict,
    unpack_frame,
)
from schemas.failures import Failure, Kind, Refused

_LOG = logging.getLogger("penstock.api")
_SWEEP = 0.25
_FRESH = 0.5  # seconds since it came: such a request was not held up here


class Asker:
    """The asking side of one API process."""

    def __init__(self, world: Connections, settings: Settings) -> None:
        self._bus = world.bus
        self._events = world.events
        self._roster = world.roster
        self._attempts = world.attempts
        self._planner = world.planner
        self._now = world.now
        self._settings = settings
        self.lines = Lines(world.planner, self._publish, lambda: self._bus.trouble is None, settings.queue_bytes)
        self.lines.late = self._late
        self._pending: dict[str, Pending] = {}
        self._watch = Watch(world.roster, settings)
        self._doubtful = Doubtful()
        self._leaving = Leaving(settings.disconnect_grace, self._stop)
        self._usable = 0.0  # loop time at which the bus was last seen without trouble
        self._inbox: Inbox | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._clock = asyncio.get_running_loop().time
        world.events.listen(self._heard)
        world.roster.on_gone = self._worker_gone

    async def open(self) -> None:
        """Open the inbox and ask who is there."""
        self._inbox = await self._bus.inbox(REPLIES, self._arrived, self._inbox_lost)
        self._events.tell(RollCall())
        self._sweeper = asyncio.create_task(self._sweep(), name="asker sweep")

    def expect_changes(self) -> None:
        """See `Watch`."""
        self._watch.expect_changes(self._clock())

    def adopt(self, touched: Collection[str]) -> None:
        """These model groups are others now: what waits for one goes its way anew, or is told that there is none."""
        open_ = [one for one in self._pending.values() if not one.done and not one.opened]
        waiting = [one for one in open_ if one.request.group in touched]
        moved = [one for one in waiting if one.attempt is None and (one.out or one.line is not None)]
        for pending in moved:
            self._withdraw(pending)
        for pending in waiting:
            if not self._planner.renew(pending) and pending.attempt is None:
                self._failed(pending, refusals.removed(pending.request))
            elif pending in moved:
                self._join(pending)

    async def close(self) -> None:
        """Fail whoever still waits, record what is lost, close the inbox."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        for pending in self._pending.values():
            pending.fail(Failure(Kind.DRAINING, "The server is shutting down."))
        self.lines.close()
        self._leaving.close()
        for pending in self._leaving:
            self._events.tell(Cancel(pending.request.id))
        await self._attempts.close(patience=2)
        if self._inbox is not None:
            await self._inbox.close()

    @property
    def waiting(self) -> int:
        """Requests without their whole answer."""
        return sum(not pending.answered for pending in self._pending.values())

    @property
    def address(self) -> str:
        """Where frames for this process go. Raises `Refused(BUS_DOWN)` while there is no such place."""
        if self._bus.trouble is not None or self._inbox is None:
            raise Refused(Kind.BUS_DOWN, f"The message queue is not available: {self._bus.trouble or 'starting'}.")
        return self._inbox.address

    def ask(self, request: Request, body: bytes, course: Course, payment: Payment | None = None) -> Pending:
        """Send the request on its way; its answer comes out of what is returned. Call `dismiss` with it in the end.

        Raises `Refused` when nobody could answer, or not in time.
        """
        pending = Pending(request, body, course, self._settings.slow_reader_bytes)
        pending.payment = payment
        failure = refusals.made_to_fail(request) if course.wishes.test_fallbacks else course.refusal
        failure = failure or self._refusal(pending)
        while failure is not None:
            if not isinstance(self._planner.decide(pending, failure, "", self._now()), Fallback):
                if payment is not None:
                    payment.unused()
                raise Refused.carrying(failure)
            self._fall_back(pending, failure)
            failure = self._refusal(pending)
        self._pending[request.id] = pending
        self._enter(pending)
        return pending

    def _fall_back(self, pending: Pending, failure: Failure) -> None:
        self._planner.fall_back(pending, failure.kind)
        if pending.payment is not None:
            pending.payment.moved()

    def _enter(self, pending: Pending, *, first: bool = False) -> None:
        """Join a line, with what it may cost held anew if that is needed."""
        if pending.payment is not None and pending.payment.stale:
            pending.payment.renew(pending, lambda: self._rejoin(pending), pending.fail)
        else:
            self._join(pending, first=first)

    def _refusal(self, pending: Pending) -> Failure | None:
        """Why its model group cannot serve it in time."""
        served = any(self._roster.standing(d.id).alive for d in pending.course.eligible)
        if not served:
            return None if self._watch.patient(self._clock()) else refusals.no_workers(pending.request)
        if not self._settings.pacing:
            return None
        if self.lines.full(pending):
            return refusals.queue_full()
        if pending.request.klass is Class.BATCH:
            return None
        ahead, before = self.lines.outlook(pending)
        late = too_late(ahead, before, pending.request.deadline - self._now())
        return refusals.too_late(ahead.wait(before), late) if late else None

    def _join(self, pending: Pending, *, first: bool = False) -> None:
        if self._settings.pacing:
            self.lines.join(pending, first=first)
        else:
            self._publish(pending, requests_queue(pending.request.group, pending.request.klass), "")

    def _publish(self, pending: Pending, queue: str, _deployment: str) -> None:
        """To the queue. A request that waited says when it left, so that nobody takes it for an old one."""
        request, now = pending.request, self._now()
        again = pending.published > 0
        try:
            if again or now - request.received > _FRESH or request.reply_to != self.address:
                n = request.n + again
                request = pending.request = structs.replace(request, n=n, published=now, reply_to=self.address)
            data = refusals.packed(request, pending.body)
        except Refused as refused:  # nobody else's request is harmed by it
            pending.out = True  # as its line counts it
            pending.fail(refused.failure)
            return
        pending.published, pending.out = self._clock(), True
        remaining, durable = max(0.001, request.deadline - now), request.klass is Class.BATCH
        message = Message(data, request.id, request.id, request.reply_to, remaining, durable)
        self._bus.post(Address(REQUESTS, queue), message, lambda error: self._refused(pending, request.n, error))

    def attach(self, request: Request, body: bytes) -> Pending | None:
        """The running call of a client that has just gone away and asks again for the same; it is that client's now."""
        return self._leaving.attach(request, body)

    def dismiss(self, pending: Pending) -> None:
        """The client has its answer, or has gone: what still waits is cancelled, what runs after a short grace.

        A call that ends within the grace has its usage from the provider, and not an estimate; and whoever asks for
        the same again meanwhile is given its answer.
        """
        if pending.request.id not in self._pending:
            return
        if pending.timer is not None:
            pending.timer.cancel()
        if pending.abandoned and pending.attempt is not None and not pending.answered:
            self._leaving.keep(pending)
            return
        under_way = pending.out or pending.attempt is not None
        self._forget(pending)
        if under_way and not pending.answered:
            self._events.tell(Cancel(pending.request.id))

    def _stop(self, pending: Pending) -> None:
        self._forget(pending)
        if pending.attempt is not None and pending.attempt.attempt in self._attempts:
            self._events.tell(Cancel(pending.request.id))

    def _forget(self, pending: Pending) -> None:
        del self._pending[pending.request.id]
        self._doubtful.close(pending)
        pending.finish()
        self.lines.left(pending)

    def _arrived(self, data: bytes, correlation: str) -> None:
        try:
            frame, body = unpack_frame(data)
        except (ValueError, msgspec.MsgspecError):
            _LOG.error("a message in the inbox is no frame")
            return
        if isinstance(frame, Probe):
            return
        pending = self._pending.get(correlation)
        if isinstance(frame, Started):
            self._started(frame, correlation, pending)
            return
        if ends(frame):
            self._attempts.end(frame.attempt)
        if pending is not None:
            self._take(pending, frame, body)

    def _take(self, pending: Pending, frame: Piece | Failed, body: bytes) -> None:
        pending.last = self._clock()
        attempt, before = pending.attempt, pending.answered
        if not isinstance(frame, Failed):
            pending.piece(frame, body)
            if pending.answered and not before and attempt is not None:
                self._roster.over(attempt.deployment, attempt.model, attempt.worker)
                if pending.payment is not None and isinstance(frame, Answer | Ended):
                    pending.payment.ended(frame.usage, frame.cost)
            return
        failure = pending.failed(frame)
        if failure is not None:
            self._failed(pending, failure, attempt)
        elif attempt is not None and pending.attempt is None and self._settings.pacing:
            self._rejoin(pending)  # its worker leaves: whoever else can shall have it, wherever it was handed to

    def _started(self, frame: Started, correlation: str, pending: Pending | None) -> None:
        verdict = None if pending is None else pending.announced(frame)
        if pending is None or verdict is None or not verdict.go:
            self._say_no(frame, correlation, pending)
            if pending is not None and pending.opened and frame.n == pending.request.n:
                pending.fail(Failure(Kind.WORKER_LOST, "The worker was lost in the middle of its answer."))
            return
        self._roster.begun(frame.deployment, frame.model, frame.worker)
        self.lines.left(pending)
        self._attempts.begin(frame, pending)
        if pending.payment is not None:
            pending.payment.begun()
        if verdict.replaces is not None and verdict.replaces.attempt in self._attempts:
            self._events.tell(Cancel(correlation, verdict.replaces.attempt))
            self._attempts.lose(verdict.replaces.attempt)
        if frame.ask:
            self._events.tell(Verdict(frame.attempt, go=True))

    def _failed(self, pending: Pending, failure: Failure, attempt: Started | None = None) -> None:
        """An attempt, or the way to one, has failed: once more, elsewhere, or that is the answer."""
        deployment = "" if attempt is None else self._over(pending, attempt, failure)
        if pending.done or pending.opened or pending in self._leaving:
            pending.fail(failure)
            return
        self._withdraw(pending)
        now = self._now()
        match self._planner.decide(pending, failure, deployment, now):
            case Again(at=at):
                pending.begin_anew()
                if at <= now:
                    self._rejoin(pending)
                else:
                    pending.timer = asyncio.get_running_loop().call_later(at - now, self._rejoin, pending)
            case Fallback():
                pending.begin_anew()
                self._fall_back(pending, failure)
                refusal = self._refusal(pending)
                if refusal is None:
                    self._rejoin(pending)
                else:
                    self._failed(pending, refusal)
            case GiveUp():
                pending.fail(failure)

    def _over(self, pending: Pending, attempt: Started, failure: Failure) -> str:
        """An attempt has failed; its deployment."""
        if pending.payment is not None:
            pending.payment.ended(None)
        self._roster.over(attempt.deployment, attempt.model, attempt.worker)
        if failure.kind is Kind.PROVIDER_RATE_LIMIT:
            self._planner.refused(attempt.deployment, attempt.model, failure.retry_after)
        return attempt.deployment

    def _late(self, pending: Pending, latency: float) -> bool:
        """Its turn has come too late: then it is told so, and takes no room from those behind it."""
        request = pending.request
        if not hopeless(request.deadline - self._now(), request.deadline - request.received, latency):
            return False
        pending.line = None
        asyncio.get_running_loop().call_soon(self._failed, pending, refusals.turn_too_late())
        return True

    def _rejoin(self, pending: Pending) -> None:
        pending.timer = None
        if not pending.done and pending.attempt is None:
            self._enter(pending, first=True)

    def _refused(self, pending: Pending, n: int, error: BusError) -> None:
        """The bus has not taken it; after a lost connection it may be in the queue all the same."""
        if n != pending.request.n or pending.attempt is not None:
            return
        if isinstance(error, BusDown) and self._settings.pacing:
            self._send_again(pending)
        else:
            self._failed(pending, refusals.not_taken(error))

    def _say_no(self, frame: Started, request: str, pending: Pending | None) -> None:
        if frame.ask:
            self._events.tell(Verdict(frame.attempt, go=False))
        else:
            self._doubtful.begun(request, pending)
            self._events.tell(Cancel(request, frame.attempt))

    def _inbox_lost(self) -> None:
        """The connection is gone, and with it every frame on its way: tell those whose call has begun, at once.

        What nobody has begun is sent again when there is a connection; if it is in the queue still, its number is old.
        """
        for pending in list(self._pending.values()):
            if pending.attempt is not None:
                pending.fail(Failure(Kind.BUS_DOWN, "The message queue was lost while the request was under way."))
            elif pending.out:
                self._send_again(pending)

    def _send_again(self, pending: Pending) -> None:
        self._withdraw(pending)
        self._rejoin(pending)

    def _heard(self, event: Event) -> None:
        self._roster.heard(event)
        if isinstance(event, Beat) and event.role == "worker":
            self.lines.news()

    def _worker_gone(self, process: str) -> None:
        for announced in self._attempts.by_worker(process):
            self._attempts.lose(announced.started.attempt)
            pending = announced.pending
            if pending.attempt is announced.started:
                said = "in the middle of its answer" if pending.opened else "before it answered"
                self._failed(pending, Failure(Kind.WORKER_LOST, f"The worker was lost {said}."), announced.started)

    def _hand_on(self) -> None:
        """What was sent to somebody who does not take it goes to somebody who could."""
        for pending in self.lines.overdue():
            self._send_again(pending)

    def _withdraw(self, pending: Pending) -> None:
        """Whoever still finds it in the queue as it is now shall leave it alone."""
        if pending.out:
            request = pending.request
            self._events.tell(Cancel(request.id, n=request.n))
            pending.request = structs.replace(request, n=request.n + 1)
            pending.out = pending.line is not None
        self.lines.left(pending)

    async def _sweep(self) -> None:
        clock = self._clock
        tick = clock()
        while True:
            await asyncio.sleep(_SWEEP)
            before, tick = tick, clock()
            late = tick - before > 2 * _SWEEP  # we were held up: beats may lie unread
            self._roster.sweep(deaf=late or self._bus.trouble is not None)
            self._attempts.sweep()
            if self._bus.trouble is None:
                self._usable = tick
                self._hand_on()
            for pending in list(self._pending.values()):
                if not pending.opened and pending.attempt is None and tick - self._usable > self._settings.bus_wait:
                    pending.fail(Failure(Kind.BUS_DOWN, "The message queue is not available."))
                elif (failure := self._watch.trouble(pending, tick)) is not None:
                    self._failed(pending, failure)
