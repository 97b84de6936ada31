"""The spend routes over a ledger in which something was spent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from fastapi import APIRouter

from api.management import spend
from api.management.keys.desk import KeyDesk
from ledger import tenants
from ledger.pepper import Pepper
from ledger.pool import Pool
from ledger.spend import record
from schemas.access import Access
from schemas.usage import Caller, Status, Usage, UsageEvent
from tests.ledger.events import START, event
from tests.support.office import Bureau, bureau

PEPPER = Pepper(b"p" * 32)
SECRET = "sk-ann"
ANN = PEPPER.hash(SECRET.encode())
DAY = 86_400_000_000
NOW = datetime(2026, 9, 23, 12, tzinfo=UTC)
FIRST, SECOND = "2026-09-21", "2026-09-22"
SPAN = {"start_date": FIRST, "end_date": SECOND}


@asynccontextmanager
async def counter(pool: Pool, *more: APIRouter, **state: Any) -> AsyncIterator[Bureau]:
    """The spend routes, admin at first, on September 23rd of 2026. `state` as in `bureau`."""

    async def pepper() -> Pepper:
        return PEPPER

    async with bureau(pool, *spend.ROUTERS, *more, now=lambda: NOW, keys=KeyDesk(pepper), **state) as found:
        yield found


def call(attempt: str, cost: str | None, caller: Caller, *, day: int = 0, **fields: Any) -> UsageEvent:
    """A call on the 21st, or `day` days later: 100 tokens in, 20 out."""
    started = START + day * DAY
    given = {"usage": Usage(prompt=100, completion=20, cached=10), **fields}
    price = None if cost is None else Decimal(cost)
    return event(attempt, started=started, ended=started + 1_500_000, caller=caller, cost=price, **given)


ANNS = Caller(
    key_hash=ANN, key_alias="laptop", user="ann", team="red", organization="acme", end_user="c1", tags=("x", "y")
)
BOBS = Caller(key_hash="bobs", key_alias="phone", user="bob", team="red", organization="acme", tags=("x",))
CARLS = Caller(key_hash="carls", user="carl", team="blue", end_user="c2")
BOT = Caller(key_hash="bot")
CALLS = (
    call("a1", "0.1", ANNS),
    call("a2", "0.2", ANNS, day=1, group="claude", model="claude-sonnet-4", provider="anthropic"),
    call("b1", "0.4", BOBS, status=Status.FAILURE, http_status=429, failure="rate_limit_exceeded"),
    call("b2", "0.8", BOBS, day=1, endpoint="embeddings"),
    call("c1", "1.6", CARLS, day=1),
    call("d1", "3.2", BOT),
    call("d2", None, BOT, day=1, status=Status.CANCELLED),
)


async def spent(pool: Pool) -> None:
    """Four keys have spent 6.3 dollars in seven calls on two days; ann's and bob's are of the team red."""
    await record(pool, CALLS)
    async with pool.acquire() as on:
        for user in ("ann", "bob"):
            await tenants.insert(on, tenants.USERS, {"user_id": user, "user_email": f"{user}@acme"})
        await tenants.insert(on, tenants.TEAMS, {"team_id": "red", "team_alias": "Reds", "organization_id": "acme"})
        await tenants.insert(on, tenants.ORGANIZATIONS, {"organization_id": "acme", "organization_alias": "Acme"})
        keys = ((ANN, "laptop", "ann", "red"), ("bobs", "phone", "bob", "red"), ("bot", "bot", None, None))
        for id, alias, user_id, team in keys:
            row = {"key_id": id, "key_name": "sk-...", "key_alias": alias, "user_id": user_id, "team_id": team}
            await tenants.insert(on, tenants.KEYS, row)
        await on.execute("INSERT INTO key_hashes (hash, key_id) VALUES ($1, $2), ($3, $2)", ANN, ANN, _ROTATED)


ROTATED = "sk-ann-2"
_ROTATED = PEPPER.hash(ROTATED.encode())


def somebody(caller: Caller, **fields: Any) -> Access:
    """Who has this key."""
    return Access(caller=caller, **fields)
