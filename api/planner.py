"""Where each request may go and what follows when it fails: configuration and beats, brought to `policy`."""

import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from api.course import Course, Wishes
from api.intake import CONTROL, CREDENTIALS
from api.pending import Pending
from policy import decision, eligible, fallbacks
from policy.decision import Decision, Situation
from policy.plan import Candidate, Preference, prefers
from policy.prompts import prompt_tokens
from policy.roster import Roster
from schemas.catalog import Catalog, Resolution, upstream_model
from schemas.config import Config, Deployment, Fallback, Routing
from schemas.envelope import Request
from schemas.failures import Failure, Kind, Refused
from schemas.usage import Caller

_KEPT = frozenset({"model", "stream", "stream_options"})  # a fallback does not change what kind of answer is awaited
_BEFORE_ANY_CALL = frozenset({Kind.TOO_LATE, Kind.NO_WORKERS, Kind.QUEUE_FULL, Kind.FORBIDDEN})
"""Failures of a whole group: no other deployment of it would do better."""


class Facts(Protocol):
    """What a price list knows of a deployment's model."""

    def context_window(self, deployment: Deployment, model: str) -> int | None:
        """Prompt tokens; None: unknown."""

    def per_token(self, deployment: Deployment, model: str) -> Decimal | None:
        """US dollars for a prompt and a completion token together; None: unknown."""


