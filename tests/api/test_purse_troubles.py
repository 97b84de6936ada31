"""What a purse does when answers get lost, terms change, calls last long and times end: nothing twice, or for ever."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from api import purse as module
from api.hold import Bill
from api.purse import Purse
from ledger.leases import NANO
from ledger.pool import Pool, open_pool
from ledger.upkeep import recorded_until
from schemas.access import Account, Budget, Rate, Terms, Unit
from schemas.failures import Kind, Refused
from schemas.usage import Usage
from tests.api.test_purse import KEY, MILLI, Calls, bill, limited, pay, refusal
from tests.chaos.ground import until
from tests.support.proxy import Proxy

PARALLEL = Rate(account=KEY, named="k", unit=Unit.PARALLEL, most=1, window=0)


@pytest.fixture(autouse=True)
async def accounting(pool: Pool) -> None:
    """It never stands still here: leases lapse in their time."""
    await recorded_until(pool, "accounting", math.inf)


@asynccontextmanager
async def purse(pool: Any, name: str = "api", **fields: Any) -> AsyncIterator[Purse]:
    """One, that is closed in the end."""

    def scarce(_: tuple[Account, ...]) -> None:
        pass

    made = Purse(pool, name, asyncio.get_running_loop().time, time.time, scarce, **fields)
    made.start()
    try:
        yield made
    finally:
        await made.close()


class Deaf:
    """A pool whose answers get lost while `lost` is set; `gate`, when there is one, holds them back."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.lost = False
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def fetchrow(self, *given: Any) -> Any:
        row = await self.pool.fetchrow(*given)
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.lost:
            raise ConnectionResetError
        return row


async def outstanding(pool: Pool) -> int:
    """Nano-dollars of all leases."""
    found: int = await pool.fetchval("SELECT coalesce(sum(outstanding), 0)::bigint FROM leases")
    return found


async def test_what_was_granted_unheard_comes_back(pool: Pool) -> None:
    deaf = Deaf(pool)
    async with purse(deaf) as p:
        hold = await pay(p, bill(300 * MILLI))
        deaf.lost = True
        for _ in range(3):
            assert (await refusal(p, bill(400 * MILLI))).kind is Kind.LEDGER_DOWN
        assert await outstanding(pool) > 300 * MILLI
        deaf.lost = False
        await pay(p, bill(600 * MILLI))
        hold.void()
    assert await outstanding(pool) == 600 * MILLI  # the call that is under way still


async def test_what_was_granted_unheard_comes_back_though_nobody_asks(pool: Pool) -> None:
    deaf = Deaf(pool)
    async with purse(deaf, life=0.4) as p:
        deaf.lost = True
        assert (await refusal(p, bill(400 * MILLI))).kind is Kind.LEDGER_DOWN
        assert await outstanding(pool) > 0
        deaf.lost = False

        async def nothing_is_held() -> bool:
            return await outstanding(pool) == 0

        await until(nothing_is_held)


