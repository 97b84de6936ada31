"""How one request pays: a hold for each attempt, taken before it is sent, given back when it is certain what it cost.

An attempt that was begun has a usage event, which settles its reservation in the ledger: the next one needs another.
Of limits of requests only the first attempt that was begun uses something: to the client it is one request.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from msgspec import structs

from api.course import Course
from api.estimate import Estimator
from api.hold import Bill, Hold
from api.intake import Output, output_of
from api.payers import Payers, refuse_blocked
from api.purse import Purse
from ledger.access import Payer
from ledger.leases import NANO
from policy.allowed import governing
from schemas.access import Access, Terms, Unit
from schemas.envelope import Request
from schemas.failures import Failure, Refused
from schemas.usage import Caller, Usage

_MINUTE = 60
_REMEMBERED = 20_000  # keys
_STREAM = 600.0  # seconds in which a stream has ended, as far as its reservation goes, however short its timeout is
_LIMITS = {Unit.REQUESTS: b"x-litellm-key-rpm-limit", Unit.TOKENS: b"x-litellm-key-tpm-limit"}


class Payable(Protocol):
    """What a payment must know of a request under way."""

    request: Request
    body: bytes
    course: Course


class Make(Protocol):
    """What an attempt may cost. `body` is what will be sent, when that may not be what came."""

    def __call__(self, request: Request, course: Course, body: bytes | None = None) -> Bill:
        """The bill."""


class Payment:
    """The holds of one request, one after another."""

    def __init__(
        self, purse: Purse, make: Make, learn: Callable[[str, Usage], None], about: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        self._about = about
        self._purse = purse
        self._make = make
        self._learn = learn
        self._model = ""  # that is held for
        self._again = False  # an attempt was begun before
        self._hold: Hold | None = None
        self._task: asyncio.Task[None] | None = None
        self.stale = False
        """What is held is not for the next attempt: it belongs to one that was begun, or to another model."""

    async def first(self, request: Request, course: Course) -> Request:
        """Hold what the first attempt may cost; the request that says so. Raises as `Purse.reserve`."""
        bill, self._model = self._make(request, course), request.model
        self._hold = self._purse.take(bill) or await self._purse.reserve(bill)
        return self._marked(request)

    def begun(self) -> None:
        """An attempt was announced: accounting settles what it holds."""
        self.stale = self._again = True

    def returned(self) -> None:
        """It gave its message back: what was held for it is for whoever begins that."""
        self.stale = False

    def ended(self, usage: Usage | None, cost: Decimal | None = None) -> None:
        """The attempt has ended; `cost` in US dollars, None when it is not known here."""
        if self._hold is not None:
            self._hold.over(usage, 0 if cost is None else math.ceil(cost * NANO))
        if usage is not None:
            self._learn(self._model, usage)

    def moved(self) -> None:
        """No attempt was begun, and the next one is to be for another model."""
        if not self.stale and self._hold is not None:
            self._hold.void()
        self.stale = True

    def renew(self, pending: Payable, then: Callable[[], None], refused: Callable[[Failure], None]) -> None:
        """Hold what the next attempt may cost, and go on; at once when this process holds enough."""
        bill = replace(self._make(pending.request, pending.course, pending.body), again=self._again)
        self._model = pending.request.model
        if self._hold is not None:
            self._hold.over(None)  # its attempt may be one whose end is told to nobody here
        self._hold = self._purse.take(bill)
        if self._hold is not None:
            self._go_on(pending, then)
        else:
            self._task = asyncio.create_task(self._wait(bill, pending, then, refused), name="reserve again")

    def facts(self) -> Iterable[tuple[bytes, bytes]]:
        """LiteLLM's headers about the key: its limits, its budget, and what lately was left and spent of them."""
        yield from self._about
        if self._about and self._hold is not None:
            yield from self._hold.rooms()
        for holding, _ in () if self._hold is None else self._hold.budgets:
            most = holding.budget.most
            if holding.budget.account.kind == "key" and most is not None:
                yield b"x-litellm-key-max-budget", format(most, "f").encode()
                yield b"x-litellm-key-spend", b"%.9g" % (float(most) - holding.spendable / NANO)
                return

    def closed(self) -> bool:
        """Nothing more will be tried, or is known. False: what is held comes back by `unused`, or not at all."""
        if self._task is not None:
            self._task.cancel()
        if self._hold is not None:
            self._hold.left()
        return self.stale or self._hold is None

    def unused(self) -> None:
        """It is certain that nobody has begun the attempt that is held for."""
        if self._hold is not None and not self.stale:
            self._hold.void()

    async def _wait(
        self, bill: Bill, pending: Payable, then: Callable[[], None], refused: Callable[[Failure], None]
    ) -> None:
        try:
            self._hold = await self._purse.reserve(bill)
        except Refused as problem:
            refused(problem.failure)
        else:
            self._go_on(pending, then)

    def _go_on(self, pending: Payable, then: Callable[[], None]) -> None:
        self.stale = False
        pending.request = self._marked(pending.request)
        then()

    def _marked(self, request: Request) -> Request:
        assert self._hold is not None
        leases, nano = self._hold.leases, self._hold.bill.nano
        number = request.reservation + 1
        return structs.replace(request, leases=leases, reserved=nano if leases else 0, reservation=number)


