"""LiteLLM's daily sums: by everything, key, user, team, organization, customer and tag."""

import itertools
from decimal import Decimal
from typing import Any

from ledger.pepper import pepper
from ledger.pool import Pool
from ledger.spend import summary
from tests.importing.theirs import NOW, Theirs, later, token

KEY = "sk-their-key-0000000001"
_IDS = itertools.count()


async def add(theirs: Theirs, table: str, **given: Any) -> None:
    values = {"date": "2026-11-01", "api_key": token(KEY), "model": "gpt-4o", "model_group": "best"}
    values |= {"custom_llm_provider": "openai", "spend": 1.5, "prompt_tokens": 10, "completion_tokens": 5}
    values |= {"api_requests": 2, "successful_requests": 1, "failed_requests": 1, "cache_read_input_tokens": 3}
    await theirs.add(table, id=str(next(_IDS)), updated_at=NOW.replace(tzinfo=None), **values | given)


async def test_sums_by_every_dimension(theirs: Theirs, pool: Pool) -> None:
    await theirs.key(KEY)
    await add(theirs, "DailyUserSpend", user_id="ann")
    await add(theirs, "DailyUserSpend", user_id="ann", endpoint="/v1/embeddings", spend=0.25)
    await add(theirs, "DailyUserSpend", user_id=None, api_key="litellm_proxy_master_key", date="2026-11-02")
    await add(theirs, "DailyTeamSpend", team_id="red")
    await add(theirs, "DailyOrganizationSpend", organization_id="acme")
    await add(theirs, "DailyEndUserSpend", end_user_id="c")
    await add(theirs, "DailyTagSpend", tag="t" * 200)
    report = await theirs.carry()
    assert report.remarks == []
    key = (await pepper(pool, None)).hash(KEY.encode())
    everything = {line.value: line for line in await summary(pool, by="day")}
    assert {day: (line.spend, line.requests) for day, line in everything.items()} == {
        "2026-11-01": (Decimal("1.75"), 4),
        "2026-11-02": (Decimal("1.5"), 2),
    }
    by_key = {line.value: line for line in await summary(pool, by="key")}
    assert by_key.keys() == {key, "litellm_proxy_master_key"}
    one = by_key[key]
    assert (one.prompt, one.completion, one.cached, one.successes, one.failures) == (20, 10, 6, 2, 2)
    assert [line.value for line in await summary(pool, by="user")] == ["ann"]
    assert [line.value for line in await summary(pool, by="team")] == ["red"]
    assert [line.value for line in await summary(pool, by="group")] == ["best"]
    (tag,) = await summary(pool, by="tag")
    assert len(tag.value) == 150
    assert (tag.value[:10], tag.spend) == ("t" * 10, Decimal("1.5"))
    assert await pool.fetchval("SELECT sum(spend) FROM daily_spend WHERE dimension = 'customer'") == Decimal("1.5")


async def test_days_move_by_the_difference(theirs: Theirs, pool: Pool) -> None:
    await add(theirs, "DailyTeamSpend", team_id="red")
    await theirs.carry()
    await pool.execute("UPDATE daily_spend SET spend = spend + 100, requests = requests + 7")
    report = await theirs.carry()
    assert (report.tallies["days_by_team"].unchanged, report.tallies["days_by_team"].updated) == (1, 0)
    await theirs.run('UPDATE "LiteLLM_DailyTeamSpend" SET spend = 2, api_requests = 3')
    assert (await theirs.carry()).tallies["days_by_team"].updated == 1
    (line,) = await summary(pool, by="team")
    assert (line.spend, line.requests) == (102, 10)


async def test_the_secrets_that_a_key_had_are_one_key(theirs: Theirs, pool: Pool) -> None:
    active = await theirs.key(KEY)
    await theirs.add(
        "DeprecatedVerificationToken",
        id="1",
        token=token("sk-older"),
        active_token_id=active,
        revoke_at=later(hours=-1),
    )
    await add(theirs, "DailyUserSpend", user_id="ann")
    await add(theirs, "DailyUserSpend", user_id="ann", api_key=token("sk-older"))
    await theirs.carry()
    assert [line.spend for line in await summary(pool, by="key")] == [3]


async def test_a_date_that_is_none_is_named(theirs: Theirs, pool: Pool) -> None:
    await add(theirs, "DailyTeamSpend", team_id="red", date="yesterday")
    await add(theirs, "DailyTeamSpend", team_id="red")
    report = await theirs.carry()
    assert [(r.id, r.said) for r in report.remarks] == [("DailyTeamSpend", "'yesterday' is no date")]
    assert len(await summary(pool, by="team")) == 1
