"""What one call may cost, and what it holds of its payers' budgets and rates until it has ended."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from policy.holdings import BudgetHolding, RateHolding
from schemas.access import Rate, Terms, Unit
from schemas.usage import Usage

_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Bill:
    """What a call may cost: nano-dollars of each budget, one request, tokens. `deadline` in seconds since the epoch.

    `guessed` of the tokens, and `supposed` of the nano-dollars, are only expected: a limit below them is none that
    forbids the call, and a budget that has less left is reserved as it is. `again`: it is not the first call for its
    request. A stream's deadline is for its first byte: it may go on until `open_until`.
    """

    terms: tuple[Terms, ...]
    nano: int
    tokens: int
    deadline: float
    guessed: int = 0
    again: bool = False
    supposed: int = 0
    open_until: float = 0.0

    @property
    def ends(self) -> float:
        """When its call has ended at the latest, in seconds since the epoch."""
        return max(self.deadline, self.open_until)

    @property
    def least(self) -> int:
        """Nano-dollars that must be left for it."""
        return self.nano - self.supposed

    def within(self, nano: int) -> "Bill":
        """The same with less expected of it; `nano` is at least `least`."""
        return replace(self, nano=nano, supposed=nano - self.least)

    @property
    def rates(self) -> list[Rate]:
        """Of which it uses something."""
        rates = (rate for terms in self.terms for rate in terms.rates)
        return [rate for rate in rates if not (self.again and rate.unit is Unit.REQUESTS)]

    def uses(self, rate: Rate) -> int:
        """Units of a rate."""
        if rate.unit is not Unit.TOKENS:
            return 1
        return min(self.tokens, max(self.tokens - self.guessed, rate.most))


@dataclass(slots=True)
class Hold:
    """What one call holds. `leases` and `nano` go with the request, so that accounting can settle them."""

    bill: Bill
    budgets: list[tuple[BudgetHolding, int]]  # lease
    rates: list[tuple[RateHolding, float, int]]  # bucket, amount
    clock: Callable[[], float]
    ended: bool = False

    @property
    def leases(self) -> tuple[int, ...]:
        """Of the budgets."""
        return tuple(lease for _, lease in self.budgets)

    def over(self, usage: Usage | None, cost: int = 0) -> None:
        """Its call has ended, and used this (None: nothing) for `cost` nano-dollars; accounting settles the budgets."""
        if self.ended:
            return
        self.ended = True
        now = self.clock()
        for holding, at, amount in self.rates:
            if holding.rate.unit is Unit.PARALLEL:
                holding.correct(at, -amount, now)
            elif holding.rate.unit is Unit.TOKENS:
                holding.correct(at, (0 if usage is None else usage.total) - amount, now)
        if cost > self.bill.nano:
            for budget, lease in self.budgets:
                if budget.lease == lease:
                    budget.exceeded(cost - self.bill.nano)

    def rooms(self) -> Iterable[tuple[bytes, bytes]]:
        """LiteLLM's `x-ratelimit-api_key-…` of the key's own limits a minute, as this process knows them."""
        own = {
            holding.rate.unit: holding  # of two the last: it is the lower one
            for holding, _, _ in self.rates
            if holding.rate.account.kind == "key" and holding.rate.window == _MINUTE
        }
        for unit, holding in own.items():
            yield b"x-ratelimit-api_key-limit-%b" % unit.encode(), b"%d" % holding.rate.most
            yield b"x-ratelimit-api_key-remaining-%b" % unit.encode(), b"%d" % holding.remaining

    def left(self) -> None:
        """Nobody waits for its call any more: it is under way no more, and what it used is not known here."""
        for at, (holding, _, amount) in enumerate(self.rates):
            if holding.rate.unit is Unit.PARALLEL and not self.ended and amount:
                holding.correct(0.0, -amount, self.clock())
                self.rates[at] = (holding, 0.0, 0)

    def void(self) -> None:
        """No call was begun for it, and none will be: all comes back."""
        if self.ended:
            return
        self.ended = True
        now = self.clock()
        for budget, lease in self.budgets:
            if budget.lease == lease:  # else its time is over, and what it held is somebody else's
                budget.give(self.bill.nano)
        for holding, at, amount in self.rates:
            holding.correct(at, -amount, now)
