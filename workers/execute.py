"""The life of one request in a worker, from delivery to acknowledgement.

take -> translate -> announce -> call -> relay -> record -> acknowledge. Every way out passes `_settle`: an attempt that
was begun is told to the ledger, confirmed, before the request is acknowledged. Its event leaves this process after the
announcement and before the last frame: if we are killed, either the event is out or the asker still waits for the end.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from broker.outbox import Outbox
from broker.port import Bus, Delivery
from policy.valve import Lane
from schemas.catalog import upstream_model
from schemas.config import Deployment, Settings
from schemas.envelope import Answer, Request
from schemas.failures import Failure, Kind, Refused
from schemas.limits import NOTHING, Told
from schemas.usage import Usage
from workers.attempt import Attempt
from workers.estimate import estimate_prompt
from workers.providers.demo import MOCK, mock_script
from workers.providers.headers import shown
from workers.providers.limits import told
from workers.providers.port import Adapter, Call, Script, Translation
from workers.relay import Relay
from workers.transport import Response, Transport

_LOG = logging.getLogger("penstock.worker")
_VERDICT_WAIT = 5.0  # seconds to wait for an asker's word before a second attempt; an asker answers at once or is gone
_STALE = 1.0  # seconds on the way after which an asker may have given up, and we not have heard it
_EARLY = 0.05  # seconds that alarms on two processes may be apart
_ERROR_BYTES = 2**20  # of an error's body; more says nothing more
_MAYBE_BILLED = frozenset(
    {
        Kind.CANCELLED,
        Kind.DRAINING,
        Kind.PROVIDER_TIMEOUT,
        Kind.PROVIDER_BROKE_OFF,
        Kind.PROVIDER_GARBLED,
        Kind.ANSWER_TOO_LARGE,
    }
)
"""Failures after which the provider may still charge: usage is estimated when it did not say."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker works with; one per process."""

    worker: str
    bus: Bus
    outbox: Outbox
    transport: Transport
    settings: Settings
    price: Callable[[Deployment, str, Usage], Decimal | None]
    unseal: Callable[[str], Mapping[str, Any]]
    now: Callable[[], float] = time.time
    heard_for: Callable[[], float] = lambda: math.inf  # seconds without a missed event
    verdicts: dict[str, asyncio.Future[bool]] = field(default_factory=dict)


@dataclass(slots=True)
class Job:
    """One delivery in our hands."""

    delivery: Delivery
    request: Request
    body: bytes
    deployment: Deployment
    adapter: Adapter
    relay: Relay
    lane: Lane = Lane.SHARED
    attempt: Attempt | None = None
    translation: Translation | None = None
    stopped: Failure | None = None
    recorded: Coroutine[Any, Any, None] | None = None  # ends when the bus has confirmed the attempt's event
    failure: Failure | None = None  # how it ended, once it has
    hurried: bool = False  # the request's own deadline was the shorter: its end says nothing of the provider
    told: Callable[[Told], None] = lambda _: None  # hears what the provider says of its limits
    task: asyncio.Task[None] | None = None
    begun: bool = False  # a task that is cancelled before its first step never runs, so it is not

    def stop(self, kind: Kind, why: str) -> None:
        """End the call from outside: the asker is gone (CANCELLED) or we are (DRAINING). Later calls change nothing."""
        if self.stopped is None:
            self.stopped = Failure(kind, why)
            if self.task is not None and self.begun:
                self.task.cancel()

    def refuse(self, failure: Failure) -> None:
        """It has not started, and shall not here."""
        self.relay.fail(failure)
        self.delivery.ack()


async def execute(job: Job, bench: Bench) -> None:
    """Run the job to its end. Raises nothing; cancelled only through `Job.stop`."""
    job.begun = True
    try:
        await _attempt(job, bench)
        failure = None
    except Refused as refused:
        failure = refused.failure
    except asyncio.CancelledError:
        failure = _overdue(job, bench) or job.stopped or Failure(Kind.DRAINING, "The worker was stopped.")
    except Exception:  # noqa: BLE001 (the one place where a bug must not cost the asker its answer, or us the row)
        _LOG.exception("request %s failed in the worker itself", job.request.id)
        failure = Failure(Kind.INTERNAL, "The worker could not process the request.")
    job.failure = failure
    job.stopped = job.stopped or Failure(Kind.CANCELLED, "The request has already ended.")  # too late to stop it now
    await _settle(job, bench, failure)


