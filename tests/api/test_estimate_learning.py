"""What calls are expected to cost, from what calls before them used, whatever name they were asked for by."""

import asyncio
from decimal import Decimal
from typing import Any

from api.course import Course, Wishes
from api.estimate import Estimator
from api.hold import Bill, Hold
from api.intake import Output
from api.payers import Payers
from api.payment import Cashier
from ledger.pool import Pool
from ledger.prices import PriceBook
from schemas.access import Access, Account, Budget, Terms
from schemas.config import Deployment, PriceOverride
from schemas.envelope import Endpoint, Request
from schemas.usage import Caller, Usage

DEPLOYMENT = Deployment(
    id="d", group="m", model="m", provider="openai", price=PriceOverride(input=Decimal(0), output=Decimal("0.001"))
)
ACCESS = Access(
    caller=Caller(key_hash="k"),
    terms=Terms(budgets=(Budget(account=Account("key", "k"), named="k", most=Decimal(100)),)),
)


def course() -> Course:
    """To the one deployment."""
    return Course((DEPLOYMENT,), Wishes(), 10)


def request(model: str) -> Request:
    """For a model."""
    return Request(
        id="r", endpoint=Endpoint.CHAT, group="m", model=model, stream=False, include_usage=False, received=0.0,
        deadline=9e9, gap=1.0, reply_to="here",
    )  # fmt: skip


class Rich:
    """A purse that has enough, and keeps the bills."""

    def __init__(self) -> None:
        self.bills: list[Bill] = []

    def take(self, bill: Bill) -> Hold:
        """At once."""
        self.bills.append(bill)
        return Hold(bill, [], [], asyncio.get_running_loop().time)


async def test_calls_by_another_name_are_learned_from(pool: Pool) -> None:
    purse: Any = Rich()
    cashier = Cashier(purse, Estimator(PriceBook()), Payers(pool, asyncio.get_running_loop().time))
    for _ in range(21):
        payment = cashier.payment(ACCESS, (), "an alias of m", Output(None))
        assert payment is not None
        await payment.first(request("m"), course())
        payment.begun()
        payment.ended(Usage(prompt=10, completion=16))
    assert (purse.bills[0].tokens, purse.bills[0].guessed) == (11 + 4096, 4096)
    assert purse.bills[-1].tokens == 11 + 16


def test_what_a_body_bounds_is_not_guessed() -> None:
    found = Estimator(PriceBook()).of(course(), "m", "k", Output(50))
    assert (found.tokens, found.guessed) == (61, 0)
    assert found.nano == 50_000_001
