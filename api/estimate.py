"""What a call may cost, before it is made: from its body's size, its `max_tokens`, and what calls before it used."""

import time
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from api.course import Course
from api.intake import Output
from ledger.leases import NANO
from ledger.prices import Price, PriceBook
from policy.outputs import Outputs
from schemas.catalog import upstream_model
from schemas.usage import Usage

_UNKNOWN = 4096  # completion tokens of a call about which nothing is known
_REMEMBERED = 20_000  # keys and models
_MINUTE = 60.0
_BOUNDLESS = 2**40  # tokens of an unknown context window
_DEAREST = 10**15  # nano-dollars: no call costs more, whatever it asks for (`settle` believes no more either)


class Estimate(NamedTuple):
    """Nano-dollars, and tokens of prompt and completion. `guessed` and `supposed` of them the body does not ask for."""

    nano: int
    tokens: int
    guessed: int = 0
    supposed: int = 0


class _Facts(NamedTuple):
    """Of the deployments that a request may go to: the smallest context window, and the prices, each once."""

    window: int
    prices: tuple[Price, ...]


class Estimator:
    """Estimates for one process; it learns from what calls used."""

    def __init__(self, prices: PriceBook, now: Callable[[], float] = time.time) -> None:
        self._prices = prices
        self._now = now
        self._outputs: OrderedDict[tuple[str, str], Outputs] = OrderedDict()
        self._resolved: dict[tuple[tuple[str, ...], str], tuple[float, _Facts]] = {}

    def of(self, course: Course, model: str, key: str, output: Output) -> Estimate:
        """For a call that may go wherever its course allows; `output` is what its body bounds the completion to."""
        window, prices = self._facts(course, model)
        prompt = min(course.prompt + 1, window)
        completion = min(self._expected(key, model) if output.most is None else output.most, window) * output.answers
        usage = Usage(prompt=prompt, completion=completion)
        nano = _dearest(prices, usage)
        if output.most is not None:
            return Estimate(nano, prompt + completion)
        return Estimate(nano, prompt + completion, completion, nano - _dearest(prices, Usage(prompt=prompt)))

    def learn(self, key: str, model: str, usage: Usage) -> None:
        """A call that did not say how long its answer may be used this."""
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

    def _facts(self, course: Course, model: str) -> _Facts:
        """What is known of its deployments, as it was within the last minute."""
        key, now = (tuple(d.id for d in course.eligible), model), self._now()
        found = self._resolved.get(key)
        if found is not None and now < found[0]:
            return found[1]
        models = [(deployment, upstream_model(deployment, model)) for deployment in course.eligible]
        windows = (self._prices.context_window(deployment, name) for deployment, name in models)
        prices = (self._prices.price(deployment, name, now) for deployment, name in models)
        facts = _Facts(
            min((window for window in windows if window), default=_BOUNDLESS),
            tuple(dict.fromkeys(price for price in prices if price is not None)),
        )
        if len(self._resolved) >= _REMEMBERED:
            self._resolved.clear()
        self._resolved[key] = (now + _MINUTE, facts)
        return facts


def _dearest(prices: tuple[Price, ...], usage: Usage) -> int:
    """Nano-dollars at the dearest price, and one: what costs nothing, as far as we know, needs a budget too."""
    costs = [cost for price in prices if (cost := price.cost(usage)) is not None]
    return min(int(max(costs, default=Decimal(0)) * NANO) + 1, _DEAREST)