async def _attempt(job: Job, bench: Bench) -> None:
    request = job.request
    if job.stopped is not None:
        raise Refused.carrying(job.stopped)
    if bench.now() >= request.deadline:
        raise Refused(Kind.DEADLINE, "The request's deadline passed while it was queued.")
    call = _translate(job, bench)
    attempt = Attempt(
        request=request,
        deployment=job.deployment,
        model=upstream_model(job.deployment, request.model),
        worker=bench.worker,
        started=int(bench.now() * 1e6),
    )
    await _announce(job, attempt, bench)
    job.attempt = attempt  # from here on there will be a row
    async with _time_limit(job, bench) as limit:
        response = await bench.transport.open(call)
        try:
            await _answer(job, attempt, response, bench, limit)
        finally:
            response.close()


def _overdue(job: Job, bench: Bench) -> Failure | None:
    """An asker gives up at the deadline too, and its word may be here before our own alarm: it is no disconnect."""
    cancelled = job.stopped is not None and job.stopped.kind is Kind.CANCELLED
    if not cancelled or job.relay.opened or bench.now() < job.request.deadline - _EARLY:
        return None
    return Failure(Kind.PROVIDER_TIMEOUT, "The provider did not answer in time.")


def _translate(job: Job, bench: Bench) -> Call | Script:
    mock = job.request.mock_response or job.deployment.mock_response
    if mock is not None:
        job.adapter = MOCK  # the script is in OpenAI's form, whatever the deployment's provider speaks
        return mock_script(job.request, job.body, mock)
    credentials = bench.unseal(job.request.credentials) if job.request.credentials else {}
    return job.adapter.call(job.request, job.body, credentials)


async def _announce(job: Job, attempt: Attempt, bench: Bench) -> None:
    """Return when the announcement has left this process and, where that is asked, the asker has agreed.

    One that was redelivered may be answered already, one that is old, or that waited while we did not hear the events,
    may be unwanted: the asker alone knows.
    """
    age = bench.now() - (job.request.published or job.request.received)
    ask = job.delivery.redelivered or age > _STALE or bench.heard_for() < _STALE
    try:
        async with asyncio.timeout(job.request.deadline - bench.now()):
            job.relay.started(attempt.announcement(ask=ask))
            await (_permission(job, attempt, bench) if ask else bench.bus.flushed())
    except TimeoutError:
        raise Refused(Kind.DEADLINE, "The request's deadline passed before it could be begun.") from None
    if job.relay.torn:
        raise Refused(Kind.DRAINING, "The connection to the queue was lost.")


async def _permission(job: Job, attempt: Attempt, bench: Bench) -> None:
    verdict = bench.verdicts[attempt.id] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.timeout(_VERDICT_WAIT):
            go = await verdict
    except TimeoutError:
        go = job.relay.torn  # the question may have been lost, and then nobody has said no
    finally:
        del bench.verdicts[attempt.id]
    if not go:
        raise Refused(Kind.CANCELLED, "Nobody waits for this request any more.")


@asynccontextmanager
async def _time_limit(job: Job, bench: Bench) -> AsyncIterator[asyncio.Timeout]:
    request, deployment = job.request, job.deployment
    own = (deployment.stream_timeout or deployment.timeout) if request.stream else deployment.timeout
    seconds = request.deadline - bench.now()
    job.hurried = own is None or seconds < own
    if own is not None:
        seconds = min(seconds, own)
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError:
        silent = "went silent in the middle of its answer" if job.relay.opened else "did not answer in time"
        raise Refused(Kind.PROVIDER_TIMEOUT, f"The provider {silent}.") from None


