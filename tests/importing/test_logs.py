"""Single calls of LiteLLM's spend logs."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from ledger.pepper import pepper
from ledger.pool import Pool
from ledger.spend import summary
from tests.importing.theirs import NOW, Json, Theirs, later, token

KEY = "sk-their-key-0000000001"


async def add(theirs: Theirs, request_id: str, **given: Any) -> None:
    values = {"call_type": "acompletion", "api_key": token(KEY), "spend": 0.25, "model": "gpt-4o", "user": "ann"}
    values |= {"startTime": later(hours=-1), "endTime": later(hours=-0.5), "prompt_tokens": 10, "completion_tokens": 5}
    values |= {"messages": {"secret": "prompt"}, "custom_llm_provider": "openai", "model_group": "best"}
    await theirs.add("SpendLogs", request_id=request_id, **values | given)


async def test_a_call_is_a_row_and_moves_no_sum(theirs: Theirs, pool: Pool) -> None:
    await theirs.key(KEY)
    usage = {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}
    said = {"user_api_key_alias": "a", "usage_object": usage}
    await add(
        theirs,
        "good",
        metadata=said,
        request_tags=Json(["t", "t"]),
        session_id="s",
        completionStartTime=later(hours=-0.9),
    )
    failed = {"status": "failure", "error_information": {"error_code": "429"}}
    await add(theirs, "bad", call_type="aembedding", metadata=failed, startTime=later(hours=-0.8))
    await add(theirs, "older", startTime=later(days=-9))
    report = await theirs.carry(logs_since=NOW - timedelta(days=1))
    assert (report.tallies["spend_log"].new, report.left) == (2, [])
    good, bad = await pool.fetch("SELECT * FROM spend_logs ORDER BY started")
    key = (await pepper(pool, None)).hash(KEY.encode())
    wanted = {"request": "good", "key_hash": key, "key_alias": "a", "cost": Decimal("0.25"), "user_id": "ann"}
    wanted |= {"prompt": 10, "completion": 5, "cached": 4, "reasoning": 2, "tags": ["t"], "status": "success"}
    wanted |= {"model": "gpt-4o", "model_group": "best", "provider": "openai", "endpoint": "chat/completions"}
    assert {name: good[name] for name in wanted} == wanted
    assert (good["metadata"], good["first_byte"] > good["started"]) == ('{"session_id": "s"}', True)
    assert (bad["status"], bad["http_status"], bad["endpoint"]) == ("failure", 429, "embeddings")
    assert "prompt" not in str(await pool.fetch("SELECT metadata FROM spend_logs"))
    assert await summary(pool, by="day") == []
    assert await pool.fetchval("SELECT count(*) FROM totals") == 0


async def test_calls_come_once(theirs: Theirs, pool: Pool) -> None:
    await add(theirs, "one")
    for _ in range(2):
        report = await theirs.carry(logs_since=NOW - timedelta(days=1))
    assert (report.tallies["spend_log"].new, report.tallies["spend_log"].unchanged) == (0, 1)
    assert await pool.fetchval("SELECT sum(cost) FROM spend_logs") == Decimal("0.25")


async def test_without_a_word_they_stay(theirs: Theirs, pool: Pool) -> None:
    await add(theirs, "one")
    assert (await theirs.carry()).left == ["LiteLLM_SpendLogs"]
    assert await pool.fetchval("SELECT count(*) FROM spend_logs") == 0


async def test_odd_calls_survive(theirs: Theirs, pool: Pool) -> None:
    await add(
        theirs,
        "r" * 300,
        endTime=later(days=-1),
        metadata=Json("text"),
        request_tags=Json({"a": 1}),
        spend=float("nan"),
        prompt_tokens=-1,
        model_group=None,
        status="failure",
    )
    await theirs.carry(logs_since=NOW - timedelta(days=1))
    (row,) = await pool.fetch("SELECT * FROM spend_logs")
    assert (row["prompt"], row["cost"], row["tags"], row["http_status"]) == (0, 0, [], 500)
    assert (len(row["attempt"]), row["started"]) == (150, row["ended"])
