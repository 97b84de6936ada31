"""Keys of LiteLLM: they work here as they are, with what they may, must keep to and have spent."""

import hashlib
from decimal import Decimal

import pytest

from ledger import tenants
from ledger.access import find_key
from ledger.balances import spent
from ledger.pepper import pepper
from ledger.pool import Pool
from ledger.terms import Rules
from policy.periods import window
from schemas.access import Access, Account
from tests.importing.theirs import NOW, Json, Theirs, later, token
from tests.support.audit import audited

KEY = "sk-their-key-0000000001"


async def access(pool: Pool, secret: str) -> Access | None:
    return await find_key(pool, (await pepper(pool, None)).hash(secret.encode()), Rules())


async def stored(pool: Pool, secret: str) -> tenants.Row:
    row = await tenants.find(pool, tenants.KEYS, (await pepper(pool, None)).hash(secret.encode()))
    assert row is not None
    return row


async def test_a_key_works_with_all_that_it_had(theirs: Theirs, pool: Pool) -> None:
    await theirs.person("ann", user_role="internal_user", user_email="ann@example.com")
    await theirs.team("red", "ann", models=["gpt-4o", "claude"], max_budget=100.0, spend=3.5)
    await theirs.key(
        KEY,
        key_alias="ann's",
        user_id="ann",
        team_id="red",
        models=["gpt-4o"],
        aliases={"best": "gpt-4o"},
        metadata={"tags": ["a"], "model_rpm_limit": {"gpt-4o": 7}},
        max_budget=10.0,
        budget_duration="30d",
        budget_reset_at=wall_of_window_end(),
        spend=4.25,
        total_spend=104.25,
        rpm_limit=60,
        tpm_limit=10**10,
        max_parallel_requests=3,
        expires=later(days=30),
        permissions={"p": True},
        model_max_budget={"gpt-4o": {"budget_limit": 2.5, "time_period": "1d"}},
        budget_limits=[{"budget_duration": "1h", "max_budget": 1.5}],
    )
    report = await theirs.carry()
    assert report.remarks == []
    found = await access(pool, KEY)
    assert found is not None
    assert (found.caller.key_alias, found.caller.user, found.caller.team) == ("ann's", "ann", "red")
    assert found.caller.tags == ("a",)
    assert [scope.models for scope in found.scopes] == [("gpt-4o",), ("gpt-4o", "claude")]
    assert found.aliases == {"best": "gpt-4o"}
    assert found.expires == pytest.approx((NOW.timestamp() + 30 * 86400), abs=0.01)
    budgets = {(b.account.kind, b.period): b.most for b in found.terms.budgets}
    assert budgets == {("key", "30d"): 10, ("key", "1h"): Decimal("1.5"), ("team", ""): 100}
    assert {(r.unit.value, r.most) for r in found.terms.rates} == {
        ("requests", 60),
        ("tokens", 10**10),
        ("max_parallel_requests", 3),
    }
    spend, calls = (by_model["gpt-4o"] for by_model in found.model_terms)
    assert [(b.most, b.period) for b in spend.budgets] == [(Decimal("2.5"), "1d")]
    assert [r.most for r in calls.rates] == [7]
    row = await stored(pool, KEY)
    assert (row["key_name"], row["extra"]) == ("sk-...0001", {"permissions": {"p": True}})
    account = Account("key", row["key_id"])
    assert (await spent(pool, [(account, "30d")]))[account] == (Decimal("4.25"), Decimal("104.25"))
    team = Account("team", "red")
    assert (await spent(pool, [(team, "")]))[team] == (Decimal("3.5"), Decimal("3.5"))


def wall_of_window_end() -> object:
    return window("30d", NOW)[1].replace(tzinfo=None)


async def test_what_was_spent_in_a_window_that_has_ended_counts_in_total_only(theirs: Theirs, pool: Pool) -> None:
    await theirs.key(KEY, max_budget=10.0, budget_duration="1d", budget_reset_at=later(hours=-30), spend=9.0)
    await theirs.carry()
    account = Account("key", (await stored(pool, KEY))["key_id"])
    assert (await spent(pool, [(account, "1d")]))[account] == (0, 9)


async def test_a_linked_budget_is_the_keys(theirs: Theirs, pool: Pool) -> None:
    await theirs.budget("b", max_budget=5.0, soft_budget=4.0, budget_duration="7d", tpm_limit=9)
    await theirs.key(KEY, budget_id="b", spend=2.0)
    await theirs.carry()
    found = await access(pool, KEY)
    assert found is not None
    assert [(b.most, b.soft, b.period) for b in found.terms.budgets] == [(5, 4, "7d")]
    account = Account("key", found.caller.key_hash)
    assert (await spent(pool, [(account, "7d")]))[account] == (2, 2)


