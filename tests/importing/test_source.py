"""The source: read only, whatever version it has, and what of it has no place here."""

import pytest

from ledger import tenants
from ledger.litellm.source import opened
from ledger.pool import FAILED, Pool
from tests.importing.schema import tables
from tests.importing.theirs import Json, Theirs, encrypted, wall
from tests.support.postgres import Postgres

NEWER_TABLES = (
    "TagTable",
    "DeprecatedVerificationToken",
    "ObjectPermissionTable",
    "DailyTagSpend",
    "DailyEndUserSpend",
    "DailyOrganizationSpend",
    "OrganizationMembership",
    "CredentialsTable",
    "ProxyModelTable",
    "TeamMembership",
    "EndUserTable",
    "ModelTable",
    "Config",
)
NEWER_COLUMNS = (
    "VerificationToken.total_spend",
    "VerificationToken.budget_limits",
    "VerificationToken.key_type",
    "VerificationToken.object_permission_id",
    "VerificationToken.tpd_limit",
    "TeamTable.soft_budget",
    "TeamTable.model_id",
    "UserTable.password",
    "UserTable.created_at",
    "DailyUserSpend.model_group",
    "DailyUserSpend.api_requests",
    "DailyUserSpend.cache_read_input_tokens",
    "BudgetTable.allowed_models",
)


async def test_an_older_version_is_read(database_url: str, postgres: Postgres, pool: Pool, their_url: str) -> None:
    name = their_url.rpartition("/")[2]
    postgres.run("drop schema public cascade; create schema public", name)
    postgres.run(tables(without=(*NEWER_TABLES, *NEWER_COLUMNS)), name)
    theirs = Theirs(their_url, pool)
    await theirs.key("sk-older-version-0001", max_budget=2.0, spend=1.0)
    await theirs.person("ann")
    await theirs.team("red", "ann")
    await theirs.add(
        "DailyUserSpend",
        id="1",
        date="2026-11-01",
        api_key="x",
        model="m",
        spend=1.0,
        updated_at=wall(theirs.now),
    )
    report = await theirs.carry()
    assert report.remarks == []
    assert {entity: tally.new for entity, tally in report.tallies.items() if tally.new} == {
        "user": 1,
        "team": 1,
        "team_member": 1,
        "key": 1,
    }
    assert await pool.fetchval("SELECT requests FROM daily_spend WHERE dimension = 'all'") == 0


async def test_the_source_is_only_read(theirs: Theirs) -> None:
    async with opened(theirs.url) as source:
        with pytest.raises(FAILED) as refused:
            async for _ in source.asked('DELETE FROM "LiteLLM_UserTable" RETURNING 1'):
                pass
    assert "read-only" in str(refused.value)


async def test_another_database_is_none_of_litellms(database_url: str) -> None:
    with pytest.raises(LookupError):
        async with opened(database_url):
            pass


async def test_settings_are_shown_and_secrets_only_named(theirs: Theirs) -> None:
    await theirs.add(
        "Config",
        param_name="litellm_settings",
        param_value={
            "drop_params": True,
            "max_budget": 10.5,
            "success_callback": ["langfuse"],
            "redis_password": "hunter2",
            "cache_params": {"url": "redis://u:hunter2@h"},
            "alert_to": {"budgets": ["https://hooks.example/T0/hunter2"]},
            "ui_theme": "dark",
            "odd": encrypted("hunter2"),
        },
    )
    await theirs.add("Config", param_name="environment_variables", param_value={"OPENAI_API_KEY": "hunter2"})
    await theirs.add("Config", param_name="router_settings", param_value={})
    await theirs.add("Config", param_name="plain", param_value=Json(3))
    report = await theirs.carry()
    variables, _, settings = report.configuration.partition("\nlitellm_settings:\n")
    assert variables == "environment_variables:\n  OPENAI_API_KEY:  # set it yourself: it is secret"
    *lines, last = settings.splitlines()
    assert last == "plain: 3"
    assert set(lines) == {
        "  drop_params: true",
        "  max_budget: 10.5",
        '  success_callback: ["langfuse"]',
        "  redis_password:  # set it yourself: it is secret",
        "  cache_params:  # set it yourself: it is secret",
        "  alert_to:  # set it yourself: it is secret",
        '  ui_theme: "dark"',
        "  odd:  # set it yourself: it is secret",
    }


async def test_what_has_no_place_here_is_named(theirs: Theirs, pool: Pool) -> None:
    await theirs.add(
        "GuardrailsTable",
        guardrail_id="g",
        guardrail_name="g",
        litellm_params={},
        updated_at=wall(theirs.now),
    )
    await theirs.person("ann")
    assert (await theirs.carry()).left == ["LiteLLM_GuardrailsTable"]
    assert await tenants.count(pool, tenants.USERS, {}) == 1
