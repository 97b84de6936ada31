"""Budgets and rates hold over several processes, whatever calls turn out to cost, and little is asked of the ledger."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal

import pytest

from api.hold import Bill, Hold
from api.purse import Purse
from ledger.leases import NANO
from ledger.pool import Pool
from ledger.spend import record
from schemas.access import Account, Budget, Rate, Terms, Unit
from schemas.failures import Failure, Kind, Refused
from schemas.usage import Caller, Usage
from tests.ledger.events import event

KEY = Account("key", "k")
ONE = Budget(account=KEY, named="Key=k", most=Decimal(1))
MILLI = NANO // 1000
Make = Callable[..., Purse]


@pytest.fixture
async def purses(pool: Pool) -> AsyncIterator[Make]:
    """Makes a purse, one for each process."""
    made: list[Purse] = []

    def make(**fields: object) -> Purse:
        loop = asyncio.get_running_loop()

        def scarce(accounts: tuple[Account, ...]) -> None:
            for other in made:
                if other is not purse:
                    other.recall(accounts)

        purse = Purse(pool, f"api{len(made)}", loop.time, time.time, scarce, **fields)  # type: ignore[arg-type]
        purse.start()
        made.append(purse)
        return purse

    yield make
    for purse in made:
        await purse.close()


def bill(nano: int = MILLI, *, wait: float = 20, budget: Budget = ONE) -> Bill:
    """For a call that may wait that long."""
    return Bill((Terms(budgets=(budget,)),), nano, 10, time.time() + wait)


def limited(rate: Rate, tokens: int = 10) -> Bill:
    """For a call that only a rate limits."""
    return Bill((Terms(rates=(rate,)),), 0, tokens, time.time() + 20)


async def pay(purse: Purse, wanted: Bill) -> Hold:
    """As a request does."""
    return purse.take(wanted) or await purse.reserve(wanted)


async def refusal(purse: Purse, wanted: Bill) -> Failure:
    """What is said of a call that may not be made."""
    with pytest.raises(Refused) as refused:
        await pay(purse, wanted)
    return refused.value.failure


class Calls:
    """Calls that cost something, recorded as accounting would."""

    def __init__(self, pool: Pool, chance: random.Random) -> None:
        self.pool = pool
        self.chance = chance
        self.made = 0

    async def make(self, hold: Hold, cost: Decimal) -> None:
        """A call that ends, and is recorded a little later."""
        self.made += 1
        await asyncio.sleep(self.chance.uniform(0, 0.01))
        hold.over(Usage(prompt=5, completion=5))
        await record(
            self.pool,
            [
                event(
                    f"a{self.made}-{self.chance.random()}",
                    started=int(time.time() * 1e6),
                    ended=int(time.time() * 1e6),
                    caller=Caller(key_hash="k"),
                    cost=cost,
                    leases=hold.leases,
                    reserved=hold.bill.nano,
                )
            ],
        )


async def spent(pool: Pool) -> Decimal:
    """Of the budget, as the ledger has it."""
    found: Decimal = await pool.fetchval("SELECT spent FROM balances WHERE kind = 'key' AND period = ''")
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_budget_is_used_up_and_never_overspent_by_three_processes(pool: Pool, purses: Make, seed: int) -> None:
    chance = random.Random(seed)
    calls, three = Calls(pool, chance), [purses() for _ in range(3)]

    async def client(purse: Purse) -> Kind:
        while True:
            nano = chance.randrange(2 * MILLI, 6 * MILLI)
            try:
                hold = await pay(purse, bill(nano))
            except Refused as refused:
                return refused.failure.kind
            await calls.make(hold, Decimal(int(nano * chance.uniform(0.01, 1))) / NANO)

    async with asyncio.timeout(60):
        ends = await asyncio.gather(*(client(chance.choice(three)) for _ in range(64)))
    assert set(ends) == {Kind.BUDGET_EXCEEDED}
    total = await spent(pool)
    assert Decimal("0.97") <= total <= 1
    assert total == await pool.fetchval("SELECT sum(cost) FROM spend_logs")
    assert await pool.fetchval("SELECT spend FROM totals WHERE kind = 'key'") == total
    assert sum(purse.statements for purse in three) < calls.made


async def test_far_from_its_end_a_budget_costs_one_statement_for_twenty_calls(pool: Pool, purses: Make) -> None:
    purse, calls = purses(), Calls(pool, random.Random(1))
    budget = Budget(account=KEY, named="k", most=Decimal(1000))
    for _ in range(400):
        await calls.make(await pay(purse, bill(budget=budget)), Decimal("0.0005"))
    assert purse.statements <= 20


async def test_what_was_not_begun_comes_back_at_once(pool: Pool, purses: Make) -> None:
    purse = purses()
    for _ in range(50):
        (await pay(purse, bill(900 * MILLI))).void()
    assert purse.statements == 1


async def test_only_reservations_are_waited_for(pool: Pool, purses: Make) -> None:
    first, second = purses(), purses()
    hold = await pay(first, bill(800 * MILLI))
    assert (await refusal(second, bill(800 * MILLI, wait=0.4))).kind is Kind.BUDGET_RESERVED
    waiting = asyncio.create_task(pay(second, bill(800 * MILLI)))
    await Calls(pool, random.Random(1)).make(hold, Decimal("0.1"))
    await waiting
    assert (await refusal(second, bill(950 * MILLI))).kind is Kind.BUDGET_EXCEEDED


async def test_a_budget_of_nothing_lets_nothing_pass(purses: Make) -> None:
    nothing = Budget(account=KEY, named="k", most=Decimal(0))
    assert (await refusal(purses(), bill(1, budget=nothing))).kind is Kind.BUDGET_EXCEEDED


@pytest.mark.parametrize("uneven", [False, True])
async def test_a_rate_holds_over_three_processes(purses: Make, uneven: bool) -> None:
    rate = Rate(account=KEY, named="k", unit=Unit.REQUESTS, most=90)
    three = [purses() for _ in range(3)]
    chance, admitted, refusals = random.Random(3), 0, list[Failure]()
    while len(refusals) < 80:
        purse = chance.choices(three, [18, 1, 1] if uneven else [1, 1, 1])[0]
        try:
            await pay(purse, limited(rate))
            admitted += 1
        except Refused as refused:
            refusals.append(refused.failure)
            await asyncio.sleep(0.05)  # a client that comes again: what others do not use is given back meanwhile
    assert {failure.kind for failure in refusals} == {Kind.KEY_RATE_LIMIT}
    assert all(0 < failure.retry_after <= 61 for failure in refusals)
    assert 0.95 * 90 <= admitted <= 90


async def test_tokens_that_were_not_used_make_room(purses: Make) -> None:
    rate = Rate(account=KEY, named="k", unit=Unit.TOKENS, most=1000)
    purse = purses()
    for _ in range(10):
        hold = await pay(purse, limited(rate, 900))
        hold.over(Usage(prompt=5, completion=5))
    await pay(purse, limited(rate, 900))
    assert (await refusal(purse, limited(rate, 900))).kind is Kind.KEY_RATE_LIMIT
    assert "needs 1001" in (await refusal(purse, limited(rate, 1001))).message


async def test_calls_under_way_are_counted_and_their_places_go_round(purses: Make) -> None:
    rate = Rate(account=KEY, named="k", unit=Unit.PARALLEL, most=3, window=0)
    first, second = purses(), purses()
    wanted = limited(rate)
    held = [await pay(first, wanted), await pay(second, wanted), await pay(first, wanted)]
    for purse in (first, second):
        assert (await refusal(purse, wanted)).kind is Kind.KEY_RATE_LIMIT
    held[0].over(None)
    await pay(first, wanted)
    held[1].left()
    await pay(second, wanted)
