"""How one request pays: a hold for each attempt, taken before it is sent, given back when it is certain what it cost.

An attempt that was begun has a usage event, which settles its reservation in the ledger: the next one needs another.
Of limits of requests only the first attempt that was begun uses something: to the client it is one request.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
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
from schemas.access import Access, Terms, Unit
from schemas.envelope import Request
from schemas.failures import Failure, Refused
from schemas.usage import Caller, Usage

_MINUTE = 60
_REMEMBERED = 20_000  # keys
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

    def ended(self, usage: Usage | None) -> None:
        """The attempt has ended."""
        if self._hold is not None:
            self._hold.over(usage)
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
        self._hold = self._purse.take(bill)
        if self._hold is not None:
            self._go_on(pending, then)
        else:
            self._task = asyncio.create_task(self._wait(bill, pending, then, refused), name="reserve again")

    def facts(self) -> Iterable[tuple[bytes, bytes]]:
        """LiteLLM's headers about the key: its limits, its budget, and what was spent of that, lately."""
        yield from self._about
        for holding, _ in () if self._hold is None else self._hold.budgets:
            if holding.budget.account.kind == "key" and holding.budget.most is not None:
                yield b"x-litellm-key-spend", b"%.9g" % (float(holding.budget.most) - holding.spendable / NANO)
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
        leases = self._hold.leases
        return structs.replace(request, leases=leases, reserved=self._hold.bill.nano if leases else 0)


class Cashier:
    """Makes payments: knows purse, estimates, and who pays beside the key."""

    def __init__(self, purse: Purse, estimator: Estimator, payers: Payers) -> None:
        self._purse = purse
        self._estimator = estimator
        self._payers = payers
        self._about: dict[str, tuple[Access, list[tuple[bytes, bytes]]]] = {}

    async def beside(self, caller: Caller) -> Sequence[Payer]:
        """The customer and the tags of a request. Raises `Refused`: KEY_BLOCKED, LEDGER_DOWN."""
        found = self._payers.known(caller)
        if found is None:
            found = await self._payers.find(caller)
        refuse_blocked(found)
        return found

    def payment(self, access: Access, beside: Sequence[Payer], asked: str, output: Output) -> Payment | None:
        """How a request for the model `asked` pays; None when nothing limits it."""
        if access.terms.empty and not access.model_terms and not beside:
            return None
        common = (access.terms, *(payer.terms for payer in beside))
        key = access.caller.payer

        def make(request: Request, course: Course, body: bytes | None = None) -> Bill:
            allowed = output if body is None else output_of(request.endpoint, body)
            estimate = self._estimator.of(course, request.model, key, allowed)
            names = (request.model, request.group)
            terms = (*common, *_of_model(access, names if len(course.visited) > 1 else (asked, *names)))
            return Bill(terms, estimate.nano, estimate.tokens, request.deadline, estimate.guessed)

        def learn(model: str, usage: Usage) -> None:
            if output.most is None:
                self._estimator.learn(key, model, usage)

        return Payment(self._purse, make, learn, self._headers(access))

    def _headers(self, access: Access) -> Sequence[tuple[bytes, bytes]]:
        """What answers say of the key's terms; kept for as long as its `Access` is the same."""
        found = self._about.get(access.caller.payer)
        if found is None or found[0] is not access:
            if len(self._about) >= _REMEMBERED:
                self._about.clear()
            found = self._about[access.caller.payer] = (access, list(_terms(access.terms)))
        return found[1]


def _terms(terms: Terms) -> Iterable[tuple[bytes, bytes]]:
    for budget in terms.budgets:
        if budget.account.kind == "key" and budget.most is not None:
            yield b"x-litellm-key-max-budget", format(budget.most, "f").encode()
            break
    for rate in terms.rates:
        header = _LIMITS.get(rate.unit)
        if header is not None and rate.account.kind == "key" and rate.window == _MINUTE:
            yield header, b"%d" % rate.most


def _of_model(access: Access, names: tuple[str, ...]) -> tuple[Terms, ...]:
    """By the name that was asked for, else the concrete one, else its group's."""
    if not access.model_terms:
        return ()
    found = next((name for name in names if name in access.model_terms), None)
    return () if found is None else (access.model_terms[found],)
