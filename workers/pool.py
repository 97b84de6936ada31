"""A worker process's pools: what it consumes, what it has in hand, and how it stops."""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from broker.events import Events, Pulse
from broker.port import Address, Consumer, Delivery, Message
from broker.topology import REPLIES, requests_queue
from schemas.config import Deployment
from schemas.envelope import Cancel, Event, Probe, Serving, Verdict, pack, unpack_request
from schemas.failures import Kind
from workers.execute import Bench, Job, execute
from workers.providers.port import Adapter
from workers.relay import Relay

_LOG = logging.getLogger("penstock.worker")
_REMEMBERED = 10_000  # cancelled requests that may still arrive
_LAST_WORDS = 5.0  # seconds that jobs whose call has ended have to tell asker and ledger
_LOOK = 0.05  # seconds between two looks at what still runs while draining
_PROBE = pack(Probe())


class Pools:
    """Every deployment that this process serves: one consumer per (deployment, queue), one task per request."""

    def __init__(
        self,
        deployments: tuple[Deployment, ...],
        bench: Bench,
        events: Events,
        adapter: Callable[[Deployment], Adapter],
    ) -> None:
        self._bench = bench
        self._served = [(deployment, adapter(deployment)) for deployment in deployments]
        self._consumers: list[Consumer] = []
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[asyncio.Task[None], Job] = {}
        self._draining = False
        self._prober: asyncio.Task[None] | None = None
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._in_flight = dict.fromkeys((d.id for d in deployments), 0)
        self._pulse = Pulse(events, bench.worker, "worker", bench.settings.beat_every, self._serving)
        events.listen(self._heard)
        bench.bus.on_return = self._asker_gone

    @property
    def running(self) -> int:
        """Requests in hand."""
        return len(self._tasks)

    async def start(self) -> None:
        """Consume, and say so."""
        for deployment, adapter in self._served:
            queue = requests_queue(deployment.group)
            self._consumers.append(
                await self._bench.bus.consume(queue, self._taker(deployment, adapter), deployment.slots)
            )
        self._pulse.start()
        self._prober = asyncio.create_task(self._probe(), name="probe askers")

    async def drain(self, patience: float) -> bool:
        """Take nothing new, let what runs finish within `patience` seconds, stop the rest; True if none was stopped."""
        self._draining = True
        cancelled = asyncio.gather(*(consumer.cancel() for consumer in self._consumers))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await asyncio.shield(cancelled)  # they take nothing more, however short the patience is
                self._pulse.beat()  # alive, and serving nothing any more
                while self._calling():
                    await asyncio.wait(self._tasks, timeout=_LOOK)
        left = self._calling()
        for job in left:
            job.stop(Kind.DRAINING, "The worker is shutting down.")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=min(_LAST_WORDS, patience))
        for task in list(self._tasks):  # their events cannot be confirmed: the outbox has them
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._prober is not None:
            self._prober.cancel()
            await asyncio.gather(self._prober, return_exceptions=True)
        await self._pulse.stop()
        return not left

    def _calling(self) -> list[Job]:
        """Jobs whose call has not ended; the others only wait for the bus."""
        return [job for job in self._tasks.values() if job.stopped is None]

    def _serving(self) -> tuple[Serving, ...]:
        if self._draining:
            return ()
        return tuple(Serving(requests_queue(d.group), d.id, d.slots, self._in_flight[d.id]) for d, _ in self._served)

    def _taker(self, deployment: Deployment, adapter: Adapter) -> Callable[[Delivery], None]:
        def take(delivery: Delivery) -> None:
            self._take(delivery, deployment, adapter)

        return take

    def _take(self, delivery: Delivery, deployment: Deployment, adapter: Adapter) -> None:
        try:
            request, body = unpack_request(delivery.body)
        except (ValueError, msgspec.MsgspecError):
            _LOG.error("a message on the queue of %s is no request; it goes to the dead letters", deployment.group)
            delivery.reject()
            return
        if self._cancelled.pop(request.id, self) is None:
            delivery.ack()
            return
        job = Job(
            delivery=delivery,
            request=request,
            body=body,
            deployment=deployment,
            adapter=adapter,
            relay=Relay(self._bench.bus, request, self._bench.settings.stream_window),
        )
        earlier = self._jobs.get(request.id)
        if earlier is not None:  # its delivery was lost with a connection: the message is ours once more
            earlier.stop(Kind.DRAINING, "The connection to the queue was lost.")
        self._jobs[request.id] = job
        self._in_flight[deployment.id] += 1
        task = asyncio.create_task(execute(job, self._bench))
        self._tasks[task] = job
        task.add_done_callback(lambda done: self._done(job, done))

    def _done(self, job: Job, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._in_flight[job.deployment.id] -= 1
        if self._jobs.get(job.request.id) is job:
            del self._jobs[job.request.id]

    def _heard(self, event: Event) -> None:
        match event:
            case Cancel(request=request, attempt=attempt):
                self._cancel(request, attempt)
            case Verdict(attempt=attempt, go=go):
                waiting = self._bench.verdicts.get(attempt)
                if waiting is not None and not waiting.done():
                    waiting.set_result(go)
            case _:
                pass

    def _cancel(self, request: str, attempt: str) -> None:
        job = self._jobs.get(request)
        if job is not None:
            if not attempt or job.relay.attempt == attempt:
                job.stop(Kind.CANCELLED, "The client went away.")
        elif not attempt:
            self._cancelled[request] = None
            if len(self._cancelled) > _REMEMBERED:
                self._cancelled.popitem(last=False)

    async def _probe(self) -> None:
        """A call that says nothing for minutes would not notice that its asker is gone."""
        while True:
            await asyncio.sleep(self._bench.settings.beat_every)
            for asker in {job.request.reply_to for job in self._tasks.values()}:
                self._bench.bus.send(Address(REPLIES, asker), Message(_PROBE))

    def _asker_gone(self, _message: Message, to: Address) -> None:
        for job in self._tasks.values():
            if job.request.reply_to == to.key:
                job.stop(Kind.CANCELLED, "The process that asked is gone.")
