"""Leases: what one process may spend of budgets and use of rates without asking again. All by one statement.

A budget's window has a balance; a process leases a part of what is neither spent nor leased, reserves calls from it,
and gives the rest back. The usage event of a call gives back its reservation and moves what is spent, in accounting's
transaction. A lease that is never given back counts until `life` has passed: by then every call reserved from it has
ended and is recorded. Who does not know whether a question was answered asks again with what it wanted to give back:
what was granted unheard is undone. A rate counts uses in buckets of a sixtieth of its window, and what processes have
in hand.
"""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from ledger.pool import Pool
from ledger.sql import query

NANO = 10**9
"""Nano-dollars in a dollar."""


class BudgetWish(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a budget. Amounts in nano-dollars, `most` and `soft` in dollars, times in seconds.

    Nothing is granted when less than `need` is left; `back` is given back first. `n` finds the answer again.

    Each era of a holder has a lease of its own, and its questions grow in `serial`. `sure` is the last one whose answer
    arrived; `back` has (serial, amount) of this question and of those after `sure` that gave something back. `paid` is
    what the holder has given up of this lease, all in all, because calls cost more than was reserved for them.
    """

    n: int
    kind: str
    id: str
    scope: str
    period: str
    began: float | None  # since the epoch; None: always
    ends: float | None
    most: Decimal | None
    soft: Decimal | None
    need: int = 0
    want: int = 0
    back: Sequence[tuple[int, int]] = ()
    life: float = 0.0
    era: int = 0
    serial: int = 1
    sure: int = 0
    paid: int = 0


class BudgetGrant(msgspec.Struct, frozen=True):
    """What was granted. `left` could have been leased, `spendable` is not spent yet; nano-dollars.

    `beyond` is what recorded calls of the lease cost beyond what was reserved for them, `paid` what of that went back.
    """

    n: int
    granted: int
    left: int
    spendable: int
    lease: int | None = None
    beyond: int = 0
    paid: int = 0


class RateWish(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a rate, and what was used: `amounts`, each so many seconds (`ages`) ago; negative takes back.

    `unused` is what this process still has in hand (of calls under way: those too).
    """

    n: int
    kind: str
    id: str
    scope: str
    unit: str
    window: int
    most: int
    need: int = 0
    want: int = 0
    unused: int = 0
    ages: Sequence[float] = ()
    amounts: Sequence[int] = ()
    life: float = 0.0


class RateGrant(msgspec.Struct, frozen=True):
    """What was granted. `retry`: seconds until `need` may have room; None: nobody knows, or it has."""

    n: int
    granted: int
    left: int
    retry: float | None = None


async def lease(
    pool: Pool, holder: str, budgets: Sequence[BudgetWish], rates: Sequence[RateWish]
) -> tuple[dict[int, BudgetGrant], dict[int, RateGrant]]:
    """Ask for all of these at once; the answers by `n`. What asyncpg raises leaves open what was granted."""
    row = await pool.fetchrow(
        query("lease"), _ENCODER.encode(budgets).decode(), _ENCODER.encode(rates).decode(), holder
    )
    assert row is not None
    given, let = _BUDGETS.decode(row["budgets"]), _RATES.decode(row["rates"])
    return {grant.n: grant for grant in given}, {grant.n: grant for grant in let}


_ENCODER = msgspec.json.Encoder(decimal_format="number")
_BUDGETS = msgspec.json.Decoder(list[BudgetGrant])
_RATES = msgspec.json.Decoder(list[RateGrant])


def dollars(nano: int) -> Decimal:
    """US dollars."""
    return Decimal(nano) / NANO
