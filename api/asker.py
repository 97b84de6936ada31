"""Asking: a request out to its group's queue, its frames back from this process's inbox, and nobody left waiting."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

import msgspec

from api.announced import AnnouncedAttempts
from api.pending import Pending
from api.roster import Roster
from broker.events import Events
from broker.port import Address, Bus, BusDown, BusError, Inbox, Message, QueueFull
from broker.topology import REPLIES, REQUESTS, requests_queue
from schemas.config import Settings
from schemas.envelope import (
    Answer,
    Cancel,
    Ended,
    Failed,
    Frame,
    Probe,
    Request,
    RollCall,
    Started,
    Verdict,
    pack,
    unpack_frame,
)
from schemas.failures import Failure, Kind, Refused

_LOG = logging.getLogger("penstock.api")
_OVERTIME = 10.0  # seconds that a worker has to end a silent stream before we do
_SWEEP = 0.5
_LONGEST_HEAD = 2**20  # bytes; with 15 MiB of body the 16 MiB that RabbitMQ 4 takes, and every row gets its metadata
_PATIENCE = 2.0  # seconds without a usable bus until those whose request nobody has begun are told


@dataclass(frozen=True, slots=True)
class Line:
    """What an asker needs of the world: the bus, the events on it, and who is there."""

    bus: Bus
    events: Events
    roster: Roster
    attempts: AnnouncedAttempts


class Asker:
    """The asking side of one API process."""

    def __init__(self, line: Line, settings: Settings) -> None:
        self._bus = line.bus
        self._events = line.events
        self._roster = line.roster
        self._attempts = line.attempts
        self._settings = settings
        self._pending: dict[str, Pending] = {}
        self._unserved: dict[str, float] = {}
        self._leaving: dict[str, asyncio.TimerHandle] = {}  # requests whose client is gone, in their grace
        self._usable = 0.0  # loop time at which the bus was last seen without trouble
        self._inbox: Inbox | None = None
        self._sweeper: asyncio.Task[None] | None = None
        line.events.listen(line.roster.heard)
        line.roster.on_gone = self._worker_gone

    async def open(self) -> None:
        """Open the inbox and ask who is there."""
        self._inbox = await self._bus.inbox(REPLIES, self._arrived, self._inbox_lost)
        self._events.tell(RollCall())
        self._sweeper = asyncio.create_task(self._sweep(), name="asker sweep")

    async def close(self) -> None:
        """Fail whoever still waits, record what is lost, close the inbox."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        for pending in self._pending.values():
            pending.fail(Failure(Kind.DRAINING, "The server is shutting down."))
        for request, timer in self._leaving.items():
            timer.cancel()
            self._events.tell(Cancel(request))
        await self._attempts.close(patience=2)
        if self._inbox is not None:
            await self._inbox.close()

    @property
    def waiting(self) -> int:
        """Requests without their whole answer."""
        return len(self._pending)

    @property
    def address(self) -> str:
        """Where frames for this process go. Raises `Refused(BUS_DOWN)` while there is no such place."""
        if self._bus.trouble is not None or self._inbox is None:
            raise Refused(Kind.BUS_DOWN, f"The message queue is not available: {self._bus.trouble or 'starting'}.")
        return self._inbox.address

    def ask(self, request: Request, body: bytes, remaining: float) -> Pending:
        """Publish the request; its answer comes out of what is returned. Call `dismiss` with it in the end.

        `remaining` is the time to its deadline in seconds. Raises `Refused` when nobody could answer.
        """
        queue = requests_queue(request.group)
        if self._settings.pool_wait <= 0 and not self._roster.serves(queue):
            raise _no_workers(request)
        pending = Pending(request, len(body), self._settings.slow_reader_bytes)
        self._bus.post(
            Address(REQUESTS, queue),
            Message(_packed(request, body), request.id, request.id, request.reply_to, remaining),
            lambda error: _refused(pending, error),
        )
        self._pending[request.id] = pending
        return pending

    def dismiss(self, pending: Pending) -> None:
        """The client has its answer, or has gone: what still waits is cancelled, what runs after a short grace.

        A call that ends within the grace has its usage from the provider, and not an estimate.
        """
        request, attempt = pending.request.id, pending.attempt
        if self._pending.pop(request, None) is None:
            return
        pending.finish()
        if pending.answered:
            return
        if attempt is None or not pending.abandoned:
            self._events.tell(Cancel(request))
            return
        grace = self._settings.disconnect_grace
        self._leaving[request] = asyncio.get_running_loop().call_later(grace, self._stop, request, attempt.attempt)

    def _stop(self, request: str, attempt: str) -> None:
        del self._leaving[request]
        if attempt in self._attempts:
            self._events.tell(Cancel(request))

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
        if _ends(frame):
            self._attempts.end(frame.attempt)
        if pending is not None:
            pending.last = asyncio.get_running_loop().time()
            pending.frame(frame, body)

    def _started(self, frame: Started, correlation: str, pending: Pending | None) -> None:
        verdict = None if pending is None else pending.announced(frame)
        if pending is None or verdict is None or not verdict.go:
            self._say_no(frame, correlation)
            if pending is not None:
                pending.fail(Failure(Kind.WORKER_LOST, "The worker was lost in the middle of its answer."))
            return
        self._attempts.begin(frame, pending)
        if verdict.replaces is not None and verdict.replaces.attempt in self._attempts:
            self._events.tell(Cancel(correlation, verdict.replaces.attempt))
            self._attempts.lose(verdict.replaces.attempt)
        if frame.ask:
            self._events.tell(Verdict(frame.attempt, go=True))

    def _say_no(self, frame: Started, request: str) -> None:
        self._events.tell(Verdict(frame.attempt, go=False) if frame.ask else Cancel(request, frame.attempt))

    def _inbox_lost(self) -> None:
        """The connection is gone, and with it every frame on its way: tell those who wait, at once."""
        for pending in self._pending.values():
            pending.fail(Failure(Kind.BUS_DOWN, "The message queue was lost while the request was under way."))

    def _worker_gone(self, process: str) -> None:
        for announced in self._attempts.by_worker(process):
            self._attempts.lose(announced.started.attempt)
            pending = announced.pending
            if pending.opened and pending.attempt is announced.started:
                pending.fail(Failure(Kind.WORKER_LOST, "The worker was lost in the middle of its answer."))

    async def _sweep(self) -> None:
        clock = asyncio.get_running_loop().time
        tick = clock()
        while True:
            await asyncio.sleep(_SWEEP)
            before, tick = tick, clock()
            late = tick - before > 2 * _SWEEP  # we were held up: beats may lie unread
            self._roster.sweep(deaf=late or self._bus.trouble is not None)
            self._attempts.sweep()
            if self._bus.trouble is None:
                self._usable = tick
            for pending in list(self._pending.values()):
                if pending.opened:
                    self._watch_silence(pending, tick)
                elif pending.attempt is None and tick - self._usable > _PATIENCE:
                    pending.fail(Failure(Kind.BUS_DOWN, "The message queue is not available."))
                else:
                    self._watch_pool(pending, tick)
            for request in self._unserved.keys() - self._pending.keys():
                del self._unserved[request]

    def _watch_silence(self, pending: Pending, tick: float) -> None:
        if not pending.done and tick - pending.last > pending.request.gap + _OVERTIME:
            pending.fail(Failure(Kind.PROVIDER_TIMEOUT, "The answer stopped in the middle."))

    def _watch_pool(self, pending: Pending, tick: float) -> None:
        request, attempt = pending.request, pending.attempt
        begun = attempt is not None and self._roster.alive(attempt.worker)
        if begun or self._roster.serves(requests_queue(request.group)):
            self._unserved.pop(request.id, None)
        elif tick - self._unserved.setdefault(request.id, tick) >= self._settings.pool_wait:
            pending.fail(_no_workers(request).failure)


def _packed(request: Request, body: bytes) -> bytes:
    data = pack(request, body)
    if len(data) - len(body) > _LONGEST_HEAD:
        said = "Metadata, tags and the other fields that are not the model's are too large together."
        raise Refused(Kind.TOO_LARGE, said)
    return data


def _ends(frame: Frame) -> bool:
    return isinstance(frame, Failed | Ended) or (isinstance(frame, Answer) and not frame.more)


def _no_workers(request: Request) -> Refused:
    return Refused(Kind.NO_WORKERS, f"No worker is serving the model '{request.group}' right now.")


def _refused(pending: Pending, error: BusError) -> None:
    pending.fail(_refusal(error))
    pending.answered = not isinstance(error, BusDown)  # it is not in the queue; after a lost connection it may be


def _refusal(error: BusError) -> Failure:
    match error:
        case QueueFull():
            return Failure(Kind.QUEUE_FULL, "The queue for this model is full.")
        case BusDown():
            return Failure(Kind.BUS_DOWN, "The message queue was lost before it took the request.")
        case _:
            return Failure(Kind.NO_WORKERS, "There is no queue for this model.")
