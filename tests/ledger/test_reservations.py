"""A reservation is given back exactly once, however many attempts it was for, in whatever order they are recorded."""

import asyncio
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from msgspec import structs

from ledger.leases import NANO
from ledger.pool import Pool
from ledger.spend import record
from schemas.attempt import End, usage_event
from schemas.envelope import Endpoint, Request, Started
from schemas.usage import Caller, Status, Usage, UsageEvent
from tests.chaos.ground import until
from tests.ledger.test_leases import ask, call, held, spent, uncommitted

NANOS = NANO // 10  # of each reservation


async def reserved(pool: Pool, *attempts: str, reservations: tuple[int, ...] = (1, 1)) -> list[UsageEvent]:
    """Attempts at one request, and of which of its reservations each is. Three are leased in all."""
    grant = await ask(pool, "api", need=3 * NANOS, want=3 * NANOS)
    given: dict[str, Any] = {"request": "r", "leases": (grant.lease,), "reserved": NANOS}
    return [
        call(attempt, Decimal("0.01"), reservation=number, **given)
        for attempt, number in zip(attempts, reservations, strict=True)
    ]


@pytest.mark.parametrize("order", list(permutations([0, 1])))
async def test_two_attempts_of_one_reservation(pool: Pool, order: tuple[int, ...]) -> None:
    events = await reserved(pool, "a", "b")
    for place in order:
        for _ in range(2):
            await record(pool, [events[place]])
            assert await held(pool) == 2 * NANOS
    assert await spent(pool) == Decimal("0.02")


@pytest.mark.parametrize("first", [0, 1])
async def test_a_second_one_that_comes_while_the_first_is_recorded(pool: Pool, first: int) -> None:
    events = await reserved(pool, "a", "b")
    async with asyncio.timeout(20):
        async with uncommitted(pool, [events[first]]):
            second = asyncio.create_task(record(pool, [events[1 - first]]))
            await until(lambda: waits(pool))
        await second
    assert (await held(pool), await spent(pool)) == (2 * NANOS, Decimal("0.02"))


async def waits(pool: Pool) -> bool:
    """Whether a statement waits for a lock."""
    found: bool = await pool.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
    return found


async def test_all_in_one_batch(pool: Pool) -> None:
    events = await reserved(pool, "c", "a", "b", reservations=(1, 1, 1))
    await record(pool, events)
    assert (await held(pool), await spent(pool)) == (2 * NANOS, Decimal("0.03"))


async def test_each_reservation_of_a_request(pool: Pool) -> None:
    events = await reserved(pool, "c", "a", "b", reservations=(1, 2, 3))
    await record(pool, events[:1])
    assert await held(pool) == 2 * NANOS
    await record(pool, events[1:])
    assert await held(pool) == 0


async def test_of_different_requests(pool: Pool) -> None:
    one, other = await reserved(pool, "a", "b")
    await record(pool, [one])
    await record(pool, [structs.replace(other, request="r2")])
    assert await held(pool) == NANOS


async def test_what_gave_nothing_back_does_not_count(pool: Pool) -> None:
    lost, requeued, last = await reserved(pool, "a", "b", "c", reservations=(1, 1, 1))
    guess = structs.replace(lost, leases=(), status=Status.LOST)
    await record(pool, [guess, structs.replace(requeued, leases=())])
    assert await held(pool) == 3 * NANOS
    await record(pool, [last])
    assert await held(pool) == 2 * NANOS
    await record(pool, [lost])  # its own event comes after all, and takes the guess's place
    assert (await held(pool), await spent(pool)) == (2 * NANOS, Decimal("0.03"))


async def test_what_a_worker_was_billed_before_it_gave_the_call_back_counts(pool: Pool) -> None:
    """In a budget of a pattern too, which only the lease leads to."""
    grant = await ask(pool, "api", kind="key_model", scope="gpt-*", need=3 * NANOS, want=3 * NANOS)
    assert grant.lease is not None
    request = Request(
        id="r", endpoint=Endpoint.CHAT, group="gpt-4", model="gpt-4", received=0, deadline=9e9, reply_to="here",
        caller=Caller(key_hash="k"), leases=(grant.lease,), reserved=NANOS, reservation=1,
    )  # fmt: skip
    for attempt, again, left in (("a", True, 3), ("b", True, 3), ("c", False, 2)):
        begun = Started(attempt=attempt, worker="w", deployment="d", provider="p", model="m", at=1)
        end = End(2, Status.FAILURE, Usage(), Decimal("0.01"), again=again)
        await record(pool, [usage_event(request, begun, end)])
        assert await held(pool) == left * NANOS
    assert await spent(pool) == Decimal("0.03")
