"""What a call may cost, before it is made: from its body's size, its `max_tokens`, and what calls before it used."""

import time
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from api.course import Course
from ledger.leases import NANO
from ledger.prices import Price, PriceBook
from policy.outputs import Outputs
from schemas.catalog import upstream_model
from schemas.usage import Usage

_UNKNOWN = 4096  # completion tokens of a call about which nothing is known
_REMEMBERED = 20_000  # keys and models
_MINUTE = 60.0


class Estimate(NamedTuple):
    """Nano-dollars, and tokens of prompt and completion; so many of those (`guessed`) the body does not ask for."""

    nano: int
    tokens: int
    guessed: int = 0


class Estimator:
    """Estimates for one process; it learns from what calls used."""

    def __init__(self, prices: PriceBook, now: Callable[[], float] = time.time) -> None:
        self._prices = prices
        self._now = now
        self._outputs: OrderedDict[tuple[str, str], Outputs] = OrderedDict()
        self._resolved: dict[tuple[tuple[str, ...], str], tuple[float, tuple[Price, ...]]] = {}

    def of(self, course: Course, model: str, key: str, output: int | None) -> Estimate:
        """For a call that may go wherever its course allows; `output` is what its body bounds the completion to."""
        windows = (self._prices.context_window(d, upstream_model(d, model)) for d in course.eligible)
        window = min((found for found in windows if found), default=None)
        prompt = course.prompt + 1 if window is None else min(course.prompt + 1, window)
        completion = self._expected(key, model) if output is None else output
        if window is not None:
            completion = min(completion, window)
        usage = Usage(prompt=prompt, completion=completion)
        costs = [cost for price in self._of(course, model) if (cost := price.cost(usage)) is not None]
        guessed = completion if output is None else 0
        return Estimate(int(max(costs, default=Decimal(0)) * NANO) + 1, prompt + completion, guessed)

    def learn(self, key: str, model: str, usage: Usage) -> None:
        """A call used this."""
        for name in (key, ""):
            outputs = self._outputs.get((name, model))
            if outputs is None:
                outputs = self._outputs[name, model] = Outputs()
                if len(self._outputs) > _REMEMBERED:
                    self._outputs.popitem(last=False)
            outputs.add(usage.completion)

    def _expected(self, key: str, model: str) -> int:
        for name in (key, ""):
            outputs = self._outputs.get((name, model))
            if outputs is not None and (found := outputs.p99()) is not None:
                return found
        return _UNKNOWN

    def _of(self, course: Course, model: str) -> tuple[Price, ...]:
        """The distinct prices of its deployments, as they were within the last minute."""
        key, now = (tuple(d.id for d in course.eligible), model), self._now()
        found = self._resolved.get(key)
        if found is not None and now < found[0]:
            return found[1]
        prices = (self._prices.price(d, upstream_model(d, model), now) for d in course.eligible)
        distinct = tuple(dict.fromkeys(price for price in prices if price is not None))
        if len(self._resolved) >= _REMEMBERED:
            self._resolved.clear()
        self._resolved[key] = (now + _MINUTE, distinct)
        return distinct
