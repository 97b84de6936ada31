"""A whole house under virtual time: providers, a broker, API and worker processes, and clients that ask."""

import gc
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from broker.topology import topology_of
from schemas.config import Config, Deployment, Limits, Routing, Settings
from tests.simulation.bus import Broker
from tests.simulation.clock import Loop, Time
from tests.simulation.parts import GROUP, Api, Asked, Worker
from tests.simulation.provider import Character, Provider

WARM = 30.0  # seconds until figures count
LONG = 210.0  # seconds at which they no longer do
REST = 31.0  # seconds after which everything that was asked is answered
_STARTING = 0.05

Place = tuple[Deployment, Character]
Rate = Callable[[float], float]


@dataclass(frozen=True)
class Plan:
    """What a house is built from."""

    places: Sequence[Place]
    workers: int = 1
    apis: int = 1
    seed: int = 1
    routing: Routing = field(default_factory=Routing)
    prices: Mapping[str, Decimal] = field(default_factory=dict)


class World:
    """The house. `loop` is the clients' own, and whoever's who does things to the house."""

    def __init__(self, plan: Plan) -> None:
        self.time = Time()
        self.loop = Loop(self.time)
        self.random = Random(plan.seed)
        deployments = tuple(deployment for deployment, _ in plan.places)
        self._config = Config(deployments=deployments, routing=plan.routing, settings=Settings())
        self.broker = Broker(self.time, topology_of(deployments, self._config.settings.queue_bytes))
        self.providers = {deployment.id: Provider(character, self.loop.time) for deployment, character in plan.places}
        self.apis = [Api(f"api-{n}", self._config, self.time, self.broker, plan.seed) for n in range(plan.apis)]
        self.workers: list[Worker] = []
        for api in self.apis:
            api.start(plan.prices)
        for _ in range(plan.workers):
            self.hire()
        self.run(_STARTING)

    @property
    def provider(self) -> Provider:
        """The only one."""
        (provider,) = self.providers.values()
        return provider

    @property
    def asked(self) -> list[Asked]:
        """Everything that was asked."""
        return [asked for api in self.apis for asked in api.asked]

    @property
    def processes(self) -> list[Api | Worker]:
        """All but the broker."""
        return [*self.apis, *self.workers]

    def run(self, until: float) -> None:
        """Let time pass."""
        self.time.run(until)

    def at(self, when: float, do: Callable[[], object]) -> None:
        """Something happens then."""
        self.loop.call_at(when, do)

    def hire(self) -> Worker:
        """One more worker process."""
        worker = Worker(f"worker-{len(self.workers)}", self._config, self.time, self.broker)
        self.workers.append(worker)
        worker.start(self.providers)
        return worker

    def kill(self, worker: Worker) -> None:
        """As by SIGKILL."""
        worker.loop.kill()
        worker.wire.leave()

    def poisson(self, rate: Rate, peak: float, ask: Callable[[Api], object], until: float = LONG) -> None:
        """Clients that ask independently of each other, at a rate per second that is never above `peak`.

        The API processes take turns.
        """
        turn = 0

        def arrive() -> None:
            nonlocal turn
            if self.random.random() * peak < rate(self.time.now):
                turn += 1
                ask(self.apis[turn % len(self.apis)])
            wait()

        def wait() -> None:
            when = self.time.now + self.random.expovariate(peak)
            if when < until:
                self.loop.call_at(when, arrive)

        wait()

    def close(self) -> None:
        """End all that still runs."""
        for process in self.processes:
            process.wire.leave()
        for _ in range(3):  # who is told to end may have last things to do
            for process in self.processes:
                process.loop.cancel_all()
            self.run(self.time.now + 1)


@contextmanager
def world(plan: Plan) -> Iterator[World]:
    """A house that is closed in the end; whatever went wrong in a task fails the test."""
    state = random.getstate()
    random.seed(plan.seed)  # the routing's own
    gc.disable()  # a sixth of the time
    try:
        made = World(plan)
        try:
            yield made
        finally:
            made.close()
        wrong = [what for process in made.processes for what in process.loop.wrong]
        assert not wrong, wrong
    finally:
        gc.enable()
        random.setstate(state)


def limits(rate: float, *, configured: bool) -> Limits:
    """Of a deployment whose provider takes `rate` calls per second."""
    return Limits(rpm=rate * 60 if configured else None)


def one(rate: float, *, configured: bool = True, headers: bool = True) -> Place:
    """A model group's only deployment."""
    deployment = Deployment(id="d", group=GROUP, provider="p", model="m", limits=limits(rate, configured=configured))
    return deployment, Character(rate, headers=headers)
