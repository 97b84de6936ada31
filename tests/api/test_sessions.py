"""Calls that say which session they belong to are found by it, whatever a client calls its session."""

import random
from typing import Any

import pytest

from ledger.pool import Pool
from ledger.spend import record
from tests.ledger.events import event
from tests.management.spending import counter
from tests.support.inside import Inside, inside

ASK = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
CHANCE = random.Random(1)
LONG = "".join(chr(CHANCE.randrange(0x4E00, 0x9FFF)) for _ in range(1000))  # more than an index takes


async def call(system: Inside, headers: dict[str, str] | None = None, **fields: Any) -> None:
    """A call of the demo model."""
    answer = await system.http.post("/v1/chat/completions", json=ASK | fields, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("session", ["s-1", LONG], ids=["short", "long"])
async def test_a_sessions_calls_are_found(pool: Pool, session: str) -> None:
    async with inside() as system:
        if session.isascii():
            await call(system, headers={"x-litellm-session-id": session})
        await call(system, litellm_session_id=session)
        await call(system, metadata={"session_id": session, "a": "b"})
        await call(system, litellm_session_id="another")
        await call(system)
        events = await system.accounted(5 if session.isascii() else 4)
        assert await record(pool, events) == len(events)
    async with counter(pool) as office:
        found = await office.get("/spend/logs/session/ui", session_id=session)
        assert found["total"] == len(events) - 2
        assert {row["session_id"] for row in found["data"]} == {found["data"][0]["session_id"]}
        assert len(found["data"][0]["session_id"]) <= 256
        rows = await office.get("/spend/logs", summarize="false")
        assert sum(row["session_id"] is None for row in rows) == 1


async def test_rows_from_before_may_have_longer_names(pool: Pool) -> None:
    await record(pool, [event()])
    await pool.execute("UPDATE spend_logs SET metadata = jsonb_build_object('session_id', $1::text)", LONG)
