"""One deployment in one process: what it consumes, what it holds, and when each request may start.

`policy.valve` decides; here are the consumers, the timer and the tasks.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.port import Bus, BusError, Delivery
from broker.topology import handoff_queue, requests_queue
from policy.circuit import Circuit, Rules
from policy.limiter import Cost, Limiter, Mark
from policy.share import Share
from policy.valve import End, Lane, Slots, Valve
from schemas.catalog import upstream_model
from schemas.config import Deployment
from schemas.envelope import Class, Request, Serving
from schemas.failures import Failure, Kind
from schemas.limits import Told
from workers.estimate import estimate_call
from workers.execute import Job
from workers.tap import Tap

_LONG = 1.0  # seconds: what cannot start for this long is given back
_BATCH_HELD = 60.0  # seconds that batch requests may be held without one starting: RabbitMQ has limits for that
_MOST_MODELS = 256  # of a wildcard, kept while they are idle
_SAME = ("group", "provider", "model", "api_base", "api_key", "organization", "limits")
"""Fields by which a provider's limits for a deployment are the same ones."""
_HARMLESS = frozenset({Kind.CANCELLED, Kind.DRAINING, Kind.DEADLINE, Kind.INTERNAL})


@dataclass(frozen=True, slots=True)
class Setting:
    """What a gate works with. `alone`: its group has no other deployment; `order` is its place among them."""

    bus: Bus
    take: Callable[["Gate", Delivery, Lane], None]
    run: Callable[[Job], "asyncio.Task[None]"]
    gone: Callable[[Job], None]  # it was in hand, and is not any more
    changed: Callable[[], None]
    rules: Rules
    alone: bool
    order: int
    pacing: bool


