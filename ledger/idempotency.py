"""Idempotent calls: one row per `Idempotency-Key` says who runs the call, and later what it was answered.

The row is claimed for a lease that its owner renews while the call runs. An owner that dies leaves a lease that ends,
and whoever asks the same next takes the call over. All times are Postgres's own, so processes need no common clock.
All functions raise what asyncpg raises; `ledger.pool.AWAY` of it means "later".
"""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from ledger.pool import Pool
from ledger.sql import query


class Claim(NamedTuple):
    """A call and who wants to run it. `key` and `body` are digests; `owner` is never used for a second claim."""

    key: str
    body: str
    owner: str


class Terms(NamedTuple):
    """How long a claim holds unless it is renewed, and how long a call is remembered after that. In seconds."""

    lease: float
    keep: float


class State(StrEnum):
    """What a key stands for."""

    MINE = "mine"  # claimed just now: run it
    RUNNING = "running"
    DONE = "done"
    OTHER = "other"  # a call with another body
    FREE = "free"  # nothing, or a call that may be claimed


class Found(NamedTuple):
    """The state of a key; `answer` is what `finish` was given, when it is DONE."""

    state: State
    answer: bytes = b""


async def claim(pool: Pool, wanted: Claim, terms: Terms) -> Found:
    """Claim the call if it is nobody's: of any number who try, exactly one finds MINE. Never FREE."""
    lease, keep = timedelta(seconds=terms.lease), timedelta(seconds=terms.keep)
    while True:
        if await pool.fetchval(query("idempotency_claim"), *wanted, lease, keep):
            return Found(State.MINE)
        found = await look(pool, wanted.key, wanted.body)
        if found.state is not State.FREE:  # else it was released, or its lease ended, between the two
            return found


async def look(pool: Pool, key: str, body: str) -> Found:
    """What the key stands for, without claiming it. Never MINE."""
    row = await pool.fetchrow(query("idempotency_look"), key, body)
    if row is None:
        return Found(State.FREE)
    state = State(row["state"])
    return Found(state, row["answer"]) if state is State.DONE else Found(state)


async def renew(pool: Pool, claims: Sequence[Claim], terms: Terms) -> None:
    """Let those of these claims that nobody has taken over hold from now on."""
    keys, owners = [claim.key for claim in claims], [claim.owner for claim in claims]
    lease, keep = timedelta(seconds=terms.lease), timedelta(seconds=terms.keep)
    await pool.execute(query("idempotency_renew"), keys, owners, lease, keep)


async def finish(pool: Pool, claimed: Claim, answer: bytes, keep: float) -> bool:
    """Keep the answer for `keep` seconds. False: somebody has taken the call over, nothing was stored."""
    statement = query("idempotency_finish")
    return bool(await pool.fetchval(statement, claimed.key, claimed.owner, answer, timedelta(seconds=keep)))


async def release(pool: Pool, claimed: Claim) -> None:
    """Forget the call, so that the next one with its key runs. Nothing happens when it is somebody else's by now."""
    await pool.execute(query("idempotency_release"), claimed.key, claimed.owner)


async def purge(pool: Pool) -> None:
    """Delete what has expired, a thousand rows at a time."""
    while await pool.execute(query("idempotency_purge"), _MOST_PURGED) == f"DELETE {_MOST_PURGED}":
        pass


_MOST_PURGED = 1000