class Cashier:
    """Makes payments: knows purse, estimates, and who pays beside the key."""

    def __init__(self, purse: Purse, estimator: Estimator, payers: Payers) -> None:
        self._purse = purse
        self._estimator = estimator
        self._payers = payers
        self._about: dict[str, tuple[Access, list[tuple[bytes, bytes]]]] = {}

    async def beside(self, caller: Caller, budget: str = "") -> Sequence[Payer]:
        """The customer and the tags of a request; `budget` is the key's for customers who have none of their own.

        Raises `Refused`: KEY_BLOCKED, LEDGER_DOWN.
        """
        found = self._payers.known(caller, budget)
        if found is None:
            found = await self._payers.find(caller, budget)
        refuse_blocked(found)
        return found

    def payment(self, access: Access, beside: Sequence[Payer], asked: str, output: Output) -> Payment | None:
        """How a request for the model `asked` pays; None when nothing limits it."""
        if access.terms.empty and not access.model_terms and not access.tag_terms and not beside:
            return None
        common = (access.terms, *(payer.terms for payer in beside))
        by_model = (*access.model_terms, *(found for payer in beside for found in payer.model_terms))
        key = access.caller.payer

        def make(request: Request, course: Course, body: bytes | None = None) -> Bill:
            allowed = output if body is None else output_of(request.endpoint, body)
            estimate = self._estimator.of(course, request.model, key, allowed)
            names = (request.model, request.group) if len(course.visited) > 1 else (asked, request.model, request.group)
            terms = (*common, *_of_model(by_model, names)) if by_model else common
            if access.tag_terms:
                terms += tuple(access.tag_terms[tag] for tag in request.caller.tags if tag in access.tag_terms)
            return Bill(
                terms,
                estimate.nano,
                estimate.tokens,
                request.deadline,
                estimate.guessed,
                supposed=estimate.supposed,
                open_until=request.received + _STREAM if request.stream else 0.0,
            )

        def learn(model: str, usage: Usage) -> None:
            if output.most is None:
                self._estimator.learn(key, model, usage)

        return Payment(self._purse, make, learn, self._headers(access))

    def _headers(self, access: Access) -> Sequence[tuple[bytes, bytes]]:
        """What answers say of the key's limits; kept for as long as its `Access` is the same."""
        found = self._about.get(access.caller.payer)
        if found is None or found[0] is not access:
            if len(self._about) >= _REMEMBERED:
                self._about.clear()
            found = self._about[access.caller.payer] = (access, list(_limits(access.terms)))
        return found[1]


def _limits(terms: Terms) -> Iterable[tuple[bytes, bytes]]:
    found = {}
    for rate in terms.rates:
        header = _LIMITS.get(rate.unit)
        if header is not None and rate.account.kind == "key" and rate.window == _MINUTE:
            found[header] = b"%d" % rate.most  # of two the last: it is the lower one
    return found.items()


def _of_model(by_model: Iterable[Mapping[str, Terms]], names: tuple[str, ...]) -> Iterable[Terms]:
    """Of each by the name that was asked for, else the concrete one, else its group's, else a pattern."""
    for terms in by_model:
        found = governing(terms, names)
        if found is not None:
            yield terms[found]