async def test_nothing_is_done_twice(theirs: Theirs, pool: Pool) -> None:
    await theirs.key(KEY, key_alias="a", max_budget=10.0, spend=1.0, total_spend=3.0)
    first = await theirs.carry()
    second = await theirs.carry()
    assert (first.tallies["key"].new, second.tallies["key"].unchanged, second.tallies["key"].new) == (1, 1, 0)
    assert second.touched == set()
    account = Account("key", (await stored(pool, KEY))["key_id"])
    assert (await spent(pool, [(account, "")]))[account] == (1, 3)


async def test_what_has_come_since_is_added(theirs: Theirs, pool: Pool) -> None:
    their = await theirs.key(KEY, max_budget=10.0, spend=1.0, total_spend=3.0)
    await theirs.carry()
    account = Account("key", (await stored(pool, KEY))["key_id"])
    await pool.execute("UPDATE totals SET spend = spend + 100")
    await pool.execute("UPDATE balances SET spent = spent + 100")
    await theirs.run('UPDATE "LiteLLM_VerificationToken" SET spend = 1.5, total_spend = 4, rpm_limit = 5')
    report = await theirs.carry()
    assert report.tallies["key"].updated == 1
    assert report.touched == {f"key:{account.id}"}
    assert (await stored(pool, KEY))["rpm_limit"] == 5
    assert (await spent(pool, [(account, "")]))[account] == (Decimal("101.5"), 104)
    await theirs.run('UPDATE "LiteLLM_VerificationToken" SET spend = 0 WHERE token = $1', their)
    await theirs.carry()
    assert (await spent(pool, [(account, "")]))[account] == (100, 104)


async def test_what_was_changed_here_stays(theirs: Theirs, pool: Pool) -> None:
    await theirs.key(KEY, key_alias="a", rpm_limit=1)
    await theirs.carry()
    id = (await stored(pool, KEY))["key_id"]
    async with pool.acquire() as on:
        await tenants.change(on, tenants.KEYS, [id], {"blocked": True})
    await theirs.run('UPDATE "LiteLLM_VerificationToken" SET rpm_limit = 2')
    report = await theirs.carry()
    assert [(r.entity, r.id, r.said) for r in report.remarks] == [
        ("key", "a", "was changed or made here and stays as it is")
    ]
    row = await stored(pool, KEY)
    assert (row["blocked"], row["rpm_limit"]) == (True, 1)
    report = await theirs.carry(overwrite=True)
    row = await stored(pool, KEY)
    assert (row["blocked"], row["rpm_limit"], report.tallies["key"].updated) == (False, 2, 1)


async def test_a_key_that_was_deleted_here_does_not_come_back(theirs: Theirs, pool: Pool) -> None:
    await theirs.key(KEY, spend=1.0)
    await theirs.carry()
    async with pool.acquire() as on:
        await tenants.remove(on, tenants.KEYS, (await stored(pool, KEY))["key_id"])
    report = await theirs.carry()
    assert report.tallies["key"].kept == 1
    assert await access(pool, KEY) is None
    await theirs.carry(overwrite=True)
    assert await access(pool, KEY) is not None


async def test_an_old_secret_works_until_its_grace_ends(theirs: Theirs, pool: Pool) -> None:
    active = await theirs.key(KEY)
    for secret, until in (("sk-older", later(hours=1)), ("sk-oldest", later(hours=-1))):
        await theirs.add(
            "DeprecatedVerificationToken", id=secret, token=token(secret), active_token_id=active, revoke_at=until
        )
    await theirs.carry()
    older, id = await access(pool, "sk-older"), (await stored(pool, KEY))["key_id"]
    assert older is not None
    assert older.caller.key_hash == id
    assert older.expires == pytest.approx(NOW.timestamp() + 3600, abs=0.01)
    assert await access(pool, "sk-oldest") is None


