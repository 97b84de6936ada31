import asyncio
import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from ledger.pool import Pool
from ledger.rows import distinct, rows, unstorable
from ledger.spend import record, summary
from ledger.sql import query
from schemas.usage import Caller, Status, Usage, UsageEvent
from tests.ledger.events import START, event, lost, random_event
from tests.ledger.recorded import recorded

DAY = date(2026, 9, 21)
LITELLM = {
    "request_id", "call_type", "api_key", "spend", "total_tokens", "prompt_tokens", "completion_tokens", "startTime",
    "endTime", "request_duration_ms", "completionStartTime", "model", "model_id", "model_group", "custom_llm_provider",
    "api_base", "user", "metadata", "cache_hit", "cache_key", "request_tags", "team_id", "organization_id", "end_user",
    "requester_ip_address", "session_id", "status", "litellm_call_id",
}  # fmt: skip


async def sums(pool: Pool) -> dict[tuple[object, ...], tuple[object, ...]]:
    """`daily_spend`, less the lines that went back to nothing."""
    found = await pool.fetch("SELECT * FROM daily_spend")
    return {tuple(row)[:6]: tuple(row)[6:] for row in found if any(tuple(row)[6:])}


async def recomputed(pool: Pool) -> dict[tuple[object, ...], tuple[object, ...]]:
    """The same, from the rows, in another language."""
    found: dict[tuple[object, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 9)
    for row in await pool.fetch("SELECT * FROM spend_logs"):
        dimensions = [("all", ""), *(("tag", tag) for tag in set(row["tags"]))]
        columns = {"key": "key_hash", "team": "team", "user": "user_id", "organization": "organization"}
        columns["customer"] = "end_user"
        dimensions += [(name, row[column]) for name, column in columns.items() if row[column]]
        status = row["status"]
        added = (
            row["cost"] or 0, row["prompt"], row["completion"], row["cached"], row["cache_write"],
            1, status == "success", status in ("failure", "lost"), row["cost"] is None,
        )  # fmt: skip
        for dimension, value in dimensions:
            day = row["started"].astimezone(UTC).date()
            key = (day, dimension, value, row["model_group"], row["model"], row["provider"])
            found[key] = [old + new for old, new in zip(found[key], added, strict=True)]
    return {key: tuple(value) for key, value in found.items() if any(value)}


async def test_a_row_keeps_every_field(pool: Pool) -> None:
    usage = Usage(1, 2, 3, 4, 5, 6, 7, estimated=True)
    caller = Caller("hash", "alias", "user", "team", "org", "end", ("x", "y"))
    more = {"leases": (1,), "reserved": 5, "reservation": 2}
    given = event("a", stream=True, usage=usage, caller=caller, metadata={"k": "v"}, cost=Decimal("1E-12"), **more)
    assert await record(pool, [given]) == 1
    row = dict(await pool.fetchrow("SELECT * FROM spend_logs") or {})
    del row["stored"]
    assert row == {
        "attempt": "a", "request": "req-a", "status": "success", "http_status": 200, "failure": "",
        "started": at(START), "ended": at(START + 1_500_000), "first_byte": at(START + 250_000),
        "endpoint": "chat/completions", "stream": True, "model_group": "gpt-4o", "model": "gpt-4o-2024-11-20",
        "provider": "openai", "deployment": "d1", "worker": "w1", "key_hash": "hash", "key_alias": "alias",
        "user_id": "user", "team": "team", "organization": "org", "end_user": "end", "tags": ["x", "y"],
        "prompt": 1, "completion": 2, "cached": 3, "cache_write": 4, "reasoning": 5, "audio_in": 6, "audio_out": 7,
        "estimated": True, "lost": False, "cost": Decimal("0.000000000001"), "metadata": '{"k": "v"}', "reservation": 2,
    }  # fmt: skip


def at(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


async def test_twice_counts_once(pool: Pool) -> None:
    assert await record(pool, [event(), event()]) == 1
    assert await record(pool, [event()]) == 0
    counted = (Decimal("0.000123"), 100, 20, 10, 0, 1, 1, 0, 0)
    assert await summary(pool, by="tag") == [("x", *counted), ("y", *counted)]


async def test_an_unknown_price_stays_unknown(pool: Pool) -> None:
    await record(pool, [event("a", cost=None), event("b", cost=Decimal(0))])
    assert [row["spend"] for row in await recorded(pool)] == [None, 0.0]
    (line,) = await summary(pool, by="model")
    assert (line.spend, line.requests, line.unpriced) == (0, 2, 1)


@pytest.mark.parametrize("together", [True, False])
async def test_the_real_event_replaces_the_lost_one(pool: Pool, together: bool) -> None:
    real = event()
    batches = [[lost(real), real]] if together else [[lost(real)], [real], [lost(real)], [real, lost(real)]]
    assert sum([await record(pool, batch) for batch in batches]) == (1 if together else 2)
    (row,) = await recorded(pool)
    assert (row["outcome"], row["lost"], row["estimated"], row["cost"]) == ("success", False, False, "0.000123")
    assert await sums(pool) == await recomputed(pool)


async def test_a_real_event_that_waited_for_the_lost_one_still_replaces_it(pool: Pool) -> None:
    """The second look: the lost row was not committed yet when the real event's statement began."""
    real = event()
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.fetchval(query("record"), rows([lost(real)]), False)
        recording = asyncio.create_task(record(pool, [real]))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while await pool.fetchval(waiting) == 0:
            pass
        await transaction.commit()
    assert await recording == 1
    (row,) = await recorded(pool)
    assert row["outcome"] == "success"


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_and_any_company_gives_the_same_sums(pool: Pool, seed: int) -> None:
    chance = random.Random(seed)
    real = [random_event(chance, number) for number in range(120)]
    only_lost = [lost(random_event(chance, number)) for number in range(120, 130)]
    every = [*real, *chance.sample(real, 40), *(lost(one) for one in chance.sample(real, 60)), *only_lost]
    chance.shuffle(every)
    recorders = [every[number::5] for number in range(5)]
    recorders += [chance.sample(every, 80), chance.sample(every, 80)]

    async def run(events: list[UsageEvent], size: int) -> int:
        return sum([await record(pool, events[cut : cut + size]) for cut in range(0, len(events), size)])

    stored = await asyncio.gather(*(run(events, chance.choice([1, 7, 40])) for events in recorders))
    assert await sums(pool) == await recomputed(pool)
    found = {row["attempt"]: row for row in await pool.fetch("SELECT * FROM spend_logs")}
    assert found.keys() == {one.attempt for one in every}
    assert {attempt for attempt, row in found.items() if row["lost"]} == {one.attempt for one in only_lost}
    assert {one.attempt: one.cost for one in real} == {one.attempt: found[one.attempt]["cost"] for one in real}
    assert len(found) <= sum(stored) <= len(found) + 60  # each replaced estimate was stored once, too


async def test_texts_that_postgres_cannot_hold_are_made_to_fit(pool: Pool) -> None:
    long = "ä€😀" * 2000
    caller = Caller(key_hash=long, user="a\0b", team=long, organization=long, end_user=long, tags=(long, "t\0"))
    odd = event(request=long, group=long, model=long, provider=long, caller=caller, metadata={"\0": "\\u0000 \0"})
    assert unstorable(odd) is None
    assert await record(pool, [odd, event("other")]) == 2
    row = next(row for row in await recorded(pool) if row["attempt"] == "a1")
    assert row["user"] == "a\ufffdb"
    assert 150 < len(row["end_user"]) <= 200
    assert row["metadata"]["\ufffd"] == "\\u0000 \ufffd"
    assert 100 < len(row["model"]) <= 150
    assert await sums(pool) == await recomputed(pool)


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ("attempt", {"attempt": ""}),
        ("attempt", {"attempt": "a" * 200}),
        ("time", {"started": 0}),
        ("time", {"ended": 10**18}),
        ("http_status", {"http_status": -1}),
        ("usage", {"usage": Usage(prompt=-1)}),
        ("usage", {"usage": Usage(audio_out=2**60)}),
        ("cost", {"cost": Decimal("NaN")}),
        ("cost", {"cost": Decimal("Infinity")}),
        ("cost", {"cost": Decimal(-1)}),
    ],
)
def test_what_can_never_be_stored_is_told_beforehand(wrong: str, fields: dict[str, object]) -> None:
    assert unstorable(event(**fields)) == wrong  # type: ignore[arg-type]


