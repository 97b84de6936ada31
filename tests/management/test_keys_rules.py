"""What the configuration says of keys, and what a team or organization has to give."""

import re
from typing import Any

import pytest

from api.management.keys import KeyBounds, KeyDefaults, KeyGeneration, KeyRules
from ledger import tenants
from ledger.pool import Pool
from schemas.access import Role
from tests.support.keys import KeyBureau, add, add_team, key_bureau, someone

BOUNDS = KeyBounds.model_validate({"max_budget": 100, "budget_duration": "10d", "duration": "30d", "rpm_limit": 50})


async def test_defaults_fill_what_is_not_said_and_bounds_the_rest(pool: Pool) -> None:
    defaults = {"max_budget": 5, "budget_duration": "1d", "models": ["m"], "metadata": {"a": 1}, "team_id": "t"}
    async with key_bureau(pool, KeyRules(KeyDefaults.model_validate(defaults), BOUNDS)) as office:
        assert (await office.post("/key/generate", 400))["error"]["param"] == "team_id"
        await add(pool, tenants.ORGANIZATIONS, organization_id="o")
        await add_team(pool, "t", organization_id="o")
        made = await office.post("/key/generate")
        assert (made["max_budget"], made["budget_duration"], made["models"]) == (5, "1d", ["m"])
        assert (made["metadata"], made["team_id"], made["rpm_limit"]) == ({"a": 1}, "t", 50)
        assert made["organization_id"] == "o"
        assert made["expires"] == "2026-04-03T12:00:00Z"
        made = await office.post("/key/generate", max_budget=7, budget_duration=None, models=["x"], duration="1d")
        assert (made["max_budget"], made["budget_duration"], made["models"]) == (7, "10d", ["x"])
        assert made["expires"] == "2026-03-05T12:00:00Z"


@pytest.mark.parametrize(
    "asked",
    [{"max_budget": 101}, {"budget_duration": "11d"}, {"duration": "31d"}, {"duration": "-1"}, {"rpm_limit": 51}],
)
async def test_nothing_is_above_the_bounds(pool: Pool, asked: dict[str, Any]) -> None:
    async with key_bureau(pool, KeyRules(bounds=BOUNDS)) as office:
        await office.post("/key/generate", 400, **asked)
        made = await office.post("/key/generate")
        await office.post("/key/update", 400, key=made["key"], **asked)
        await office.post("/key/regenerate", 400, key=made["key"], **asked)
        changed = await office.post("/key/update", key=made["key"], tpm_limit=1)
        assert changed["tpm_limit"] == 1


async def test_an_alias_has_the_form_that_is_wanted(pool: Pool) -> None:
    async with key_bureau(pool, KeyRules(alias=re.compile("[a-z]+"))) as office:
        made = await office.post("/key/generate", key_alias="fine")
        await office.post("/key/generate", 400, key_alias="Not fine")
        await office.post("/key/update", 400, key=made["key"], key_alias="Not fine")
        await office.post("/key/update", key=made["key"], key_alias="fine", rpm_limit=1)


@pytest.mark.parametrize(
    ("said", "role", "body", "status"),
    [
        ({"personal_key_generation": {"allowed_user_roles": ["proxy_admin"]}}, Role.USER, {}, 403),
        ({"personal_key_generation": {"allowed_user_roles": ["internal_user"]}}, Role.USER, {}, 200),
        ({"personal_key_generation": {"required_params": ["key_alias"]}}, Role.USER, {}, 400),
        ({"personal_key_generation": {"required_params": ["key_alias"]}}, Role.USER, {"key_alias": "a"}, 200),
        ({"team_key_generation": {"allowed_team_member_roles": ["admin"]}}, Role.USER, {"team_id": "t"}, 403),
        ({"team_key_generation": {"required_params": ["tags"]}}, Role.USER, {"team_id": "t"}, 400),
        ({"team_key_generation": {}}, Role.USER, {"team_id": "t"}, 200),
    ],
)
async def test_who_generates_is_configured(
    pool: Pool, said: dict[str, Any], role: Role, body: dict[str, Any], status: int
) -> None:
    async with key_bureau(pool, KeyRules(generation=KeyGeneration.model_validate(said))) as office:
        await add_team(pool, "t", "u", extra={"team_member_permissions": ["/key/generate"]})
        office.access = someone("u", role=role, teams=frozenset({"t"}))
        await office.post("/key/generate", status, **body)