class Planner:
    """The routing of one API process. `now` is in seconds since the epoch."""

    def __init__(self, catalog: Catalog, routing: Routing, roster: Roster, facts: Facts) -> None:
        self.roster = roster
        self._facts = facts
        self._take(catalog, routing)

    def adopt(self, config: Config) -> frozenset[str]:
        """Work by another configuration from now on. The model groups for which it makes a difference."""
        before, routing = self.catalog.groups, self._routing
        self._take(Catalog(config), config.routing)
        now = self.catalog.groups
        if config.routing != routing:
            return frozenset({*before, *now})
        return frozenset(group for group in {*before, *now} if before.get(group) != now.get(group))

    def _take(self, catalog: Catalog, routing: Routing) -> None:
        self.catalog = catalog
        self._routing = routing
        self._prefers: dict[tuple[str, ...], bool] = {}
        self._wild = {d.id for group, found in catalog.groups.items() if "*" in group for d in found}
        self._checks = routing.tag_filtering or routing.pre_call_checks

    def course(self, found: Resolution, caller: Caller, body: bytes, wishes: Wishes) -> Course:
        """The course of a request with this body."""
        prompt = prompt_tokens(body)
        course = Course(found.deployments, wishes, prompt, visited=[found.group])
        course.only = self._only(found)
        if self._checks:
            try:
                course.eligible = self._eligible(found, caller, prompt)
            except Refused as refused:
                course.refusal = refused.failure
        return course

    def candidates(self, deployments: Sequence[Deployment], model: str) -> list[Candidate]:
        """Deployments, and how each is doing with a model."""
        return [self._candidate(d, model) for d in deployments]

    def preference(self, model: str) -> Preference:
        """What the strategy goes by, for a concrete model."""
        routing = self._routing

        def price(deployment: Deployment) -> Decimal | None:
            return self._facts.per_token(deployment, upstream_model(deployment, model))

        return Preference(routing.strategy, routing.latency_buffer, price, random.random)

    def prefers(self, deployments: Sequence[Deployment]) -> bool:
        """Whether among these a request goes to a first choice, rather than to whoever is free."""
        ids = tuple(d.id for d in deployments)
        found = self._prefers.get(ids)
        if found is None:
            found = self._prefers[ids] = len(ids) > 1 and prefers(deployments, self._routing.strategy)
        return found

    def refused(self, deployment: str, model: str, seconds: float) -> None:
        """A provider refused a call; of a wildcard's deployment that is about one model."""
        self.roster.refused(deployment, model if deployment in self._wild else "", seconds)

    def decide(self, pending: Pending, failure: Failure, deployment: str, now: float) -> Decision:
        """What follows from a failure; takes note of it. `deployment` is empty when none was called."""
        course, request = pending.course, pending.request
        called = next((d for d in course.eligible if d.id == deployment), None)
        if deployment:
            course.tried.add(deployment)
            course.tries += decision.counts(failure)
        untried = () if failure.kind in _BEFORE_ANY_CALL else [d for d in course.eligible if d.id not in course.tried]
        others = self.candidates(untried, request.model)
        clock = self.roster.clock()
        target = self._next(pending, failure.kind)
        found = decision.decide(
            Situation(
                failure=failure,
                tries=course.tries,
                retries=fallbacks.retries(
                    self._routing,
                    request.group,
                    failure.kind,
                    course.wishes.retries,
                    None if called is None else called.num_retries,
                ),
                now=now,
                deadline=request.deadline,
                others=any(one.standing.alive for one in others),
                room=any(one.standing.room_now(clock) >= 1 for one in others),
                fallback=target is not None,
                fallback_room=target is not None and self._has_room(target[1], clock),
                pause=self._routing.retry_after,
                jitter=random.random(),  # noqa: S311 (it only spreads retries)
            )
        )
        if isinstance(found, decision.Again):
            course.retried += decision.counts(failure)
            if not found.elsewhere:
                course.tried.clear()
        return found

    def fall_back(self, pending: Pending, kind: Kind) -> None:
        """To the next model group, which `decide` has seen is there."""
        target = self._next(pending, kind)
        assert target is not None
        fallback, found = target
        course = pending.course
        if fallback in course.left:
            course.left = course.left[course.left.index(fallback) + 1 :]
        else:
            course.left = [one for one in self._listed(pending, kind) if one is not fallback]
        course.fallbacks += 1
        request = pending.request
        course.arrive(found.group, self._eligible(found, request.caller, course.prompt))
        course.only = self._only(found)
        pending.request = msgspec.structs.replace(request, group=found.group, model=found.model)
        if fallback.body:
            pending.body = _with(pending.body, fallback.body)
            course.prompt = prompt_tokens(pending.body)

    def renew(self, pending: Pending) -> bool:
        """Let it go by what its model group is now; False when no deployment of that may serve it."""
        course, request = pending.course, pending.request
        may = self.catalog.groups.get(request.group, ())
        if course.only is not None:
            may = tuple(deployment for deployment in may if deployment.id in course.only)
        try:
            found = Resolution(request.group, request.model, may)
            course.eligible = self._eligible(found, request.caller, course.prompt)
        except Refused:
            course.eligible = ()
        return bool(course.eligible)

    def _only(self, found: Resolution) -> frozenset[str] | None:
        """The ids of what a name means that stands for less than its whole group."""
        whole = len(found.deployments) == len(self.catalog.groups[found.group])
        return None if whole else frozenset(deployment.id for deployment in found.deployments)

    def _next(self, pending: Pending, kind: Kind) -> tuple[Fallback, Resolution] | None:
        course = pending.course
        most = self._routing.max_fallbacks if course.wishes.most_fallbacks is None else course.wishes.most_fallbacks
        if course.fallbacks >= most:
            return None
        for fallback in (*course.left, *self._listed(pending, kind)):
            found = self.catalog.resolve(fallback.model)
            if found is None or found.group in course.visited:
                continue
            if course.allowed is not None and not course.allowed(fallback.model, found):
                continue
            if self._may(found, pending.request, course):
                return fallback, found
        return None

    def _listed(self, pending: Pending, kind: Kind) -> tuple[Fallback, ...]:
        request = pending.request
        return fallbacks.targets(self._routing, request.group, request.model, kind, pending.course.wishes.fallbacks)

    def _may(self, found: Resolution, request: Request, course: Course) -> bool:
        if request.credentials:
            return False  # they were checked against the group that was asked for
        try:
            self._eligible(found, request.caller, course.prompt)
        except Refused:
            return False
        return True

    def _eligible(self, found: Resolution, caller: Caller, prompt: int) -> tuple[Deployment, ...]:
        may: Sequence[Deployment] = found.deployments
        routing = self._routing
        if routing.tag_filtering:
            may = eligible.tagged(may, caller.tags, routing)
        if routing.pre_call_checks:
            may = eligible.fitting(may, prompt, self._window(found.model))
        return tuple(may)

    def _window(self, model: str) -> Callable[[Deployment], int | None]:
        def window(deployment: Deployment) -> int | None:
            own = deployment.context_window
            return own if own is not None else self._facts.context_window(deployment, upstream_model(deployment, model))

        return window

    def _has_room(self, found: Resolution, now: float) -> bool:
        return any(self._candidate(d, found.model).standing.room_now(now) >= 1 for d in found.deployments)

    def _candidate(self, deployment: Deployment, model: str) -> Candidate:
        concrete = upstream_model(deployment, model) if deployment.id in self._wild else ""
        return Candidate(deployment, self.roster.standing(deployment.id, concrete))


def _with(body: bytes, fields: Any) -> bytes:
    """The body with these parameters in place of its own."""
    found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for name, value in fields.items():
        if name not in CONTROL and name not in CREDENTIALS and name not in _KEPT:
            found[name] = msgspec.Raw(msgspec.json.encode(value))
    return msgspec.json.encode(found)
