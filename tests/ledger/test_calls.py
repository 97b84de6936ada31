"""The daily sums of calls are those of the rows, whoever writes or deletes them."""

import asyncio
import random
from collections import defaultdict
from datetime import UTC
from decimal import Decimal

import pytest

from ledger import reports
from ledger.migrate import known, migrate
from ledger.pool import Pool, open_pool
from ledger.reports import Question, reading, sums
from ledger.sight import Sight
from ledger.spend import record
from tests.ledger.events import event, lost, random_event
from tests.ledger.test_reports import SPAN

NAMES = ("key_hash", "user_id", "team", "organization", "endpoint", "model_group", "model", "provider")


async def kept(pool: Pool) -> dict[tuple[object, ...], tuple[object, ...]]:
    """`daily_calls`."""
    found = {
        tuple(row)[:1] + tuple(row)[2:12]: tuple(row)[12:] for row in await pool.fetch("SELECT * FROM daily_calls")
    }
    assert len(found) == await pool.fetchval("SELECT count(*) FROM daily_calls")
    return found


async def recomputed(pool: Pool) -> dict[tuple[object, ...], tuple[object, ...]]:
    """The same, from the rows, in another language."""
    found: dict[tuple[object, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 8)
    for row in await pool.fetch("SELECT * FROM spend_logs"):
        day = row["started"].astimezone(UTC).date()
        place = (day, *(row[name] for name in NAMES), row["end_user"] != "", len(row["tags"]))
        tokens = (row["prompt"], row["completion"], row["cached"], row["cache_write"])
        status = row["status"]
        added = (row["cost"] or 0, *tokens, 1, status == "success", status in ("failure", "lost"))
        found[place] = [old + new for old, new in zip(found[place], added, strict=True)]
    return {place: tuple(used) for place, used in found.items()}


async def test_writers_at_the_same_time_and_lost_calls_that_were_none(pool: Pool) -> None:
    chance = random.Random(3)
    real = [random_event(chance, number) for number in range(120)]
    every = [*real, *(lost(one) for one in chance.sample(real, 60)), *chance.sample(real, 20)]
    chance.shuffle(every)
    await asyncio.gather(*(record(pool, every[number::4]) for number in range(4)))
    await asyncio.gather(*(record(pool, chance.sample(every, 50)) for _ in range(4)))
    assert await pool.fetchval("SELECT count(*) FROM spend_logs WHERE NOT lost") == 120
    assert await kept(pool) == await recomputed(pool)


async def test_rows_that_are_deleted_leave_nothing(pool: Pool) -> None:
    chance = random.Random(4)
    await record(pool, [random_event(chance, number) for number in range(100)])
    await pool.execute("DELETE FROM spend_logs WHERE model = 'llama' OR prompt < 500")
    assert await kept(pool) == await recomputed(pool)
    await pool.execute("DELETE FROM spend_logs")
    assert await kept(pool) == {}


async def test_names_that_are_too_long_for_an_index(pool: Pool) -> None:
    long = "😀" * 150
    await record(pool, [event("a", group=long, model=long, provider=long), event("b", group=long, model=long)])
    assert await kept(pool) == await recomputed(pool)


async def test_a_ledger_from_before_has_them_too(database_url: str) -> None:
    await migrate(database_url, known()[:3])
    pool = await open_pool(database_url)
    columns = (
        "attempt, started, ended, request, status, http_status, failure, endpoint, stream, model_group, model, provider"
    )
    payers = "deployment, worker, key_hash, key_alias, user_id, team, organization, end_user, tags"
    counts = "prompt, completion, cached, cache_write, reasoning, audio_in, audio_out, estimated, lost, cost, metadata"
    await pool.execute(f"""
        INSERT INTO spend_logs ({columns}, {payers}, {counts})
        SELECT
            'a' || n, timestamptz '2026-09-01Z' + n * interval '9 hours', now(), 'r', 'success', 200, '', 'chat', false,
            'g', 'm', 'p', 'd', 'w', 'k' || n % 2, '', 'u', 't', '', CASE n % 3 WHEN 0 THEN 'c' ELSE '' END, '{{x,y}}',
            n, 1, 0, 0, 0, 0, 0, false, false, NULLIF(n, 4), '{{}}'
        FROM generate_series(1, 12) AS n
    """)
    await pool.close()
    await migrate(database_url)
    pool = await open_pool(database_url)
    assert len(await kept(pool)) > 5
    assert await kept(pool) == await recomputed(pool)
    await pool.close()


@pytest.mark.parametrize(
    "question",
    [
        Question(("day", "endpoint"), *SPAN),
        Question(("key", "user", "team", "model"), *SPAN),
        Question(("team", "user"), *SPAN, team=["red"], group="gpt-4o"),
        Question(("day",), *SPAN, key=["key1", "key2"], user=["ann"], model_or_group="llama"),
        Question(("organization", "provider"), *SPAN, Sight(users=("ann",), teams=("blue",))),
    ],
)
async def test_a_report_is_the_same_from_the_rows(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, question: Question
) -> None:
    chance = random.Random(5)
    await record(pool, [random_event(chance, number) for number in range(300)])
    async with reading(pool) as on:
        by_calls = await sums(on, question)
        monkeypatch.setattr("ledger.reports._of_calls", reports._of_rows)
        assert by_calls == await sums(on, question)
    assert by_calls
