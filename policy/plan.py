"""Which deployment of a group is asked first while several have room: order, then the routing strategy."""

import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from policy.standing import Standing
from schemas.config import Deployment, Strategy

_UNPRICED = Decimal("Infinity")


class Candidate(NamedTuple):
    """A deployment that may serve a request, and how it is doing."""

    deployment: Deployment
    standing: Standing


class Preference(NamedTuple):
    """What the strategy goes by. `price` is US dollars per token of a deployment, None if unknown."""

    strategy: Strategy = Strategy.SHUFFLE
    latency_buffer: float = 0.0
    price: Callable[[Deployment], Decimal | None] = lambda _: None
    random: Callable[[], float] = random.random


def choose(candidates: Sequence[Candidate], preference: Preference, now: float) -> Deployment | None:
    """The deployment to hand a request to; None when none has room."""
    with_room = [one for one in candidates if one.standing.room_now(now) >= 1]
    if not with_room:
        return None
    first = min(_order(one) for one in with_room)
    best = [one for one in with_room if _order(one) == first]
    if len(best) == 1:
        return best[0].deployment
    return _STRATEGIES[preference.strategy](best, preference).deployment


def soonest(candidates: Sequence[Candidate], now: float) -> Deployment | None:
    """The deployment that will have room first, when none has it; None when nobody serves any."""
    alive = [one for one in candidates if one.standing.alive]
    if not alive:
        return None
    return min(alive, key=lambda one: _delay(one.standing, now)).deployment


def prefers(deployments: Sequence[Deployment], strategy: Strategy) -> bool:
    """Whether the configuration asks for more than "whoever is free": then a request is handed to its first choice."""
    return strategy is not Strategy.SHUFFLE or any(
        d.weight is not None or d.limits.rpm is not None or d.limits.tpm is not None for d in deployments
    )


def _delay(standing: Standing, now: float) -> float:
    missing = 1 - standing.room_now(now)
    return standing.shut_now(now) + (missing / standing.pace if standing.pace else missing)


def _order(one: Candidate) -> float:
    return float("inf") if one.deployment.order is None else one.deployment.order


def _shuffle(best: Sequence[Candidate], preference: Preference) -> Candidate:
    """By `weight`; where nobody has one by rpm, else tpm, else evenly."""
    deployments = [one.deployment for one in best]
    for weights in (
        [d.weight for d in deployments],
        [d.limits.rpm for d in deployments],
        [d.limits.tpm for d in deployments],
    ):
        if any(weights):
            return _weighted(best, [weight or 0.0 for weight in weights], preference)
    return _weighted(best, [1.0] * len(best), preference)


def _weighted(best: Sequence[Candidate], weights: Sequence[float], preference: Preference) -> Candidate:
    point = preference.random() * sum(weights)
    for one, weight in zip(best, weights, strict=True):
        point -= weight
        if point < 0:
            return one
    return best[-1]


def _least_busy(best: Sequence[Candidate], preference: Preference) -> Candidate:
    return _any_of(best, preference, lambda one: one.standing.busy)


def _fastest(best: Sequence[Candidate], preference: Preference) -> Candidate:
    """One of the fastest: who has not been measured yet counts as fast, and so is measured."""
    limit = min(one.standing.latency for one in best) * (1 + preference.latency_buffer)
    near = [one for one in best if one.standing.latency <= limit]
    return _weighted(near, [1.0] * len(near), preference)


def _cheapest(best: Sequence[Candidate], preference: Preference) -> Candidate:
    def price(one: Candidate) -> Decimal:
        found = preference.price(one.deployment)
        return _UNPRICED if found is None else found

    return _any_of(best, preference, price)


def _least_used(best: Sequence[Candidate], preference: Preference) -> Candidate:
    return _any_of(best, preference, lambda one: (one.standing.used, one.standing.busy))


def _any_of(best: Sequence[Candidate], preference: Preference, by: Callable[[Candidate], object]) -> Candidate:
    """One of those with the least, at random."""
    least = min(by(one) for one in best)  # type: ignore[type-var]
    equal = [one for one in best if by(one) == least]
    return _weighted(equal, [1.0] * len(equal), preference)


_STRATEGIES: dict[Strategy, Callable[[Sequence[Candidate], Preference], Candidate]] = {
    Strategy.SHUFFLE: _shuffle,
    Strategy.LEAST_BUSY: _least_busy,
    Strategy.LATENCY: _fastest,
    Strategy.COST: _cheapest,
    Strategy.USAGE: _least_used,
    Strategy.USAGE_V2: _least_used,
}