async def _answer(job: Job, attempt: Attempt, response: Response, bench: Bench, limit: asyncio.Timeout) -> None:
    attempt.http_status = response.status
    said = told(response.headers)
    if said is not NOTHING:
        job.told(said)
    if not 200 <= response.status < 300:
        raise Refused.carrying(job.adapter.failure(response.status, response.headers, await _error_body(response)))
    if job.request.stream:
        job.translation = job.adapter.stream(job.request, job.body)
        await _stream(job, attempt, response, job.translation, bench, limit)
        return
    body = await response.read(bench.settings.max_answer_bytes)
    attempt.first_byte = int(bench.now() * 1e6)
    answered = job.adapter.answer(job.request, response.headers, body, job.body)
    attempt.usage = answered.usage
    cost = _record(job, attempt, bench)
    head = Answer(
        attempt=attempt.id,
        status=response.status,
        headers=dict(answered.headers),
        usage=answered.usage,
        cost=cost,
    )
    await job.relay.answer(head, answered.body)


async def _error_body(response: Response) -> bytes:
    """An error's body, b"" for one that is endless or breaks off: the status alone says enough."""
    try:
        return await response.read(_ERROR_BYTES)
    except Refused:
        return b""


async def _stream(
    job: Job, attempt: Attempt, response: Response, translation: Translation, bench: Bench, limit: asyncio.Timeout
) -> None:
    relay, gap, clock = job.relay, job.request.gap, asyncio.get_running_loop().time
    async for data in response.chunks():
        events = translation.feed(data)
        if events and relay.opened:
            limit.reschedule(None)  # what the queue takes its time for is not the provider's silence
            await relay.push(events)
        elif events:
            attempt.first_byte = int(bench.now() * 1e6)
            relay.open(shown(response.headers), events)
        if relay.opened:  # the deadline was for the first byte; from here on silence is what is bounded
            limit.reschedule(clock() + gap)
    last = translation.end()
    attempt.usage = translation.usage
    if not relay.opened:
        relay.open(shown(response.headers), b"")
    relay.end(last, attempt.usage, _record(job, attempt, bench))


def _record(job: Job, attempt: Attempt, bench: Bench) -> Decimal | None:
    """Tell the ledger; the cost, in US dollars."""
    cost = _cost(attempt, bench)
    job.recorded = bench.outbox.report(attempt.event(int(bench.now() * 1e6), cost))
    return cost


async def _settle(job: Job, bench: Bench, failure: Failure | None) -> None:
    try:
        await _tell(job, bench, failure)
    except Exception:  # noqa: BLE001 (whatever it was, the slot must be free again; a dead letter tells of it)
        _LOG.exception("the end of request %s could not be told", job.request.id)
        job.delivery.reject()
        return
    if _begin_anew(job, failure):
        job.delivery.requeue()
    else:
        job.delivery.ack()


async def _tell(job: Job, bench: Bench, failure: Failure | None) -> None:
    """The ledger first, then the asker; return when the bus has confirmed the former."""
    attempt = job.attempt
    if attempt is not None and failure is not None and job.recorded is None:
        attempt.failure, attempt.again = failure, _begin_anew(job, failure)
        attempt.usage = _used(job, attempt, failure)
        _record(job, attempt, bench)
    if failure is not None:
        job.relay.fail(failure)
    if job.recorded is not None:
        await job.recorded


def _begin_anew(job: Job, failure: Failure | None) -> bool:
    """True if the asker may have heard nothing of it: whoever gets the message next asks first."""
    if failure is not None and failure.kind is Kind.CANCELLED:
        return False
    draining = failure is not None and failure.kind is Kind.DRAINING
    return job.relay.torn or (draining and not job.relay.opened)


def _cost(attempt: Attempt, bench: Bench) -> Decimal | None:
    try:
        return bench.price(attempt.deployment, attempt.model, attempt.usage)
    except Exception:  # noqa: BLE001 (a price that cannot be told is unknown; the row must not be lost over it)
        _LOG.exception("no price could be told for %s", attempt.model)
        return None


def _used(job: Job, attempt: Attempt, failure: Failure) -> Usage:
    if job.translation is not None:
        return job.translation.usage
    if attempt.usage.total or failure.kind not in _MAYBE_BILLED:
        return attempt.usage
    return Usage(prompt=estimate_prompt(job.body), estimated=True)
