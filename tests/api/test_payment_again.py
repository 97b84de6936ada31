"""A request that is attempted again, or by another name: each attempt is paid and learned from, to limits it is one."""

import asyncio
import time
from decimal import Decimal
from typing import Any

import pytest

from api.course import Course, Wishes
from api.estimate import Estimator
from api.hold import Bill, Hold
from api.intake import Output
from api.payers import Payers
from api.payment import Cashier, Payment
from ledger.pool import Pool
from ledger.prices import PriceBook
from schemas.access import Access, Account, Budget, Rate, Terms, Unit
from schemas.config import Deployment
from schemas.envelope import Endpoint, Request
from schemas.failures import Failure
from schemas.usage import Caller, Usage
from tests.api.test_purse import MILLI
from tests.api.test_purse_troubles import outstanding, purse

KEY = Account("key", "k")
TERMS = Terms(
    budgets=(Budget(account=KEY, named="k", most=Decimal(1)),),
    rates=(Rate(account=KEY, named="k", unit=Unit.REQUESTS, most=1),),
)


DEPLOYMENT = Deployment(id="d", group="m", model="m", provider="openai")


def course() -> Course:
    """To the one deployment."""
    return Course((DEPLOYMENT,), Wishes(), 10)


def request(model: str, **given: Any) -> Request:
    """For a model."""
    fields: dict[str, Any] = {"stream": False, "received": 0.0, "deadline": 9e9}
    return Request(
        id="r", endpoint=Endpoint.CHAT, group="m", model=model, include_usage=False, gap=1.0, reply_to="here",
        **(fields | given),
    )  # fmt: skip


class Pending:
    """A request under way."""

    def __init__(self) -> None:
        self.request: Request = request("m")
        self.course: Course = course()
        self.body = b"{}"


@pytest.mark.parametrize("begun", [True, False])
async def test_a_request_counts_once_however_often_it_is_attempted(pool: Pool, begun: bool) -> None:
    def make(request: Request, course: Course, body: bytes | None = None) -> Bill:
        return Bill((TERMS,), 100 * MILLI, 10, time.time() + 20)

    async with purse(pool) as p:
        payment, pending = Payment(p, make, lambda model, usage: None), Pending()
        pending.request = await payment.first(pending.request, pending.course)
        for _ in range(3):
            if begun:
                payment.begun()
                payment.ended(None)
            payment.moved()
            went, refusals = asyncio.Event(), list[Failure]()
            payment.renew(pending, went.set, refusals.append)
            async with asyncio.timeout(5):
                await went.wait()
            assert not refusals
            assert pending.request.reserved == 100 * MILLI
        payment.begun()
        payment.ended(Usage(prompt=5, completion=5))
        assert p.take(make(pending.request, pending.course)) is None, "one request a minute"
    assert await outstanding(pool) == (4 if begun else 1) * 100 * MILLI  # nothing of it is recorded yet


class Rich:
    """A purse that has enough, and keeps the bills."""

    def __init__(self) -> None:
        self.bills: list[Bill] = []

    def take(self, bill: Bill) -> Hold:
        """At once."""
        self.bills.append(bill)
        return Hold(bill, [], [], asyncio.get_running_loop().time)


async def test_calls_by_another_name_are_learned_from(pool: Pool) -> None:
    rich: Any = Rich()
    cashier = Cashier(rich, Estimator(PriceBook()), Payers(pool, asyncio.get_running_loop().time))
    for _ in range(21):
        payment = cashier.payment(Access(caller=Caller(key_hash="k"), terms=TERMS), (), "an alias of m", Output(None))
        assert payment is not None
        await payment.first(request("m"), course())
        payment.begun()
        payment.ended(Usage(prompt=10, completion=16))
    assert (rich.bills[0].tokens, rich.bills[0].guessed) == (11 + 4096, 4096)
    assert rich.bills[-1].tokens == 11 + 16