async def test_a_busy_purse_begins_anew_so_that_what_was_lost_comes_back(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ERA", 0.5)
    calls = Calls(pool, random.Random(1))
    async with purse(pool, life=0.4, lag=0.2) as p:
        await pay(p, bill(600 * MILLI, wait=1))  # nobody will ever record it
        early = await pay(p, bill(MILLI, wait=1))
        async with asyncio.timeout(20):
            while await outstanding(pool) > 300 * MILLI:
                await calls.make(await pay(p, bill(MILLI, wait=1)), Decimal("0.00001"))
        hold = await pay(p, bill(900 * MILLI, wait=1))
        early.void()  # of an era that is over
        hold.void()
    assert await outstanding(pool) == 0


async def test_a_call_that_lasts_longer_than_a_lease_is_under_way_still(pool: Pool) -> None:
    async with purse(pool, "one", life=0.6) as one, purse(pool, "two", life=0.6) as two:
        hold = await pay(one, limited(PARALLEL))
        loop = asyncio.get_running_loop()
        end = loop.time() + 2
        while loop.time() < end:
            assert (await refusal(two, limited(PARALLEL))).kind is Kind.KEY_RATE_LIMIT
            await asyncio.sleep(0.05)
        hold.over(None)


async def test_what_was_asked_under_old_terms_is_not_used(pool: Pool) -> None:
    deaf = Deaf(pool)
    async with purse(deaf) as p:
        deaf.gate = asyncio.Event()
        rich = Budget(account=KEY, named="k", most=Decimal(1000))
        first = asyncio.create_task(pay(p, bill(500 * MILLI, wait=2, budget=rich)))
        await deaf.asked.wait()
        p.changed(["key:k"])  # now it is one dollar
        second = asyncio.create_task(pay(p, bill(800 * MILLI, wait=2)))
        third = asyncio.create_task(pay(p, bill(800 * MILLI, wait=1)))
        deaf.gate.set()
        await asyncio.wait({first, second, third})
        assert sum(task.exception() is None for task in (second, third)) <= 1
    assert await outstanding(pool) <= NANO


@pytest.mark.parametrize("told", [True, False])
async def test_terms_that_shrink_hold_at_once(pool: Pool, told: bool) -> None:
    async with purse(pool) as p:
        rich = Budget(account=KEY, named="k", most=Decimal(1000))
        for _ in range(3):
            await pay(p, bill(100 * MILLI, budget=rich))
        wide, narrow = (Rate(account=KEY, named="k", unit=Unit.REQUESTS, most=most) for most in (100, 1))
        for _ in range(3):
            await pay(p, limited(wide))
        if told:
            rounds = p.statements
            p.changed(["key:k"])

            async def given_back() -> bool:
                return p.statements > rounds

            await until(given_back)
        poor = Budget(account=KEY, named="k", most=Decimal("0.2"))
        assert (await refusal(p, bill(100 * MILLI, wait=1, budget=poor))).kind is Kind.BUDGET_RESERVED
        assert (await refusal(p, limited(narrow))).kind is Kind.KEY_RATE_LIMIT


async def test_who_waits_does_not_bring_old_terms_back(pool: Pool) -> None:
    async with purse(pool) as p:
        held = await pay(p, bill(900 * MILLI))
        waiting = asyncio.create_task(pay(p, bill(500 * MILLI)))
        await asyncio.sleep(0)
        small = Budget(account=KEY, named="k", most=Decimal("0.95"))
        p.changed(["key:k"])
        assert (await refusal(p, bill(960 * MILLI, budget=small))).kind is Kind.BUDGET_EXCEEDED
        rounds = p.statements

        async def asked_again() -> bool:
            return p.statements > rounds + 2

        await until(asked_again)
        assert [holding.budget for holding in p._budgets.values()] == [small]
        held.void()
        (await waiting).void()


async def test_all_who_wait_for_reservations_ask_together(pool: Pool) -> None:
    async with purse(pool) as p:
        hold = await pay(p, bill(900 * MILLI))
        await asyncio.gather(*(_late(p) for _ in range(40)))
        assert p.statements < 8
        hold.void()


async def _late(p: Purse) -> None:
    await asyncio.sleep(random.random() / 2)
    assert (await refusal(p, bill(500 * MILLI, wait=1))).kind is Kind.BUDGET_RESERVED


async def test_a_new_window_begins_with_nothing(pool: Pool) -> None:
    now = [1_790_000_000.0]
    daily = Budget(account=KEY, named="k", most=Decimal(1), period="1d")

    def of_day() -> Bill:
        return Bill((Terms(budgets=(daily,)),), 900 * MILLI, 10, now[0] + 20)

    def scarce(_: tuple[Account, ...]) -> None:
        pass

    p = Purse(pool, "api", asyncio.get_running_loop().time, lambda: now[0], scarce)
    p.start()
    early = await pay(p, of_day())
    now[0] += 86_400
    await pay(p, of_day())
    assert await outstanding(pool) == 1800 * MILLI
    early.void()

    async def given_back() -> bool:
        return await outstanding(pool) == 900 * MILLI

    await until(given_back)
    await p.close()
    assert await spent_of(pool) == [Decimal(0), Decimal(0)]


async def spent_of(pool: Pool) -> list[Decimal]:
    """By window."""
    return [row["spent"] for row in await pool.fetch("SELECT spent FROM balances ORDER BY began")]


async def test_what_comes_back_of_a_lease_that_is_over_is_not_spent_again(pool: Pool) -> None:
    async with purse(pool) as p:
        late = await pay(p, bill(600 * MILLI))
        await pool.execute("UPDATE leases SET until = now() - interval '1 s'")  # it stood still for that long
        await recorded_until(pool, "accounting", time.time())
        hold = await pay(p, bill(900 * MILLI))
        late.void()
        assert (await refusal(p, bill(500 * MILLI, wait=0.4))).kind is Kind.BUDGET_RESERVED
        hold.void()


async def test_what_is_only_expected_does_not_go_beyond_a_limit(pool: Pool) -> None:
    rate = Rate(account=KEY, named="k", unit=Unit.TOKENS, most=1000)
    terms, deadline = (Terms(rates=(rate,)),), time.time() + 20
    async with purse(pool) as p:
        unbounded = Bill(terms, 0, 4106, deadline, guessed=4096)
        hold = await pay(p, unbounded)
        assert (await refusal(p, unbounded)).kind is Kind.KEY_RATE_LIMIT
        hold.over(Usage(prompt=10, completion=200))
        assert (await refusal(p, Bill(terms, 0, 1001, deadline))).kind is Kind.KEY_RATE_LIMIT
        assert (await refusal(p, Bill(terms, 0, 5097, deadline, guessed=4096))).kind is Kind.KEY_RATE_LIMIT
        await pay(p, Bill(terms, 0, 790, deadline))


async def test_a_ledger_that_says_nothing_is_waited_for_only_so_long(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    async with Proxy(database_url) as proxy:
        slow = await open_pool(proxy.url)
        async with purse(slow) as p:
            hold = await pay(p, bill(10 * MILLI))
            for line in proxy.lines:
                line.stall()
            async with asyncio.timeout(5):
                assert (await refusal(p, bill(900 * MILLI))).kind is Kind.LEDGER_DOWN
                (await pay(p, bill(900 * MILLI))).void()  # over another connection
            proxy.cut()
            hold.void()
        assert await outstanding(pool) == 0
        await slow.close()


class Shaky(Deaf):
    """A pool that loses one answer in ten, and one question in ten."""

    def __init__(self, pool: Pool, chance: random.Random) -> None:
        super().__init__(pool)
        self.chance = chance

    async def fetchrow(self, *given: Any) -> Any:
        if self.chance.random() < 0.1:
            raise ConnectionResetError
        row = await self.pool.fetchrow(*given)
        if self.chance.random() < 0.1:
            raise ConnectionResetError
        return row


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_over_bad_connections_a_budget_is_used_up_and_not_overspent(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(module, "_ERA", 0.7)
    chance = random.Random(seed)
    calls = Calls(pool, chance)

    async def client(p: Purse) -> Kind:
        while True:
            nano = chance.randrange(5 * MILLI, 15 * MILLI)
            try:
                hold = await pay(p, bill(nano, wait=1))
            except Refused as refused:
                if refused.failure.kind is Kind.BUDGET_EXCEEDED:
                    return refused.failure.kind
                continue
            if chance.random() < 0.1:
                await asyncio.sleep(0)
                hold.void()
            elif chance.random() > 0.02:  # else nobody ever records it
                await calls.make(hold, Decimal(int(nano * chance.uniform(0.2, 1))) / NANO)

    async with AsyncExitStack() as stack:
        three = [
            await stack.enter_async_context(purse(Shaky(pool, chance), f"api{n}", life=0.5, lag=0.5)) for n in range(3)
        ]
        async with asyncio.timeout(60):
            ends = await asyncio.gather(*(client(chance.choice(three)) for _ in range(24)))
    assert set(ends) == {Kind.BUDGET_EXCEEDED}
    total = await pool.fetchval("SELECT spent FROM balances")
    assert Decimal("0.97") <= total <= 1
