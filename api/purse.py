"""What this process may spend for payers: taken without asking where it holds enough, else leased with all who wait.

    ledger: balance of a budget --- lease --->  this process: holding  --- take ---> hold of one call
                   ^                                                                     |
                   +------- accounting settles: spent += cost, lease -= reserved <-- usage event

A lease is the part of a balance that this process may spend; `policy.holdings` is what it knows of it. A hold takes the
most that a call may cost out of the holding, and travels with the request as its leases and the amount reserved. Only
accounting says what was spent. One statement is under way at a time, and carries what every waiting call needs.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeVar

from api import refusals
from api.hold import Bill, Hold
from api.questions import budget_wish, names, rate_wish
from ledger.leases import BudgetGrant, RateGrant, lease
from ledger.pool import FAILED, Pool, described
from policy.holdings import BudgetHolding, Holding, RateHolding
from policy.periods import FOREVER, window
from schemas.access import Account, Budget, Rate, Unit
from schemas.failures import Kind, Refused

Key = TypeVar("Key")
Held = TypeVar("Held", bound=Holding)
Answer = tuple[dict[int, BudgetGrant], dict[int, RateGrant]]

_LOG = logging.getLogger("penstock.purse")
_ERA = 600.0  # seconds after which a budget is leased anew, so that an old lease's time can end
_PATIENCE = 5.0  # seconds for one statement
_POLL = 0.25  # seconds between the first two questions about a budget that reservations fill
_POLL_MOST = 1.0  # later
_TICK = 2.0  # seconds between two looks for what should go back


@dataclass(slots=True)
class Purse:
    """The holdings of one process. `now` is in seconds since the epoch, `clock` is monotonic.

    `scarce` is told of accounts that others may hold too much of.
    """

    pool: Pool
    holder: str
    clock: Callable[[], float]
    now: Callable[[], float]
    scarce: Callable[[tuple[Account, ...]], None]
    zone: tzinfo = UTC
    life: float = 60.0  # seconds for which what was leased may be used
    exceeded: int = 422  # the HTTP status of a budget that is spent
    lag: float = 60.0  # seconds that a call's usage event may take to the ledger after its deadline
    statements: int = 0
    _budgets: dict[tuple[Account, str], BudgetHolding] = field(default_factory=dict)
    _rates: dict[tuple[Account, Unit, int], RateHolding] = field(default_factory=dict)
    _eras: int = 0
    _due: dict[int, Holding] = field(default_factory=dict)  # by identity: what the next statement is about
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _round: "asyncio.Future[None] | None" = None
    _running: "asyncio.Future[None] | None" = None
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    _given_up: "set[asyncio.Task[Answer]]" = field(default_factory=set)
    _trouble: str | None = None

    def start(self) -> None:
        """Begin to ask when there is something to ask for."""
        self._tasks = [
            asyncio.create_task(self._run(), name="lease"),
            asyncio.create_task(self._tick(), name="give leases back"),
        ]

    async def close(self) -> None:
        """Give back what is not used, as far as that is possible now."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for budget in self._budgets.values():
            self._outdated(budget)
        for rate in self._rates.values():
            self._outdated(rate)
        with contextlib.suppress(*FAILED):
            await self._ask()

    def take(self, bill: Bill) -> Hold | None:
        """What the call needs, at once; None when this process does not hold enough."""
        hold, _ = self._take(bill)
        return hold

    async def reserve(self, bill: Bill) -> Hold:
        """What the call needs, leased if need be; waits while only reservations are in the way.

        Of what is only expected to be needed it takes no more than a budget has left: all of that, so it goes alone.
        Raises `Refused`: BUDGET_EXCEEDED, BUDGET_RESERVED, KEY_RATE_LIMIT, LEDGER_DOWN.
        """
        first = True
        while True:
            hold, short = self._take(bill, newest=first)
            if hold is not None:
                return hold
            first, left = False, self._left(bill, short)
            if bill.least <= left < bill.nano:
                bill = bill.within(left)
                continue
            waits = self._check(bill, short)
            if waits is not None and await self._paused(waits, bill):
                continue  # others may have asked meanwhile
            for holding, amount in short:
                holding.lacks(amount)
                if isinstance(holding, BudgetHolding):
                    holding.shall_cover(bill.ends - self.now())
                self._due[id(holding)] = holding
            await self._next_round()

    def changed(self, accounts: Iterable[str]) -> None:
        """The terms of these (`key:<id>` …) have changed: what is held goes back, what was refused is asked anew."""
        changed = set(accounts)
        held: list[tuple[Account, BudgetHolding | RateHolding]] = [
            (h.budget.account, h) for h in self._budgets.values()
        ]
        held += [(h.rate.account, h) for h in self._rates.values()]
        for account, holding in held:
            if changed & names(account):
                self._outdated(holding)

    def adopt(self, zone: tzinfo, exceeded: int) -> None:
        """Another calendar has other windows: what is held in those of the old one goes back."""
        self.exceeded = exceeded
        if zone != self.zone:
            self.zone = zone
            for holding in self._budgets.values():
                self._retire(holding)
            self._budgets.clear()

    def recall(self, accounts: Iterable[Account]) -> None:
        """Another process is short of these."""
        wanted = set(accounts)
        for key, holding in (*self._budgets.items(), *self._rates.items()):
            if key[0] in wanted:
                holding.recalled = True
                if holding.expire(self.clock()):
                    self._due[id(holding)] = holding
                    self._wake.set()

    def _take(self, bill: Bill, *, newest: bool = True) -> tuple[Hold | None, list[tuple[Holding, int]]]:
        """`newest`: its terms are those of now, and not what they were when it began to wait."""
        now, seconds = self.clock(), bill.ends - self.now()
        budgets = [self._budget(budget, newest) for terms in bill.terms for budget in terms.budgets]
        rates = [self._rate(rate, newest) for rate in bill.rates]
        amounts = [bill.uses(holding.rate) for holding in rates]
        short: list[tuple[Holding, int]] = [(h, bill.nano) for h in budgets if not h.lasts(bill.nano, now, seconds)]
        short += [(h, amount) for h, amount in zip(rates, amounts, strict=True) if not h.has(amount, now)]
        if short:
            return None, short
        for budget in budgets:
            budget.take(bill.nano, now)
        taken = [(h, h.take(amount, now), amount) for h, amount in zip(rates, amounts, strict=True)]
        for holding in (*budgets, *rates):
            if holding.free < holding.refill_below and holding.runs_low(now):
                self._due[id(holding)] = holding
                self._wake.set()
        return Hold(bill, [(budget, budget.lease) for budget in budgets], taken, self.clock), short

    def _budget(self, budget: Budget, newest: bool) -> BudgetHolding:
        key, clock = (budget.account, budget.period), self.clock()
        found = self._budgets.get(key)
        if found is not None and not newest:
            budget = found.budget
        if budget.later is not None:
            budget = budget.at(self.now())
        if found is not None and (found.ends is None or self.now() < found.ends) and clock < found.since + _ERA:
            if found.budget is not budget:
                if found.budget.most != budget.most:
                    self._outdated(found)
                found.budget = budget
            return found
        if found is not None:
            self._retire(found)
        began, ends = window(budget.period, datetime.fromtimestamp(self.now(), UTC), self.zone)
        self._eras += 1
        made = BudgetHolding(self.life, budget=budget, began=None, ends=None, era=self._eras, since=clock)
        if (began, ends) != FOREVER:
            made.began, made.ends = began.timestamp(), ends.timestamp()
        self._budgets[key] = made
        return made

    def _outdated(self, holding: BudgetHolding | RateHolding) -> None:
        """It was leased under other terms: what is free of it goes back."""
        holding.forget()
        self._due[id(holding)] = holding
        self._wake.set()

    def _retire(self, holding: BudgetHolding) -> None:
        """What is free of it goes back, and what calls give back later."""
        holding.forget()
        holding.returns = self._comes_back
        self._comes_back(holding)

    def _comes_back(self, holding: BudgetHolding) -> None:
        self._due[id(holding)] = holding
        self._wake.set()

    def _rate(self, rate: Rate, newest: bool) -> RateHolding:
        key = (rate.account, rate.unit, rate.window)
        found = self._rates.get(key)
        if found is None:
            found = self._rates[key] = RateHolding(self.life, rate=rate)
        elif newest and found.rate is not rate:
            if found.rate.most != rate.most:
                self._outdated(found)
            found.rate = rate
        return found

    def _left(self, bill: Bill, short: list[tuple[Holding, int]]) -> int:
        """The most that the call may be expected to cost, by what is known of the budgets; nano-dollars."""
        now = self.clock()
        known = [h.spendable for h, nano in short if isinstance(h, BudgetHolding) and h.refuses(nano, now)]
        return min(known, default=bill.nano)

    def _check(self, bill: Bill, short: list[tuple[Holding, int]]) -> BudgetHolding | None:
        """Refuse what is known to be in vain; the budget that only reservations fill, if one is."""
        now, waits = self.clock(), None
        for holding, amount in short:
            if isinstance(holding, BudgetHolding):
                if holding.refuses(bill.least, now):
                    raise refusals.budget_exceeded(holding.budget, holding.spendable, bill, self.exceeded)
                if holding.waits and now < holding.spent_until:
                    waits = holding
            elif isinstance(holding, RateHolding) and holding.refuses(amount, now):
                raise refusals.key_rate_limit(holding.rate, amount, holding.refused_until - now, self.now())
        return waits

    async def _paused(self, holding: BudgetHolding, bill: Bill) -> bool:
        """Wait until it is time to ask again; False when it is, and nobody does so now.

        Raises `Refused(BUDGET_RESERVED)` when that is too late for the call.
        """
        seconds = max(0.0, holding.asked + min(_POLL * holding.waited, _POLL_MOST) - self.clock())
        if self.now() + seconds >= bill.deadline:
            raise refusals.budget_reserved(holding.budget)
        if holding.asking and self._running is not None and not self._running.done():
            await asyncio.shield(self._running)
        elif seconds > 0:
            await asyncio.sleep(seconds)
        else:
            return False
        return True

    async def _next_round(self) -> None:
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        self._wake.set()
        await asyncio.shield(self._round)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._round = self._round, None
            self._running = waiting
            try:
                await self._ask()
            except Exception as problem:  # noqa: BLE001 (whatever it was, calls wait for the end of the round)
                self._in_trouble(problem)
                if waiting is not None:
                    said = "Budgets and limits cannot be checked: the ledger is not available."
                    waiting.set_exception(Refused(Kind.LEDGER_DOWN, said))
                    waiting.exception()  # seen, should nobody wait any more
            else:
                self._trouble = None
                if waiting is not None:
                    waiting.set_result(None)

    def _in_trouble(self, problem: Exception) -> None:
        if self._trouble is None:
            _LOG.warning("leases cannot be renewed: %s", described(problem))
            if not isinstance(problem, FAILED):
                _LOG.error("that is a bug", exc_info=problem)
        self._trouble = type(problem).__name__

    async def _ask(self) -> None:
        """One statement about everything that is due."""
        due, self._due = list(self._due.values()), {}
        if not due:
            return
        asked = self.clock()
        self.statements += 1
        budgets = [h for h in due if isinstance(h, BudgetHolding)]
        rates = [h for h in due if isinstance(h, RateHolding)]
        budget_wishes = [budget_wish(n, h, self.statements, self.lag, asked) for n, h in enumerate(budgets)]
        rate_wishes = [rate_wish(n, h, asked) for n, h in enumerate(rates)]
        try:
            budget_grants, rate_grants = await self._within_patience(
                lease(self.pool, self.holder, budget_wishes, rate_wishes)
            )
        except BaseException:
            for holding in due:
                holding.unanswered()
            self._due |= {id(holding): holding for holding in budgets if holding.returns is not None}
            raise
        self._answered(budgets, budget_grants, rates, rate_grants, asked)

    async def _within_patience(self, answer: Coroutine[Any, Any, Answer]) -> Answer:
        """The answer; what is given up is not waited for: on a dead connection its end takes half a minute."""
        task = asyncio.create_task(answer, name="ask for leases")
        try:
            done, _ = await asyncio.wait({task}, timeout=_PATIENCE)
            if not done:
                raise TimeoutError
            return task.result()
        finally:
            if not task.done():
                self._given_up.add(task)
                task.add_done_callback(self._ended)
                task.cancel()

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self._given_up.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else will look at it

    def _answered(
        self,
        budgets: list[BudgetHolding],
        budget_grants: dict[int, BudgetGrant],
        rates: list[RateHolding],
        rate_grants: dict[int, RateGrant],
        asked: float,
    ) -> None:
        scarce = set()
        for n, holding in enumerate(budgets):
            grant = budget_grants[n]
            if holding.asking and not grant.granted and grant.left < grant.spendable:
                scarce.add(holding.budget.account)
            holding.leased(grant.lease)
            holding.known(grant.beyond, grant.paid, granted=grant.granted > 0)
            holding.answered(grant.granted, grant.left, grant.spendable, asked)
        for n, room in enumerate(rates):
            if room.asking and not rate_grants[n].granted:
                scarce.add(room.rate.account)
            room.answered(rate_grants[n].granted, rate_grants[n].left, rate_grants[n].retry, asked)
        if scarce:
            self.scarce(tuple(scarce))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(min(_TICK, self.life / 4))
            self._sweep(self._budgets)
            self._sweep(self._rates)
            if self._due:
                self._wake.set()

    def _sweep(self, holdings: dict[Key, Held]) -> None:
        now = self.clock()
        for key, holding in list(holdings.items()):
            if holding.expire(now):
                self._due[id(holding)] = holding
            elif now - holding.used > 2 * self.life and not holding.busy:
                del holdings[key]
                if isinstance(holding, BudgetHolding):
                    holding.returns = self._comes_back
