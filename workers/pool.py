"""A worker process's pools: what it consumes, what it has in hand, and how it stops."""

import asyncio
import contextlib
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from broker.events import Events, Pulse
from broker.port import Address, BusError, Delivery, Message
from broker.topology import REPLIES
from policy.circuit import Rules
from policy.roster import Roster
from policy.share import share
from policy.valve import Lane
from schemas.config import Config, Deployment
from schemas.envelope import Beat, Cancel, Event, Probe, Request, RollCall, Verdict, pack, unpack_request
from schemas.failures import Failure, Kind
from workers.execute import Bench, Job, execute
from workers.gate import Gate, Setting
from workers.providers.port import Adapter
from workers.relay import Relay

_LOG = logging.getLogger("penstock.worker")
_REMEMBERED = 10_000  # cancelled requests that may still arrive
_LAST_WORDS = 5.0  # seconds that jobs whose call has ended have to tell asker and ledger
_LOOK = 0.05  # seconds between two looks at what still runs while draining
_TICK = 0.1  # seconds between two looks at what the gates consume
_ANSWERS = 0.2  # seconds in which others answer a roll call
_AWAY = 2.0  # seconds: who was stopped for so long does not know what the others did
_TOGETHER = 0.02  # seconds in which news share a beat
_PROBE = pack(Probe())


