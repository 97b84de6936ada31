"""What one process holds of budgets and rates, spends without asking, and asks for again. `now` is monotonic seconds.

A holding is good for its `life` from the moment before it was asked for, less a margin: whoever granted it counts it
for longer. Amounts are nano-dollars, requests, tokens or calls under way. (Classes with slots cannot say `super()`.)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.access import Budget, Rate, Unit

_MARGIN = 0.1  # of a life: clocks run apart
_AHEAD = 5.0  # seconds of its demand that a holding asks for
_SOON = 2.0  # seconds of its demand that it keeps when others want more
_FEW = 20  # so many calls at once, while there is plenty
_LONG = 10.0  # times its life that a small part of a limit that is far away is held
_SMALL = 50  # of a limit: what is less than such a part is small
_LOCAL = 2.0  # seconds for which "it is spent" is believed without asking


@dataclass(slots=True)
class Holding:
    """The part that budgets and rates have in common."""

    life: float  # seconds for which what was granted may be used
    free: int = 0  # granted, and not used
    usable_until: float = -math.inf
    taken: int = 0  # since it was last asked for
    asked: float = -math.inf  # when that was
    used: float = -math.inf  # when something was taken last
    short: list[int] = field(default_factory=list)  # what calls wait for, the oldest first
    asking: list[int] = field(default_factory=list)  # of these, what is being asked for now
    refill_below: int = 0  # then it asks for more before anybody waits
    call_size: int = 0  # what one call wanted when somebody waited last
    plenty: bool = True  # less than half of the limit was in use, as far as we know
    recalled: bool = False  # others want what is not used
    surplus: int = 0  # of what is free, that is to go back
    outdated: bool = False  # what is being asked for now was asked under other terms
    asked_life: float = 0.0  # the life of what is asked for now

    def has(self, amount: int, now: float) -> bool:
        """Whether that much may be taken."""
        return amount <= self.free and now < self.usable_until

    def lacks(self, amount: int) -> None:
        """Somebody waits for that much."""
        self.short.append(amount)

    def runs_low(self, now: float) -> bool:
        """Whether it should ask for more, although nobody waits yet."""
        return self.free < self.refill_below and now - self.asked > 0.1

    def wants(self, now: float) -> tuple[int, int]:
        """(need, want) beside what is free, for who waits and the demand of some seconds; (0, 0): nothing is wanted."""
        self.asking, self.short, self.outdated = self.short, [], False
        if not self.asking and self.free >= self.refill_below:
            return 0, 0
        elapsed = max(now - self.asked, 0.2)
        ahead = math.ceil(self.taken / elapsed * _AHEAD) if self.taken else 0
        if self.asking:
            self.call_size = max(self.asking)
        if self.plenty:
            ahead = max(ahead, _FEW * self.call_size)
        need = max(1, self._needs() - self.free if self.asking else ahead // _FEW)
        want = max(need, sum(self.asking) + ahead - self.free)
        far = self.plenty and (self.free + want) * _SMALL < self._limit
        self.asked_life = self.life * (_LONG if far else 1)
        return need, want

    @property
    def _limit(self) -> int:
        """The whole of which this is a part; 0: it is never held for long."""
        return 0

    def _needs(self) -> int:
        return self.asking[0]

    def gives_back(self, now: float) -> int:
        """What is free and may not be used any more; it is gone then."""
        back = min(self.surplus, self.free) if now < self.usable_until else self.free
        self.free -= max(0, back)
        if back > 0:
            self.refill_below = 0  # what goes back is not asked for again until somebody wants it
        self.surplus = 0
        return max(0, back)

    def granted(self, amount: int, asked: float) -> None:
        """It was asked for at `asked`, and this is what came."""
        if amount:
            self.free += amount
        until = asked + (self.asked_life or self.life) * (1 - _MARGIN)
        if self.outdated:
            self.usable_until = -math.inf
        elif amount:
            self.usable_until = until
        else:
            self.usable_until = min(self.usable_until, until)  # it is counted for that long from now on
        self.refill_below = self.free // 4 if amount else 0
        self.asked, self.taken = asked, 0
        self.asking = []

    def unanswered(self) -> None:
        """Nobody knows whether what was asked for was granted."""
        self.asking = []

    def expire(self, now: float) -> bool:
        """Whether something should go back: its time is over, or others want it and we do not use it."""
        if self.recalled:
            soon = math.ceil(self.taken / max(now - self.asked, 1.0) * _SOON)
            self.surplus, self.recalled = max(0, self.free - soon), False
        return self.free > 0 and (now >= self.usable_until or self.surplus > 0)

    @property
    def busy(self) -> bool:
        """Whether something depends on it."""
        return self._held

    @property
    def _held(self) -> bool:
        return self.free > 0 or bool(self.short) or bool(self.asking)


@dataclass(slots=True)
class BudgetHolding(Holding):
    """A part of one window of a budget, in nano-dollars. `began` and `ends` in seconds since the epoch, or None."""

    budget: Budget = field(kw_only=True)
    began: float | None = field(kw_only=True)
    ends: float | None = field(kw_only=True)
    era: int = field(kw_only=True)
    since: float = field(kw_only=True)  # when the era began
    lease: int = 0
    sure: int = 0  # the last question that was answered
    last: int = 0  # the last one that was asked
    back: list[tuple[int, int]] = field(default_factory=list)  # what went back with each after `sure`
    covers: float = 0.0  # seconds: calls with a longer deadline may not be reserved from it
    longest: float = 0.0  # the same of calls that wait: it covers them once the ledger has heard of it
    covering: float = 0.0  # what it covers when what is being asked now is answered
    spendable: int = -1  # what is not spent yet, when it was asked last; negative: nobody has asked
    spent_until: float = -math.inf  # until when that is believed
    waits: bool = False  # only reservations are in the way
    waited: int = 0  # answers in a row that said so
    returns: "Callable[[BudgetHolding], None] | None" = None  # its era is over: whom to tell of what comes back
    beyond: int = 0  # what calls cost beyond what was reserved for them, as far as this process or the ledger knows
    owed: int = 0  # of that, what nothing was free for yet
    paid: int = 0  # of that, what was taken from what was free: the ledger takes it back once it knows the calls' costs
    settled: int = 0  # of that, what it has taken back

    @property
    def _limit(self) -> int:
        return 0 if self.budget.most is None else int(self.budget.most * 10**9)

    def take(self, amount: int, now: float) -> None:
        """After `has`."""
        self.free -= amount
        self.taken += amount
        self.used = now

    def give(self, amount: int) -> None:
        """It was taken, and no call was begun for it."""
        self.free += amount
        self._pay()
        if self.returns is not None:
            self.returns(self)

    def exceeded(self, by: int) -> None:
        """A call cost so much more than was reserved for it: nothing else may be made of that."""
        self.beyond += by
        self.owed += by
        self._pay()

    def _pay(self) -> None:
        paid = min(self.owed, self.free)
        self.free -= paid
        self.owed -= paid
        self.paid += paid

    def leased(self, lease: int | None) -> None:
        """What was granted belongs to this lease; None: nothing was. With a lease all of this begins anew."""
        if lease is not None and lease != self.lease:
            self.lease, self.beyond, self.owed, self.paid, self.settled = lease, 0, 0, 0, 0

    def known(self, beyond: int, paid: int, *, granted: bool) -> None:
        """What the ledger knows of the lease. Whatever it grants then is left beside all that it knows of."""
        if beyond >= self.beyond:
            self.owed = 0 if granted else self.owed + beyond - self.beyond
            self.beyond = beyond
        self.settled = paid

    def tells(self, serial: int, now: float) -> list[tuple[int, int]]:
        """What a question with this number gives back, and what earlier ones did that nobody has answered."""
        self.last = serial
        if back := self.gives_back(now):
            self.back.append((serial, back))
        return self.back

    def expire(self, now: float) -> bool:
        """As `Holding.expire`; or a question was not answered: it may have been granted something all the same; or the
        ledger does not know of all that was paid.
        """
        unsettled = self.paid > self.settled and now - self.asked > (self.life if self.plenty else _LOCAL)
        return Holding.expire(self, now) or self.last > self.sure or unsettled

    @property
    def busy(self) -> bool:
        """As `Holding.busy`."""
        return self._held or self.last > self.sure or self.paid > self.settled

    def answered(self, granted: int, left: int, spendable: int, asked: float) -> None:
        """What the ledger said."""
        self.sure, self.back, self.covers = self.last, [], self.covering
        self.spendable = spendable
        self.waits = not granted and left < spendable
        self.waited = self.waited + 1 if self.waits else 0
        if not granted:
            self.spent_until = asked + _LOCAL
        most = self.budget.most
        self.plenty = most is None or left * 2 > most * 10**9
        self.granted(granted, asked)
        self._pay()

    def shall_cover(self, seconds: float) -> None:
        """A call that may take so long waits."""
        self.longest = max(self.longest, math.ceil(seconds))

    def lasts(self, amount: int, now: float, seconds: float) -> bool:
        """Whether that much may be taken for a call that may take so long."""
        return amount <= self.free and now < self.usable_until and seconds <= self.covers

    def forget(self) -> None:
        """Nothing that is known holds any more: what is free goes back."""
        self.usable_until = self.spent_until = -math.inf
        self.outdated, self.refill_below = True, 0

    def refuses(self, amount: int, now: float) -> bool:
        """Whether it is known that so much is not left to be spent."""
        return amount > self.free and now < self.spent_until and amount > self.spendable


@dataclass(slots=True)
class RateHolding(Holding):
    """A part of a rate. `uses` are what was used and not told yet, by the bucket that it was used in."""

    rate: Rate = field(kw_only=True)
    uses: dict[float, int] = field(default_factory=dict)
    telling: dict[float, int] = field(default_factory=dict)  # in the report under way
    under_way: int = 0  # calls, where those are counted
    refused_until: float = -math.inf
    unheld: int = 0  # what nobody holds, when it was asked last

    @property
    def remaining(self) -> int:
        """What this process knows to be left: its own, and what nobody held. Others may give more back."""
        return max(0, self.free + self.unheld)

    @property
    def bucket(self) -> float:
        """Seconds in which uses are counted together."""
        return max(1.0, self.rate.window // 60)

    @property
    def unused(self) -> int:
        """What the ledger must count for us beside the uses it was told."""
        return self.free + self.under_way

    @property
    def _limit(self) -> int:
        return 0 if self.rate.unit is Unit.PARALLEL else self.rate.most

    def take(self, amount: int, now: float) -> float:
        """After `has`; the bucket, to be given to `correct`."""
        self.free -= amount
        self.taken += amount
        self.used = now
        if self.rate.unit is Unit.PARALLEL:
            self.under_way += amount
            return now
        at = now - now % self.bucket
        self.uses[at] = self.uses.get(at, 0) + amount
        return at

    def correct(self, at: float, by: int, now: float) -> None:
        """What was taken in this bucket turned out to be so much more; negative: less."""
        if self.rate.unit is Unit.PARALLEL:
            self.under_way += by
            self.free -= by
        elif now - at < self.rate.window:
            self.uses[at] = self.uses.get(at, 0) + by
            self.free -= by

    def report(self, now: float) -> tuple[list[float], list[int]]:
        """(ages in seconds, amounts) of the uses; they are told now. An age is that of the bucket's end."""
        window, bucket = self.rate.window, self.bucket
        self.telling, self.uses = self.uses, {}
        told = [(max(0.0, now - at - bucket), amount) for at, amount in self.telling.items() if amount]
        recent = [(age, amount) for age, amount in told if age < window]
        return [age for age, _ in recent], [amount for _, amount in recent]

    def _needs(self) -> int:
        return min(self.asking)  # who gets nothing is refused, and does not wait

    def expire(self, now: float) -> bool:
        """As `Holding.expire`; uses that are not told count for too long: that matters near the limit."""
        stale = bool(self.uses) and now - self.asked > (self.life if self.plenty else _LOCAL)
        counted = self.under_way > 0 and now - self.asked > self.life / 3  # a call may take longer than a life
        return Holding.expire(self, now) or stale or counted

    @property
    def busy(self) -> bool:
        """As `Holding.busy`."""
        return self._held or self.under_way != 0 or bool(self.uses)

    def unanswered(self) -> None:
        """As `Holding.unanswered`; the report is made again."""
        Holding.unanswered(self)
        for at, amount in self.telling.items():
            self.uses[at] = self.uses.get(at, 0) + amount
        self.telling = {}

    def answered(self, granted: int, left: int, retry: float | None, asked: float) -> None:
        """What the ledger said."""
        if not granted and self.asking:
            self.refused_until = asked + min(max(0.05, retry or 1.0), max(1.0, self.rate.window))
        self.plenty = left * 2 > self.rate.most
        self.unheld = left - granted
        self.granted(granted, asked)

    def forget(self) -> None:
        """Nothing that is known holds any more: what is free goes back."""
        self.usable_until = self.refused_until = -math.inf
        self.outdated, self.refill_below = True, 0

    def refuses(self, amount: int, now: float) -> bool:
        """Whether it is known that there is no room for so much before `refused_until`."""
        return amount > self.free and (now < self.refused_until or amount > self.rate.most)