async def test_a_dry_run_changes_nothing(theirs: Theirs, pool: Pool) -> None:
    await theirs.key(KEY, spend=1.0)
    report = await theirs.carry(dry_run=True)
    assert report.tallies["key"].new == 1
    for table in ("virtual_keys", "key_hashes", "totals", "imported_rows", "audit_log", "secrets"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    assert (await theirs.carry()).tallies["key"].new == 1


async def test_odd_rows_survive_or_are_named(theirs: Theirs, pool: Pool) -> None:
    await theirs.key(
        KEY,
        key_alias="odd",
        key_name=None,
        metadata=Json(["a", 1]),
        aliases=Json('{"x": "y"}'),
        max_budget=float("inf"),
        budget_duration="fortnightly",
        model_max_budget={"a": 3, "b": {"time_period": "1d"}},
        budget_limits=Json([{"max_budget": 1}]),
        blocked=None,
        rotation_count=None,
        user_id="",
    )
    await theirs.add("VerificationToken", token="not a digest", models=[])
    await theirs.add("VerificationToken", token=KEY, key_alias="plain", models=[], created_at=later(days=1))
    await theirs.add("VerificationToken", token=token("sk-session"), team_id="litellm-dashboard", models=[])
    report = await theirs.carry()
    row = await stored(pool, KEY)
    assert (row["metadata"], row["aliases"], row["max_budget"]) == ({"litellm": ["a", 1]}, {"x": "y"}, None)
    assert (row["budget_duration"], row["model_max_budget"]) == (None, {"a": {"budget_limit": 3}})
    assert (row["blocked"], row["key_name"], row["user_id"], row["budget_limits"]) == (False, "sk-...", None, [])
    assert await access(pool, KEY) is not None
    tally = report.tallies["key"]
    assert (tally.found, tally.new, tally.skipped) == (4, 1, 3)
    assert {remark.said for remark in report.remarks} == {
        "metadata was no JSON object: it is kept under 'litellm'",
        "budget_duration 'fortnightly' is no duration: the budget is for all time",
        "the budget for the model 'b' says no amount and is left out",
        "one of its budget_limits says no amount or no duration and is left out",
        "what is stored of it is no SHA-256",
        "it is there twice: as it is and as its SHA-256",
        "it is a session of LiteLLM's own pages",
    }
    assert (await theirs.carry()).tallies["key"].unchanged == 1


async def test_two_keys_of_one_alias_both_work(theirs: Theirs, pool: Pool) -> None:
    await theirs.key(KEY, key_alias="same", created_at=later(days=-2))
    await theirs.key("sk-another", key_alias="same", created_at=later(days=-1))
    report = await theirs.carry()
    assert (await stored(pool, KEY))["key_alias"] == "same"
    assert (await stored(pool, "sk-another"))["key_alias"] is None
    assert [remark.said for remark in report.remarks] == ["another key here has this alias: it comes without one"]
    assert (await theirs.carry()).tallies["key"].unchanged == 2


async def test_credentials_of_callbacks_stay_behind(theirs: Theirs, pool: Pool) -> None:
    variables = {"langfuse_secret_key": "lf-secret", "langfuse_host": "https://x", "y": "litellm_enc::abc"}
    await theirs.key(KEY, metadata={"logging": [{"callback_name": "langfuse", "callback_vars": variables}]})
    report = await theirs.carry()
    kept = (await stored(pool, KEY))["metadata"]["logging"]
    assert kept == [{"callback_name": "langfuse", "callback_vars": {"langfuse_host": "https://x"}}]
    assert [remark.said for remark in report.remarks] == [
        "the credentials of its callbacks are left behind: set them again"
    ]


async def test_a_key_that_has_gone_there_is_named(theirs: Theirs) -> None:
    await theirs.key(KEY, key_alias="gone")
    await theirs.carry()
    await theirs.run('DELETE FROM "LiteLLM_VerificationToken"')
    report = await theirs.carry()
    assert [(r.id, r.said) for r in report.remarks] == [
        ("gone", "came from LiteLLM, is not in this database, and still works here")
    ]


async def test_an_import_is_one_entry_of_the_audit_log(theirs: Theirs, pool: Pool) -> None:
    await theirs.key(KEY)
    await theirs.carry()
    (entry,) = await audited(pool)
    assert (entry["action"], entry["entity"], entry["actor"]) == ("imported", "litellm", "litellm import")
    assert entry["after"]["key"]["new"] == 1


async def test_many_keys_come_in_parts(theirs: Theirs, pool: Pool) -> None:
    await theirs.run(
        """INSERT INTO "LiteLLM_VerificationToken" (token, models, spend, max_budget)
        SELECT encode(sha256(convert_to('sk-' || n, 'UTF8')), 'hex'), '{}', n, 10000
        FROM generate_series(1, 1200) AS n"""
    )
    report = await theirs.carry()
    assert report.tallies["key"].new == 1200
    assert await pool.fetchval("SELECT sum(spend) FROM totals WHERE kind = 'key'") == 1200 * 1201 // 2
    assert await pool.fetchval("SELECT sum(spent) FROM balances WHERE kind = 'key'") == 1200 * 1201 // 2
    assert hashlib.sha256(b"sk-7").hexdigest() == token("sk-7")
    assert await access(pool, "sk-7") is not None