class Pools:
    """Every deployment that this process serves: a gate for each, one task per call."""

    def __init__(
        self,
        config: Config,
        served: tuple[Deployment, ...],
        bench: Bench,
        events: Events,
        adapter: Callable[[Deployment], Adapter],
    ) -> None:
        self._bench = bench
        self._events = events
        self._config = config
        self._adapter = adapter
        self._adapters: dict[Gate, Adapter] = {}
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[asyncio.Task[None], Job] = {}
        self._draining = False
        self._background: list[asyncio.Task[None]] = []
        self._news: asyncio.TimerHandle | None = None
        self._cancelled: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._peers = Roster(asyncio.get_running_loop().time)
        beat = Beat(process=bench.worker, role="worker", every=bench.settings.beat_every)
        self._pulse = Pulse(events, self._beat, beat)
        events.listen(self._heard)
        bench.bus.on_return = self._asker_gone
        self.gates: list[Gate] = []
        self._leaving: set[Gate] = set()  # they take nothing more, and may still hold something
        for deployment in served:
            self._add(deployment)

    @property
    def running(self) -> int:
        """Calls under way."""
        return len(self._tasks)

    async def start(self) -> None:
        """Consume, and say so."""
        self._pulse.start()
        self._events.tell(RollCall())
        for gate in self.gates:
            await gate.start()
        self._background = [
            asyncio.create_task(self._probe(), name="probe askers"),
            asyncio.create_task(self._tick(), name="adapt gates"),
        ]

    async def adopt(self, config: Config, served: tuple[Deployment, ...]) -> None:
        """Serve these deployments from now on. One that is as it was goes on with all that it has learned.

        Calls under way end as they began. Raises `BusError` when something cannot be consumed; what can be is served
        then, and the same call once more tries the rest.
        """
        if self._draining:
            return
        self._config = config
        had = {gate.deployment.id: gate for gate in self.gates}
        wanted = {deployment.id: deployment for deployment in served}
        await self._dismiss(gate for name, gate in had.items() if name not in wanted)
        problems = []
        for name, deployment in wanted.items():
            gate = had.get(name)
            try:
                if gate is not None and _alike(gate.deployment, deployment):
                    await gate.adapt(self._setting(deployment))
                else:
                    await self._replace(gate, deployment)
            except BusError as problem:
                problems.append(problem)
        self._changed()
        if problems:
            raise problems[0]

    async def _replace(self, before: Gate | None, deployment: Deployment) -> None:
        gate = self._add(deployment, before)
        self._share()
        try:
            await gate.start()
        except BusError:
            await self._dismiss([gate])
            raise
        if before is not None:
            await self._dismiss([before])

    def _add(self, deployment: Deployment, before: Gate | None = None) -> Gate:
        gate = Gate(deployment, self._setting(deployment), before)
        self._adapters[gate] = self._adapter(deployment)
        self.gates.append(gate)
        return gate

    async def _dismiss(self, gates: Iterable[Gate]) -> None:
        for gate in list(gates):
            self.gates.remove(gate)
            self._leaving.add(gate)
            await gate.close()
            self._leaving.discard(gate)
            del self._adapters[gate]

    async def drain(self, patience: float) -> bool:
        """Take nothing new, let what runs finish within `patience` seconds, stop the rest; True if none was stopped."""
        self._draining = True
        cancelled = asyncio.gather(*(gate.close() for gate in self.gates))
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
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._news is not None:
            self._news.cancel()
        await self._pulse.stop()
        return not left

    def _calling(self) -> list[Job]:
        """Jobs whose call has not ended; the others only wait for the bus."""
        return [job for job in self._tasks.values() if job.stopped is None]

    def _beat(self) -> Beat:
        rows = () if self._draining else tuple(row for gate in self.gates for row in gate.rows())
        settings = self._bench.settings
        return Beat(process=self._bench.worker, role="worker", every=settings.beat_every, serving=rows)

    def _setting(self, deployment: Deployment) -> Setting:
        routing = self._config.routing
        group = [d for d in self._config.deployments if d.group == deployment.group]
        orders = sorted({math.inf if d.order is None else d.order for d in group})
        cooldown = routing.cooldown_time if deployment.cooldown_time is None else deployment.cooldown_time
        rules = Rules(
            cooldown=cooldown,
            allowed=routing.allowed_fails if deployment.allowed_fails is None else deployment.allowed_fails,
            allowed_by_name=routing.allowed_fails_policy,
            alone=len(group) < 2 or not routing.cooldowns,
        )
        return Setting(
            bus=self._bench.bus,
            take=self._take,
            run=self._run,
            gone=self._gone,
            changed=self._changed,
            rules=rules,
            alone=len(group) < 2,
            order=orders.index(math.inf if deployment.order is None else deployment.order),
            pacing=self._bench.settings.pacing,
        )

    def _changed(self) -> None:
        """Something that others should know: a beat, soon, and one for all that changes meanwhile."""
        if self._news is None and not self._draining:
            self._news = asyncio.get_running_loop().call_later(_TOGETHER, self._tell)

    def _tell(self) -> None:
        self._news = None
        self._pulse.beat()

    async def _tick(self) -> None:
        """Adapt what is consumed to what can be done, and each share to who is there."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        await asyncio.sleep(_ANSWERS)
        for gate in self.gates:
            if not self._peers.living(gate.deployment.id):
                gate.alone()
        while True:
            await asyncio.sleep(_TICK)
            before, last = last, loop.time()
            late = last - before > _AWAY
            if late:
                for gate in self.gates:
                    gate.start_over()
            self._peers.sweep(deaf=late or self._bench.bus.trouble is not None)
            self._share()
            for gate in self.gates:
                try:
                    gate.tick()
                except Exception:  # noqa: BLE001 (one deployment's trouble must not stop the others)
                    _LOG.exception("the deployment %s could not be looked after", gate.deployment.id)
            self._expire()

    def _share(self) -> None:
        for gate in self.gates:
            deployment = gate.deployment
            living = self._peers.living(deployment.id) | {self._bench.worker}
            gate.shared(share(self._bench.worker, living, deployment.id, gate.rate, deployment.limits.parallel))

    def _expire(self) -> None:
        """What waits here beyond its deadline is told so, and costs nothing."""
        now = self._bench.now()
        for job in list(self._jobs.values()):
            if job.task is None and now >= job.request.deadline and self._let_go(job):
                self._gone(job)
                job.refuse(Failure(Kind.DEADLINE, "The request's deadline passed while it was queued."))

    def _take(self, gate: Gate, delivery: Delivery, lane: Lane) -> None:
        try:
            request, body = unpack_request(delivery.body)
        except (ValueError, msgspec.MsgspecError):
            _LOG.error("a message on a queue of %s is no request; it goes to the dead letters", gate.deployment.id)
            delivery.reject()
            return
        if self._cancelled and self._unwanted(request):
            delivery.ack()
            return
        job = Job(
            delivery=delivery,
            request=request,
            body=body,
            deployment=gate.deployment,
            adapter=self._adapters[gate],
            relay=Relay(self._bench.bus, request, self._bench.settings.stream_window),
            lane=lane,
        )
        earlier = self._jobs.get(request.id)
        if earlier is not None and earlier.request.n > request.n:
            delivery.ack()  # of two publications the older one is wanted no more
            return
        if earlier is not None and not self._drop(earlier):
            # It was published anew, or its delivery was lost with a connection: the message is ours once more.
            again = earlier.request.n == request.n
            earlier.stop(Kind.DRAINING if again else Kind.CANCELLED, "The request came to this worker anew.")
        self._jobs[request.id] = job
        gate.hold(job, lane)

    def _unwanted(self, request: Request) -> bool:
        return any(self._cancelled.pop((request.id, n), self) is None for n in (0, request.n))

    def _drop(self, job: Job) -> bool:
        """Forget one that has not started; False if it has."""
        if job.task is not None or not self._let_go(job):
            return False
        self._gone(job)
        job.delivery.ack()
        return True

    def _let_go(self, job: Job) -> bool:
        return any(gate.drop(job) for gate in (*self.gates, *self._leaving))

    def _run(self, job: Job) -> "asyncio.Task[None]":
        task = job.task = asyncio.create_task(execute(job, self._bench))
        self._tasks[task] = job
        task.add_done_callback(lambda done: self._done(job, done))
        return task

    def _done(self, job: Job, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._gone(job)

    def _gone(self, job: Job) -> None:
        if self._jobs.get(job.request.id) is job:
            del self._jobs[job.request.id]

    def _heard(self, event: Event) -> None:
        match event:
            case Cancel(request=request, attempt=attempt, n=n):
                self._cancel(request, attempt, n)
            case Verdict(attempt=attempt, go=go):
                waiting = self._bench.verdicts.get(attempt)
                if waiting is not None and not waiting.done():
                    waiting.set_result(go)
            case Beat(role="worker") if event.process != self._bench.worker:
                new = not self._peers.alive(event.process)
                self._peers.heard(event)
                self._compare(event)
                if new:  # who comes counts at once
                    self._share()
            case _:
                pass

    def _compare(self, beat: Beat) -> None:
        for row in beat.serving:
            if row.cooling or row.refused:
                for gate in self.gates:
                    if gate.deployment.id == row.deployment:
                        gate.heard(row)

    def _cancel(self, request: str, attempt: str, n: int) -> None:
        job = self._jobs.get(request)
        if job is not None and n in (0, job.request.n):
            if not attempt and self._drop(job):
                return
            if not attempt or job.relay.attempt == attempt:
                job.stop(Kind.CANCELLED, "The client went away.")
        elif not attempt:
            self._cancelled[request, n] = None
            if len(self._cancelled) > _REMEMBERED:
                self._cancelled.popitem(last=False)

    async def _probe(self) -> None:
        """A call that says nothing for minutes would not notice that its asker is gone."""
        while True:
            await asyncio.sleep(self._bench.settings.beat_every)
            for asker in {job.request.reply_to for job in self._jobs.values()}:
                self._bench.bus.send(Address(REPLIES, asker), Message(_PROBE))

    def _asker_gone(self, _message: Message, to: Address) -> None:
        for job in list(self._jobs.values()):
            if job.request.reply_to == to.key and not self._drop(job):
                job.stop(Kind.CANCELLED, "The process that asked is gone.")


def _alike(one: Deployment, other: Deployment) -> bool:
    """Whether a call is the same by both: what `model_info` says for readers makes no difference."""
    return one == other or one.model_copy(update={"info": other.info}) == other
