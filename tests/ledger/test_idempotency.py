"""Of any number who claim a call exactly one gets it; nobody is locked out by the dead; nothing outlives its time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ledger.idempotency import Claim, Found, State, Terms, claim, finish, look, purge, release, renew
from ledger.pool import Pool, open_pool

TERMS = Terms(lease=30, keep=600)
A, B = Claim("k", "body", "a 1"), Claim("k", "body", "b 1")


@pytest.fixture
async def other(pool: Pool, database_url: str) -> AsyncIterator[Pool]:
    """Another process's pool."""
    other = await open_pool(database_url)
    yield other
    await other.close()


async def age(pool: Pool, *columns: str) -> None:
    """Let these moments lie in the past."""
    for column in columns:
        await pool.execute(f"UPDATE idempotent_calls SET {column} = now() - interval '1 second'")


async def test_of_many_claims_exactly_one_holds(pool: Pool, other: Pool) -> None:
    for number in range(10):
        claims = [Claim(f"k{number}", "body", f"{owner}") for owner in range(12)]
        found = await asyncio.gather(*(claim((pool, other)[n % 2], one, TERMS) for n, one in enumerate(claims)))
        assert sorted(one.state for one in found) == [State.MINE, *[State.RUNNING] * 11]


async def test_an_answer_is_found_by_everybody_until_it_expires(pool: Pool, other: Pool) -> None:
    assert await look(pool, "k", "body") == Found(State.FREE)
    assert await claim(pool, A, TERMS) == Found(State.MINE)
    assert await look(other, "k", "body") == Found(State.RUNNING)
    assert await finish(pool, A, b"\0sealed", 600)
    assert await claim(other, B, TERMS) == await look(other, "k", "body") == Found(State.DONE, b"\0sealed")
    await age(pool, "leased_until")
    assert await claim(other, B, TERMS) == Found(State.DONE, b"\0sealed")
    await age(pool, "leased_until", "expires")
    assert await look(other, "k", "body") == await look(other, "k", "another") == Found(State.FREE)
    assert await claim(other, B._replace(body="another"), TERMS) == Found(State.MINE)
    assert await look(pool, "k", "another") == Found(State.RUNNING)


async def test_another_body_is_told_apart_running_or_done(pool: Pool) -> None:
    odd = B._replace(body="another")
    await claim(pool, A, TERMS)
    assert await claim(pool, odd, TERMS) == await look(pool, "k", "another") == Found(State.OTHER)
    await finish(pool, A, b"x", 600)
    assert await claim(pool, odd, TERMS) == await look(pool, "k", "another") == Found(State.OTHER)


async def test_a_dead_owners_call_goes_to_one_who_asks_the_same(pool: Pool, other: Pool) -> None:
    await claim(pool, A, TERMS)
    await age(pool, "leased_until")
    assert await claim(other, B._replace(body="another"), TERMS) == Found(State.OTHER)
    claims = [B._replace(owner=f"b {n}") for n in range(8)]
    found = await asyncio.gather(*(claim((pool, other)[n % 2], one, TERMS) for n, one in enumerate(claims)))
    assert sorted(one.state for one in found) == [State.MINE, *[State.RUNNING] * 7]
    winner = claims[[one.state for one in found].index(State.MINE)]
    assert not await finish(pool, A, b"late", 600), "the dead one came back, and its answer is not the call's any more"
    await release(pool, A)
    assert await finish(other, winner, b"good", 600)
    assert await look(pool, "k", "body") == Found(State.DONE, b"good")


async def test_a_released_call_may_be_anything(pool: Pool) -> None:
    await claim(pool, A, TERMS)
    await release(pool, B)
    assert await look(pool, "k", "body") == Found(State.RUNNING), "not theirs to release"
    await release(pool, A)
    assert await claim(pool, B._replace(body="another"), TERMS) == Found(State.MINE)


async def test_an_answer_is_not_released(pool: Pool) -> None:
    await claim(pool, A, TERMS)
    await finish(pool, A, b"x", 600)
    await release(pool, A)
    assert await look(pool, "k", "body") == Found(State.DONE, b"x")
    assert not await finish(pool, A, b"twice", 600)


async def test_what_is_renewed_is_nobody_elses(pool: Pool) -> None:
    mine = [Claim(f"k{n}", "body", "a") for n in range(3)]
    for one in mine:
        await claim(pool, one, TERMS)
    await age(pool, "leased_until", "expires")
    await claim(pool, mine[2]._replace(owner="b"), Terms(lease=0, keep=0))
    await renew(pool, mine, TERMS)
    assert [(await look(pool, one.key, "body")).state for one in mine] == [State.RUNNING, State.RUNNING, State.FREE]


async def test_only_what_has_expired_is_purged(pool: Pool) -> None:
    for n in range(2500):
        await pool.execute(
            "INSERT INTO idempotent_calls VALUES ($1, 'b', 'o', now(), 'done', 'x', now() - interval '1 s')", f"old{n}"
        )
    await claim(pool, A, TERMS)
    await finish(pool, A, b"x", 600)
    await claim(pool, Claim("long", "body", "a"), Terms(lease=30, keep=0))  # it runs longer than answers are kept
    await purge(pool)
    assert {row["key"] for row in await pool.fetch("SELECT key FROM idempotent_calls")} == {"k", "long"}


async def test_purging_does_not_wait_for_others(pool: Pool) -> None:
    await claim(pool, A, Terms(lease=0, keep=0))
    await claim(pool, Claim("free", "body", "a"), Terms(lease=0, keep=0))
    async with pool.acquire() as busy, busy.transaction():
        await busy.execute("SELECT FROM idempotent_calls WHERE key = 'k' FOR UPDATE")
        await purge(pool)
        assert await pool.fetchval("SELECT array_agg(key) FROM idempotent_calls") == ["k"]
