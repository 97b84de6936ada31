"""The functions that lease and settle, against a small model of what they promise, in any order and at once."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from ledger.leases import NANO, BudgetGrant, BudgetWish, RateGrant, RateWish, lease
from ledger.pool import Pool
from ledger.spend import record
from ledger.upkeep import recorded_until
from schemas.usage import Caller, Status, UsageEvent
from tests.chaos.ground import until
from tests.ledger.events import event

KEY = "k"
MOST = Decimal(1)
LIFE = 1000.0
WINDOW, FULL = 2, 40  # seconds, and requests in any of them


def wish(**given: Any) -> BudgetWish:
    """Of a key's budget of one dollar for ever."""
    fields: dict[str, Any] = {
        "n": 0, "kind": "key", "id": KEY, "scope": "", "period": "", "began": None, "ends": None,
        "most": MOST, "soft": None, "life": LIFE,
    }  # fmt: skip
    return BudgetWish(**(fields | given))


def room(**given: Any) -> RateWish:
    """Of a key's requests."""
    fields: dict[str, Any] = {
        "n": 0, "kind": "key", "id": KEY, "scope": "", "unit": "requests", "window": 60, "most": 100, "life": LIFE,
    }  # fmt: skip
    return RateWish(**(fields | given))


async def ask(pool: Pool, holder: str, **given: Any) -> BudgetGrant:
    """One question about the budget."""
    return (await lease(pool, holder, [wish(**given)], []))[0][0]


async def ask_room(pool: Pool, holder: str, **given: Any) -> RateGrant:
    """One question about the rate."""
    return (await lease(pool, holder, [], [room(**given)]))[1][0]


def call(name: str, cost: Decimal, **given: Any) -> UsageEvent:
    """A call of the key that ends now."""
    now = int(time.time() * 1e6)
    return event(name, **({"started": now, "ended": now, "caller": Caller(key_hash=KEY), "cost": cost} | given))


async def held(pool: Pool) -> int:
    """Nano-dollars of all leases."""
    found: int = await pool.fetchval("SELECT coalesce(sum(outstanding), 0)::bigint FROM leases WHERE until > now()")
    return found


async def spent(pool: Pool) -> Decimal:
    """Of the budget, US dollars."""
    found: Decimal = await pool.fetchval("SELECT coalesce(sum(spent), 0) FROM balances")
    return found


@dataclass
class Holder:
    """A process of the model: what it may still reserve, and its calls (lease, nano-dollars)."""

    name: str
    era: int = 1
    serial: int = 0
    sure: int = 0
    back: list[tuple[int, int]] = field(default_factory=list)
    unheard: int = 0  # granted in an answer that did not arrive, or given back in a question that did not
    free: int = 0
    lease: int = 0
    calls: list[tuple[int, int]] = field(default_factory=list)

    def question(self, back: int) -> dict[str, Any]:
        """What the next one says of those before."""
        self.serial += 1
        self.free -= back
        if back:
            self.back.append((self.serial, back))
        return {"era": self.era, "serial": self.serial, "sure": self.sure, "back": list(self.back)}