def test_locks_are_taken_in_one_order() -> None:
    given = [event("c"), event("a", started=START + 1), event("a"), event("b")]
    assert [(one.attempt, one.started - START) for one in distinct(given)] == [("a", 0), ("a", 1), ("b", 0), ("c", 0)]


async def test_summaries(pool: Pool) -> None:
    day = 86_400_000_000
    await record(pool, [
        event("a", cost=Decimal("0.1"), caller=Caller(key_hash="k1", tags=("x", "y"))),
        event("b", cost=Decimal("0.2"), caller=Caller(key_hash="k2", tags=("x",)), provider="anthropic"),
        event("c", cost=Decimal("0.4"), started=START + day, status=Status.FAILURE, caller=Caller(key_hash="k1")),
    ])  # fmt: skip

    async def shown(by: str, **days: date) -> list[tuple[str, str]]:
        return [(line.value, str(line.spend)) for line in await summary(pool, by=by, **days)]  # type: ignore[arg-type]

    assert await shown("key") == [("k1", "0.5"), ("k2", "0.2")]
    assert await shown("tag") == [("x", "0.3"), ("y", "0.1")]
    assert await shown("day") == [("2026-09-21", "0.3"), ("2026-09-22", "0.4")]
    assert await shown("provider") == [("openai", "0.5"), ("anthropic", "0.2")]
    assert await shown("group", until=DAY) == [("gpt-4o", "0.3")]
    assert await shown("key", since=DAY + timedelta(1)) == [("k1", "0.4")]
    assert await shown("team") == []
    (line,) = [line for line in await summary(pool, by="key") if line.value == "k1"]
    assert (line.requests, line.successes, line.failures) == (2, 1, 1)