class Gate:
    """Everything that one deployment has in this process. Needs a running event loop.

    One that takes the place of another, `before`, counts the calls that are under way there as its own.
    """

    def __init__(self, deployment: Deployment, setting: Setting, before: "Gate | None" = None) -> None:
        self.deployment = deployment
        self.share = Share(1, deployment.limits.parallel)
        self._setting = setting
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._wild = "*" in deployment.group
        self._slots: Slots = Slots(0) if before is None else before._slots
        self._slots.most = self._most()
        self._limiter = self._inherited(before) or Limiter(deployment.limits, self._clock())
        self._limited = self._limiter.counts_requests or self._limiter.counts_tokens
        self._valves: dict[str, Valve[Job]] = {"": self._valve(self._limiter)}
        self._taps = self._make_taps()
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0
        self._shut = False
        self._batch_moved = self._clock()

    @property
    def limiter(self) -> Limiter:
        """The deployment's own limiter, for the day's counts."""
        return self._limiter

    @property
    def running(self) -> int:
        """Calls under way."""
        return self._slots.running

    async def start(self) -> None:
        """Consume. Raises `BusError`."""
        appetite = self._appetite(self._clock()) or 1
        for tap in self._taps.values():
            await tap.start(appetite)

    async def adapt(self, setting: Setting) -> None:
        """The same deployment, among others or by other rules. Raises `BusError`."""
        self._setting = setting
        for valve in self._valves.values():
            valve.circuit.rules = setting.rules
        made, had = self._make_taps(), self._taps
        kept = {name: tap for name, tap in had.items() if name in made and tap.priority == made[name].priority}
        new = {name: tap for name, tap in made.items() if name not in kept}
        appetite = self._appetite(self._clock()) or 1
        try:
            for tap in new.values():
                await tap.start(appetite)
        except BusError:
            await asyncio.gather(*(tap.close() for tap in new.values()))
            raise
        self._taps = kept | new
        await asyncio.gather(*(tap.close() for name, tap in had.items() if name not in kept))

    async def close(self) -> None:
        """Take nothing more, and give back what has not started."""
        await asyncio.gather(*(tap.close() for tap in self._taps.values()))
        if self._timer is not None:
            self._timer.cancel()
        self._give_back(*Lane)

    def hold(self, job: Job, lane: Lane) -> None:
        """One more request: it starts now or when it may."""
        if not self._setting.pacing:
            self._begin(job, None, None)
            return
        valve = self._valve_of(job.request)
        valve.hold(job, lane, self._cost(job, valve.limiter))
        self._open(valve)

    def drop(self, job: Job) -> bool:
        """It need not start; False if it has started."""
        return any(valve.drop(job) for valve in self._valves.values())

    def tick(self) -> None:
        """Adapt what is consumed to what can be done, some times a second."""
        now = self._clock()
        for valve in list(self._valves.values()):
            self._open(valve)
            if self._wild and valve.held and valve.shut(now) > _LONG:
                self._return(valve, now)
        appetite = self._appetite(now)
        self._tell_if_shut(appetite == 0)
        if not appetite:
            self._give_back(Lane.HANDED, Lane.SHARED)
        if now - self._batch_moved > _BATCH_HELD:
            self._give_back(Lane.BATCH)
            self._batch_moved = now
        for tap in self._taps.values():
            tap.want(appetite)

    def shared(self, part: Share) -> None:
        """Which part of the deployment this process has now."""
        if part != self.share:
            self.share = part
            self._slots.most = self._most()
            for limiter in {id(valve.limiter): valve.limiter for valve in self._valves.values()}.values():
                limiter.share(part.copies)
            self._setting.changed()

    @property
    def rate(self) -> float:
        """Calls per second that all processes together may begin, as all of them know it; 0: any."""
        return self._limiter.agreed()

    def heard(self, row: Serving) -> None:
        """How it stands in another process: failures and refusals there count here."""
        valve = self._valves.get(row.model)
        if valve is not None:
            now = self._clock()
            valve.circuit.heard(row.cooling, now)
            if row.refused:
                valve.limiter.heard(row.refused, now)

    def alone(self) -> None:
        """We have just begun, and nobody else is here."""
        self._limiter.begin_fresh(self._clock())

    def start_over(self) -> None:
        """We were away for a while: others may have used the limits."""
        now = self._clock()
        for valve in self._valves.values():
            valve.limiter.start_over(now)

    def rows(self) -> list[Serving]:
        """How it stands here: the deployment, and the models of a wildcard that are held up by themselves."""
        now = self._clock()
        rows = [self._row("", self._valves[""], now)]
        if self._wild:
            rows[0] = self._overall(rows[0], now)
            rows += [
                self._row(model, valve, now)
                for model, valve in self._valves.items()
                if model and (valve.limiter.pace() or valve.shut(now))
            ]
        return rows

    def _row(self, model: str, valve: Valve[Job], now: float) -> Serving:
        return Serving(
            queue=requests_queue(self.deployment.group),
            deployment=self.deployment.id,
            slots=self._slots.most,
            in_flight=self._slots.running,
            room=valve.room(now),
            pace=round(valve.pace(), 3),
            latency=round(valve.latency, 3),
            slowest=round(valve.slowest(now), 3),
            cooling=round(valve.circuit.cooling(now), 3),
            refused=round(max(0.0, valve.limiter.shut_until - now), 3),
            shut=round(valve.shut(now), 3),
            used=round(valve.limiter.used(now), 4),
            model=model,
        )

    def _overall(self, row: Serving, now: float) -> Serving:
        """A wildcard's own row: its models' calls, not only those of the unnamed one."""
        latencies = [valve.latency for valve in self._valves.values() if valve.latency]
        slowest = max((valve.slowest(now) for valve in self._valves.values()), default=0.0)
        latency = sum(latencies) / len(latencies) if latencies else 0.0
        return Serving(
            queue=row.queue,
            deployment=row.deployment,
            slots=row.slots,
            in_flight=row.in_flight,
            room=max(0, row.slots - row.in_flight),
            pace=row.pace or (round(row.slots / latency, 3) if latency else 0.0),
            latency=latency,
            slowest=slowest,
            refused=row.refused,
            shut=row.shut if self._limited else 0.0,
            used=row.used,
        )

    def _inherited(self, before: "Gate | None") -> Limiter | None:
        """What the gate before this one has counted and learned, if the provider counts on."""
        if before is None or any(getattr(before.deployment, name) != getattr(self.deployment, name) for name in _SAME):
            return None
        before.limiter.share(self.share.copies)
        return before.limiter

    def _make_taps(self) -> Mapping[str, Tap]:
        deployment, setting = self.deployment, self._setting
        queues = [
            (requests_queue(deployment.group), Lane.SHARED),
            (requests_queue(deployment.group, Class.BATCH), Lane.BATCH),
        ]
        if not setting.alone:
            queues += [
                (handoff_queue(deployment.id), Lane.HANDED),
                (handoff_queue(deployment.id, Class.BATCH), Lane.BATCH),
            ]
        return {queue: Tap(setting.bus, queue, self._taker(lane), -setting.order) for queue, lane in queues}

    def _taker(self, lane: Lane) -> Callable[[Delivery], None]:
        def take(delivery: Delivery) -> None:
            self._setting.take(self, delivery, lane)

        return take

    def _valve(self, limiter: Limiter) -> Valve[Job]:
        now = self._clock()
        return Valve(limiter, Circuit(self._setting.rules, now), self._slots, now)

    def _valve_of(self, request: Request) -> Valve[Job]:
        if not self._wild:
            return self._valves[""]
        model = upstream_model(self.deployment, request.model)
        valve = self._valves.get(model)
        if valve is None:
            if len(self._valves) > _MOST_MODELS:
                self._forget_idle()
            limiter = self._limiter if self._limited else Limiter(self.deployment.limits, self._clock())
            limiter.share(self.share.copies)
            valve = self._valves[model] = self._valve(limiter)
        return valve

    def _forget_idle(self) -> None:
        for model, valve in list(self._valves.items()):
            if model and not valve.held and not valve.running:
                del self._valves[model]

    def _cost(self, job: Job, limiter: Limiter) -> Cost:
        if not limiter.counts_tokens:
            return Cost()
        prompt, completion = estimate_call(job.body, limiter.typical_output)
        return Cost(min(prompt, limiter.largest), min(completion, limiter.largest))

    def _open(self, valve: Valve[Job]) -> None:
        """Start all that may start, and look again when the next one may."""
        now = self._clock()
        while (found := valve.start(now)) is not None:
            self._begin(*found, valve)
        wait = valve.wait(now)
        if wait is not None and (self._timer is None or self._due_at > now + wait):
            if self._timer is not None:
                self._timer.cancel()
            self._due_at = now + wait
            self._timer = self._loop.call_later(wait, self._due)

    def _due(self) -> None:
        self._timer = None
        for valve in list(self._valves.values()):
            self._open(valve)

    def _begin(self, job: Job, mark: Mark | None, valve: Valve[Job] | None) -> None:
        began = self._clock()
        if job.lane is Lane.BATCH:
            self._batch_moved = began
        if mark is not None and valve is not None:
            limiter = valve.limiter

            def told(said: Told) -> None:
                limiter.told(said, mark, self._clock())

            job.told = told
        task = self._setting.run(job)
        if mark is not None and valve is not None:
            task.add_done_callback(lambda _: self._ended(job, mark, valve, began))

    def _ended(self, job: Job, mark: Mark, valve: Valve[Job], began: float) -> None:
        now = self._clock()
        valve.ended(mark, _end(job, now - began), now)
        if job.failure is not None and (valve.circuit.cooling(now) or valve.limiter.shut_until > now):
            self._setting.changed()
        self._open(valve)

    def _appetite(self, now: float) -> int:
        if not self.share.serves:
            return 0
        if not self._setting.pacing:
            return self._slots.most
        if self._wild and not self._limited:
            return self._slots.most
        return self._valves[""].appetite(now) if not self._wild else min(self._slots.most, self._limited_appetite(now))

    def _limited_appetite(self, now: float) -> int:
        return 0 if self._limiter.wait(Cost(), now) > _LONG else self._slots.most

    def _give_back(self, *lanes: Lane) -> None:
        """To the queue, which has nobody here to give it to before this deployment can start something again."""
        for valve in self._valves.values():
            for job in valve.give_up(*lanes):
                self._setting.gone(job)
                job.delivery.requeue()

    def _return(self, valve: Valve[Job], now: float) -> None:
        """To the askers: the queue goes on being consumed for the wildcard's other models."""
        wait = valve.shut(now)
        for job in valve.give_up(Lane.HANDED, Lane.SHARED):
            said = "The provider's rate limit for this model is reached."
            self._setting.gone(job)
            job.refuse(Failure(Kind.PROVIDER_RATE_LIMIT, said, retry_after=wait))

    def _tell_if_shut(self, shut: bool) -> None:
        if shut != self._shut:
            self._shut = shut
            self._setting.changed()

    def _most(self) -> int:
        most = self.deployment.slots
        return most if self.share.slots is None else min(most, self.share.slots)


def _end(job: Job, seconds: float) -> End:
    failure = job.failure
    if failure is None:
        usage = job.attempt.usage if job.attempt is not None else None
        return End(None, seconds, None if usage is None else Cost(usage.prompt, usage.completion))
    kind = failure.kind
    if kind in _HARMLESS or (job.hurried and kind is Kind.PROVIDER_TIMEOUT):
        kind = Kind.DEADLINE
    wait = failure.retry_after if math.isfinite(failure.retry_after) else 0.0
    return End(kind, seconds, None, wait)