class World:
    """Some processes with one budget, and everything that they may do."""

    def __init__(self, pool: Pool, chance: random.Random) -> None:
        self.pool = pool
        self.chance = chance
        self.holders = [Holder(f"api{n}") for n in range(3)]
        self.spent = 0
        self.beyond = 0  # what calls cost beyond what was reserved for them
        self.recorded: list[UsageEvent] = []
        self.late: list[UsageEvent] = []  # second attempts of a reservation: their events come later
        self.made = 0

    async def borrow(self, holder: Holder) -> None:
        need = self.chance.randrange(1, NANO // 20)
        want = need * self.chance.randrange(1, 20)
        back = holder.free if self.chance.random() < 0.3 else 0
        before = self.spent + await held(self.pool) - back - holder.unheard
        grant = await ask(self.pool, holder.name, need=need, want=want, **holder.question(back))
        assert grant.left == NANO - before
        assert grant.spendable == NANO - self.spent
        fits = need <= grant.left
        assert grant.granted == (min(want, max(need, grant.left // 2)) if fits else 0)
        holder.free += grant.granted
        holder.lease = grant.lease or holder.lease
        holder.sure, holder.back, holder.unheard = holder.serial, [], 0

    async def fall_silent(self, holder: Holder) -> None:
        """A question is lost, or it is answered and the answer is lost."""
        back = holder.free if self.chance.random() < 0.5 else 0
        need = self.chance.choice([0, NANO // 50])
        question = holder.question(back)
        holder.unheard += back
        if self.chance.random() < 0.5:
            grant = await ask(self.pool, holder.name, need=need, want=need, **question)
            holder.unheard = grant.granted

    async def ask_late(self, holder: Holder) -> None:
        """A question that was given up is asked after all, when the next one has been answered: it changes nothing."""
        serial, given_up = holder.serial, [one for one in holder.back if one[0] == holder.serial]
        if given_up:
            await self.borrow(holder)
            before = await held(self.pool)
            await ask(self.pool, holder.name, era=holder.era, serial=serial, sure=serial - 1, back=given_up)
            assert await held(self.pool) == before

    async def begin_an_era(self, holder: Holder) -> None:
        """The old one's calls are still under way."""
        await self.borrow(holder)
        if holder.free:
            await ask(self.pool, holder.name, **holder.question(holder.free))
        holder.era, holder.lease, holder.back, holder.sure = holder.era + 1, 0, [], holder.serial

    async def reserve(self, holder: Holder) -> None:
        if holder.free:
            nano = self.chance.randrange(1, holder.free + 1)
            holder.free -= nano
            holder.calls.append((holder.lease, nano))

    async def settle(self, holder: Holder) -> None:
        batch = []
        for _ in range(min(len(holder.calls), self.chance.randrange(1, 4))):
            lease_of, nano = holder.calls.pop(self.chance.randrange(len(holder.calls)))
            cost = int(nano * self.chance.choice([0, 0.01, 0.5, 1, 1, 1.5]))
            self.made += 1
            given: dict[str, Any] = {"leases": (lease_of,), "reserved": nano, "request": f"r{self.made}"}
            real = call(f"a{self.made}", Decimal(cost) / NANO, reservation=1, **given)
            self.beyond += max(0, cost - nano)
            batch.append(real)
            if self.chance.random() < 0.3:  # the same message went to a second worker
                twin = call(f"{self.chance.choice('Az')}{self.made}", Decimal(cost) / NANO, reservation=1, **given)
                self.beyond += cost
                self.chance.choice([batch, self.late]).append(twin)
        await self.record(batch)

    async def record(self, batch: list[UsageEvent]) -> None:
        await record(self.pool, batch)
        self.spent += int(sum(event.cost or 0 for event in batch) * NANO)
        self.recorded += batch

    async def settle_again(self, _: Holder) -> None:
        """Their cost counts, and what they were reserved is given back already."""
        late, self.late = self.late, []
        await self.record(late)

    async def replay(self, _: Holder) -> None:
        """Events that come again change nothing."""
        if self.recorded:
            await record(self.pool, self.chance.sample(self.recorded, min(3, len(self.recorded))))

    async def die(self, holder: Holder) -> None:
        """All of its calls are recorded, it says nothing more, and its time passes."""
        while holder.calls:
            await self.settle(holder)
        await self.pool.execute("UPDATE leases SET until = now() - interval '1 s' WHERE holder = $1", holder.name)
        await recorded_until(self.pool, "accounting", time.time())
        self.made += 1
        self.holders[self.holders.index(holder)] = Holder(f"api again {self.made}")

    async def check(self) -> None:
        assert await spent(self.pool) * NANO == self.spent
        owed = sum(h.free + h.unheard + sum(nano for _, nano in h.calls) for h in self.holders)
        outstanding = await held(self.pool)
        assert outstanding == owed, "the ledger counts what the processes have"
        assert self.spent + outstanding <= NANO + self.beyond


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_a_budget_is_not_promised_twice(pool: Pool, seed: int) -> None:
    chance = random.Random(seed)
    world = World(pool, chance)
    steps = [world.borrow, world.reserve, world.settle, world.replay, world.die]
    steps += [world.fall_silent, world.ask_late, world.begin_an_era, world.settle_again]
    for _ in range(150):
        await chance.choices(steps, [6, 12, 5, 1, 0.5, 3, 1, 1, 2])[0](chance.choice(world.holders))
        await world.check()
    assert world.spent > 0


async def test_a_lost_call_frees_nothing_and_its_own_event_all(pool: Pool) -> None:
    grant = await ask(pool, "api", need=NANO // 2, want=NANO // 2)
    real = call("a", Decimal("0.1"), leases=(grant.lease,), reserved=NANO // 2)
    await record(pool, [call("a", Decimal("0.4"), status=Status.LOST, started=real.started)])
    assert (await spent(pool), await held(pool)) == (Decimal("0.4"), NANO // 2)
    for _ in range(2):
        await record(pool, [real])
        assert (await spent(pool), await held(pool)) == (Decimal("0.1"), 0)


async def test_a_call_counts_in_the_window_that_it_was_reserved_from(pool: Pool) -> None:
    now = time.time()
    first = {"period": "1h", "began": now - 3600, "ends": now - 10}
    second = {"period": "1h", "began": now - 10, "ends": now + 3590}
    grant = await ask(pool, "api", need=1000, want=1000, **first)
    await ask(pool, "api", need=1000, want=1000, **second)
    await record(pool, [call("a", Decimal("0.25"), leases=(grant.lease,), reserved=1000), call("b", Decimal("0.125"))])
    rows = await pool.fetch("SELECT spent FROM balances WHERE period = '1h' ORDER BY began")
    assert [row["spent"] for row in rows] == [Decimal("0.25"), Decimal("0.125")]


async def done_or_waiting(pool: Pool, task: asyncio.Task[BudgetGrant]) -> bool:
    """Whether a statement has ended, or waits for a lock."""
    waiting: bool = await pool.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
    return task.done() or waiting


@asynccontextmanager
async def uncommitted(pool: Pool, events: list[UsageEvent]) -> AsyncIterator[None]:
    """The events are recorded in a transaction that commits in the end."""

    class One:
        def __init__(self, connection: Any) -> None:
            self.connection = connection

        @asynccontextmanager
        async def acquire(self) -> AsyncIterator[Any]:
            yield self.connection

    async with pool.acquire() as connection, connection.transaction():
        one: Any = One(connection)
        await record(one, events)
        yield


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"period": "30d", "began": 0.0, "ends": 4e9},
        {"kind": "key_model", "scope": "gpt-4o", "period": "30d", "began": 0.0, "ends": 4e9},
    ],
)
async def test_what_is_recorded_while_a_budget_gets_its_balance_counts(
    pool: Pool, fresh: bool, given: dict[str, Any]
) -> None:
    if not fresh:
        await record(pool, [call("before", Decimal("0.125"))])
    async with asyncio.timeout(20):
        async with uncommitted(pool, [call("a", Decimal("0.25"))]):
            asked = asyncio.create_task(ask(pool, "api", need=1, want=1, **given))
            await until(lambda: done_or_waiting(pool, asked))
        await asked
    assert await spent(pool) == Decimal("0.25") + (0 if fresh else Decimal("0.125"))


async def test_many_at_once_in_any_order_do_not_wait_for_each_other_for_ever(pool: Pool) -> None:
    chance = random.Random(7)
    names = [f"k{n}" for n in range(12)]

    async def lend(holder: str) -> None:
        for _ in range(25):
            some = chance.sample(names, 6)
            budgets = [wish(n=n, id=name, kind=chance.choice(["key", "team"]), need=1, want=9)
                       for n, name in enumerate(some)]  # fmt: skip
            rates = [room(n=n, id=name, need=1, want=2, ages=(0.0,), amounts=(1,)) for n, name in enumerate(some)]
            await lease(pool, holder, budgets, rates)

    async def account(number: int) -> None:
        for at in range(25):
            batch = []
            for name in chance.sample(names, 6):
                leases = [
                    row["lease"] for row in await pool.fetch("SELECT lease FROM leases ORDER BY random() LIMIT 2")
                ]
                caller = Caller(key_hash=name, team=chance.choice(names), tags=tuple(chance.sample(names, 2)))
                batch.append(
                    event(
                        f"{number} {at} {name}", caller=caller, cost=Decimal("0.01"), leases=tuple(leases), reserved=1
                    )
                )
            await record(pool, batch)

    async with asyncio.timeout(60):
        await asyncio.gather(*(lend(f"api{n}") for n in range(4)), *(account(n) for n in range(3)))


class User:
    """A process that uses a rate as it may, until it is gone with what it has in hand. Times are those of the loop."""

    LIFE = 1.0

    def __init__(self, pool: Pool, name: str, chance: random.Random, times: list[float]) -> None:
        self.pool, self.name, self.chance, self.times = pool, name, chance, times
        self.clock = asyncio.get_running_loop().time
        self.free, self.good = 0, 0.0
        self.uses: list[float] = []

    async def live(self, end: float) -> None:
        while self.clock() < end and self.chance.random() > 0.02:
            await self.step()

    async def step(self) -> None:
        now = self.clock()
        if now >= self.good:
            self.free = 0
        told, self.uses = self.uses, []
        need, want = (0, 0) if self.free else (1, self.chance.randrange(1, 20))
        ages, amounts = [now - at for at in told], [1] * len(told)
        given = {"window": WINDOW, "most": FULL, "need": need, "want": want, "unused": self.free, "life": self.LIFE}
        grant = await ask_room(self.pool, self.name, ages=ages, amounts=amounts, **given)
        self.free, self.good = self.free + grant.granted, now + 0.9 * self.LIFE
        for _ in range(self.chance.randrange(self.free + 1)):
            if self.clock() < self.good:
                self.free -= 1
                self.uses.append(self.clock())
        self.times += self.uses
        await asyncio.sleep(self.chance.uniform(0, 0.05))


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_window_of_a_rate_holds_more_than_its_limit(pool: Pool, seed: int) -> None:
    chance, times = random.Random(seed), list[float]()
    clock = asyncio.get_running_loop().time
    end = clock() + 3 * WINDOW

    async def one_after_another(place: int) -> None:
        number = 0
        while clock() < end:
            number += 1
            await User(pool, f"api {place} {number}", chance, times).live(end)

    await asyncio.gather(*(one_after_another(place) for place in range(3)))
    times.sort()
    worst = max(sum(first <= at < first + WINDOW for at in times) for first in times)
    assert FULL / 2 < worst <= FULL


async def test_a_rate_says_when_to_come_again(pool: Pool) -> None:
    assert (await ask_room(pool, "a", need=100, want=100)).granted == 100
    await ask_room(pool, "a", ages=(20.0, 50.0), amounts=(60, 40))
    full = await ask_room(pool, "b", need=30, want=30)
    assert full.granted == 0
    assert 8 < (full.retry or 0) <= 12
    assert 38 < ((await ask_room(pool, "b", need=41, want=41)).retry or 0) <= 42