async def test_organization_admins_may_be_kept_from_generating(pool: Pool) -> None:
    async with key_bureau(pool, KeyRules(org_admins_generate=False)) as office:
        office.access = someone("u", role=Role.ORG_ADMIN)
        await office.post("/key/generate", 403)


@pytest.mark.parametrize("section", [KeyBounds, KeyGeneration])
def test_a_name_that_is_not_known_is_an_error(section: Any) -> None:
    with pytest.raises(ValueError, match="max_bugdet"):
        section.model_validate({"max_bugdet": 1})


def test_a_grace_period_is_a_duration() -> None:
    with pytest.raises(ValueError, match="duration"):
        KeyRules(grace="soon")


async def test_nobody_gives_a_larger_budget_than_his_own_keys(pool: Pool) -> None:
    async with key_bureau(pool) as office:
        own = await office.generate(user_id="u", max_budget=10)
        office.access = someone("u", key=own["token"])
        await office.post("/key/generate", 400, max_budget=10.5)
        await office.post("/key/generate", 400, budget_limits=[{"budget_duration": "1d", "max_budget": 11}])
        assert (await office.post("/key/generate", max_budget=10))["max_budget"] == 10
        assert (await office.post("/key/generate"))["max_budget"] == 10


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("allowed_routes", ["nonsense"]),
        ("allowed_routes", ["llm_api_routes", "v1/embeddings"]),
        ("allowed_routes", ["/v1/*", ""]),
        (
            "budget_limits",
            [{"budget_duration": "1d", "max_budget": 1}, {"budget_duration": "daily", "max_budget": 2}],
        ),
    ],
)
async def test_what_would_mean_nothing_is_refused(pool: Pool, field: str, value: Any) -> None:
    async with key_bureau(pool) as office:
        made = await office.post("/key/generate")
        for path in ("/key/generate", "/key/update"):
            said = await office.post(path, 400, key=made["key"], **{field: value})
            assert said["error"]["param"].startswith(field)


async def test_what_litellm_knows_of_routes_and_windows_is_taken(pool: Pool) -> None:
    async with key_bureau(pool) as office:
        routes = ["/chat/completions", "/keys/*", "*", "mcp_routes", "management_routes", "ui_routes"]
        windows = [{"budget_duration": "24h", "max_budget": 1}, {"budget_duration": "1d", "max_budget": 2}]
        made = await office.post("/key/generate", allowed_routes=routes, budget_limits=windows)
        assert made["allowed_routes"] == routes
        assert [one["budget_duration"] for one in made["budget_limits"]] == ["24h", "1d"]


class TestGuaranteed:
    """What is guaranteed to keys is not given twice."""

    async def test_by_a_team(self, pool: Pool) -> None:
        async with key_bureau(pool) as office:
            await add_team(pool, "t", rpm_limit=10, metadata={"model_tpm_limit": {"m": 100}})
            await self.check(office, {"team_id": "t"}, "m")

    async def test_by_an_organization(self, pool: Pool) -> None:
        async with key_bureau(pool) as office:
            await add(pool, tenants.BUDGETS, budget_id="b", rpm_limit=10)
            metadata = {"model_tpm_limit": {"m": 100}}
            await add(pool, tenants.ORGANIZATIONS, organization_id="o", budget_id="b", metadata=metadata)
            await self.check(office, {"organization_id": "o"}, "m")

    async def check(self, office: KeyBureau, where: dict[str, Any], model: str) -> None:
        sure: dict[str, Any] = {**where, "rpm_limit_type": "guaranteed_throughput"}
        made = await office.post("/key/generate", **sure, rpm_limit=6, model_tpm_limit={model: 60})
        await office.post("/key/generate", 400, **sure, rpm_limit=5)
        await office.post("/key/generate", 400, **sure, model_rpm_limit={"x": 11})
        await office.post("/key/generate", 400, **sure, model_tpm_limit={model: 41})
        await office.post("/key/generate", **where, rpm_limit=4)
        await office.post("/key/generate", 400, **sure, rpm_limit=1)
        assert (await office.post("/key/update", key=made["key"], rpm_limit=5))["rpm_limit"] == 5
        await office.post("/key/update", 400, key=made["key"], rpm_limit=7)
        await office.post("/key/generate", **sure, rpm_limit=1, model_tpm_limit={model: 40})
