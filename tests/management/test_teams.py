"""`/team/*`: teams come, change and go, with their members' budgets, keys and organization."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.management.rules import TeamRules, UserRules
from ledger import tenants
from ledger.pool import Pool
from tests.management.tenancy import key, organization, person, tenancy
from tests.support.audit import audited
from tests.support.office import Bureau


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The routes of teams and users."""
    async with tenancy(pool) as found:
        yield found


async def test_a_team_from_first_to_last(office: Bureau) -> None:
    made = await office.post(
        "/team/new",
        team_alias="red",
        models=["gpt"],
        max_budget=12.5,
        budget_duration="1d",
        rpm_limit=10,
        tags=["a"],
        model_aliases={"fast": "gpt"},
        color="red",
        members_with_roles=[{"user_id": "u", "role": "admin"}, {"user_email": "V@x.org", "role": "user"}],
    )
    team_id = made["team_id"]
    assert (made["team_alias"], made["models"], made["max_budget"], made["color"]) == ("red", ["gpt"], 12.5, "red")
    assert made["metadata"] == {"tags": ["a"]}
    assert made["litellm_model_table"] == {"model_aliases": {"fast": "gpt"}}
    assert made["budget_reset_at"].endswith("T00:00:00Z")
    assert (made["spend"], made["admins"], made["created_by"]) == (0, ["u"], "default_user_id")
    assert [member["user_email"] for member in made["members_with_roles"]] == [None, "V@x.org"]
    changed = await office.post("/team/update", team_id=team_id, tpm_limit=7, max_budget=None, guardrails=["g"])
    assert changed["team_id"] == team_id
    assert (changed["data"]["tpm_limit"], changed["data"]["rpm_limit"], changed["data"]["max_budget"]) == (7, 10, None)
    assert changed["data"]["metadata"] == {"tags": ["a"], "guardrails": ["g"]}
    assert changed["data"]["color"] == "red"
    await office.post("/team/block", team_id=team_id)
    found = await office.get("/team/info", team_id=team_id)
    assert (found["team_id"], found["team_info"]["blocked"], found["keys"]) == (team_id, True, [])
    assert found["team_info"]["caller_edit_access"] == {"kind": "unrestricted"}
    assert (await office.post("/team/unblock", team_id=team_id))["blocked"] is False
    assert await office.post("/team/delete", team_ids=[team_id]) == {"deleted_teams": [team_id]}
    await office.get("/team/info", 404, team_id=team_id)
    assert f"team:{team_id}" in office.told[-1]
    assert "user:u" in office.told[-1]
    log = await audited(office.pool, entity="team", id=team_id)
    assert [entry["action"] for entry in reversed(log)] == [
        "created",
        "member_added",
        "member_added",
        "updated",
        "blocked",
        "unblocked",
        "deleted",
    ]


async def test_who_makes_a_team_is_its_admin(pool: Pool) -> None:
    async with tenancy(pool, for_teams=TeamRules()) as office:
        made = await office.post("/team/new", team_id="t")
        assert made["members_with_roles"] == [
            {"user_id": "default_user_id", "user_email": None, "user_alias": None, "role": "admin"}
        ]


async def test_new_teams_have_the_configurations_defaults(pool: Pool) -> None:
    rules = TeamRules({"max_budget": 5, "budget_duration": "7d", "team_member_permissions": ["/key/generate"]})
    async with tenancy(pool, for_teams=rules) as office:
        made = await office.post("/team/new", team_id="a", budget_duration=None)
        assert (made["max_budget"], made["budget_duration"]) == (5, None)
        assert made["team_member_permissions"] == ["/key/generate"]
        made = await office.post("/team/new", team_id="b", max_budget=1)
        assert (made["max_budget"], made["budget_duration"]) == (1, "7d")


async def test_defaults_are_as_if_they_had_been_said(pool: Pool) -> None:
    rules = TeamRules(
        {"team_member_budget": 2, "model_rpm_limit": {"m": 5}, "rpm_limit": "7", "metadata": {"a": 1}}, adds_admin=False
    )
    async with tenancy(pool, for_teams=rules) as office:
        made = await office.post("/team/new", team_id="a", members=["u"], rpm_limit=None)
        assert (made["rpm_limit"], made["metadata"]["a"], made["metadata"]["model_rpm_limit"]) == (7, 1, {"m": 5})
        found = await office.get("/team/info", team_id="a")
        assert [one["litellm_budget_table"]["max_budget"] for one in found["team_memberships"]] == [2]


MEANINGLESS: list[tuple[str, Any]] = [
    ("max_budget", -1),
    ("max_budget", "NaN"),
    ("soft_budget", 10),
    ("budget_duration", "soon"),
    ("team_member_budget", -1),
    ("team_member_budget_duration", "0d"),
    ("team_alias", "a\0b"),
    ("models", "gpt"),
    ("models", [1]),
    ("metadata", []),
    ("metadata", {"a": "\0"}),
    ("members_with_roles", [{"role": "user"}]),
    ("members_with_roles", [{"user_id": "u", "role": "owner"}]),
    ("organization_id", "none"),
    ("budget_limits", [{"budget_duration": "1d"}]),
    ("rpm_limit", 10**16),
    ("model_rpm_limit", {"gpt": "many"}),
    ("model_tpm_limit", [1]),
    ("metadata", {"model_rpm_limit": {"gpt": -1}}),
    ("metadata", {"model_tpm_limit": "x"}),
    ("model_aliases", {"a": 1}),
    ("model_max_budget", {"gpt": {"budget_limit": -1}}),
]


async def test_a_value_that_means_nothing_is_refused(office: Bureau) -> None:
    for field, value in MEANINGLESS:
        response = await office.http.post("/team/new", json={"max_budget": 10, field: value})
        assert response.status_code == 400, (field, value, response.text)
    assert await office.get("/team/list") == []
    assert office.told == []


async def test_what_is_not_there_is_not_changed(office: Bureau) -> None:
    await office.post("/team/new", team_id="t")
    await office.post("/team/new", 400, team_id="t")
    for path in ("/team/update", "/team/block", "/team/unblock", "/team/none/disable_logging"):
        await office.post(path, 404, team_id="none")
    await office.post("/team/delete", 404, team_ids=["t", "none"])
    assert (await office.get("/team/info", team_id="t"))["team_id"] == "t"
    await office.post("/team/member_delete", 400, team_id="none", user_id="u")
    await office.post("/team/member_update", 400, team_id="none", user_id="u")
    await office.post("/team/member_update", 400, team_id="t", user_id="u")
    await office.post("/team/member_add", 404, team_id="none", member={"role": "user", "user_id": "u"})
    await office.post("/team/none/callback", 400, callback_name="langfuse", callback_vars={})


async def test_budgets_of_models_and_windows_are_shown_as_numbers(office: Bureau) -> None:
    windows = [{"budget_duration": "1d", "max_budget": 2.5}]
    made = await office.post("/team/new", team_id="t", model_max_budget={"gpt": 5}, budget_limits=windows)
    assert made["model_max_budget"] == {"gpt": {"budget_limit": 5}}
    assert made["budget_limits"][0]["max_budget"] == 2.5
    assert made["budget_limits"][0]["reset_at"].endswith("T00:00:00Z")
    await office.pool.execute("INSERT INTO totals VALUES ('team_model', 't', 'gpt', 2)")
    info = (await office.get("/team/info", team_id="t"))["team_info"]
    spend = {"current_spend": 2, "budget_limit": 5, "time_period": None}
    assert info["model_max_budget_usage"] == {"gpt": spend}
    cleared = await office.post("/team/update", team_id="t", model_max_budget=None, budget_limits=None)
    assert (cleared["data"]["model_max_budget"], cleared["data"]["budget_limits"]) == ({}, None)


async def test_what_requests_read_of_a_team_is_never_null(office: Bureau) -> None:
    await office.post("/team/new", team_id="t", model_aliases={"a": "b"}, team_member_permissions=["/key/generate"])
    await office.post("/team/update", team_id="t", model_aliases=None, team_member_permissions=None, color=None)
    row = await tenants.find(office.pool, tenants.TEAMS, "t")
    assert row is not None
    assert row["extra"] == {}


async def test_budgets_are_numbers_that_fit_together(office: Bureau) -> None:
    await office.post("/team/new", team_id="t", max_budget=10, soft_budget=5)
    await office.post("/team/update", 400, team_id="t", max_budget=5)
    await office.post("/team/update", 400, team_id="t", soft_budget=10)
    await office.post("/team/update", team_id="t", soft_budget=10, max_budget=11)


async def test_a_team_keeps_to_its_organization(office: Bureau) -> None:
    await organization(office.pool, "o", models=("gpt", "claude"), max_budget=10, rpm_limit=5)
    await office.post("/team/new", 400, organization_id="o", models=["gemini"])
    await office.post("/team/new", 400, organization_id="o", max_budget=11)
    await office.post("/team/new", 400, organization_id="o", rpm_limit=6)
    await office.post("/team/new", team_id="t", organization_id="o", models=["gpt"], max_budget=10)
    await office.post("/team/update", 400, team_id="t", models=["gpt", "gemini"])
    await office.post("/team/model/add", 400, team_id="t", models=["gemini"])
    assert (await office.post("/team/model/add", team_id="t", models=["claude"]))["models"] == ["gpt", "claude"]
    await office.post("/team/new", team_id="u", models=["gemini"], members=["x"])
    await office.post("/team/update", 400, team_id="u", organization_id="o")
    await office.post("/team/update", team_id="u", organization_id="o", models=["gpt"])
    members = await tenants.matching(office.pool, tenants.ORGANIZATION_MEMBERS, {"organization_id": "o"})
    assert [row["user_id"] for row in members] == ["x"]
    assert (await office.post("/team/update", team_id="u", organization_id=""))["data"]["organization_id"] is None


async def test_models_are_added_and_removed(office: Bureau) -> None:
    await office.post("/team/new", team_id="t")
    found = await office.post("/team/model/add", team_id="t", models=["gpt"])
    assert found["models"] == ["all-proxy-models", "gpt"], "a team that may use all models keeps that"
    found = await office.post("/team/model/delete", team_id="t", models=["all-proxy-models", "gpt"])
    assert found["models"] == ["no-default-models"], "a team without models would have all"
    assert (await office.post("/team/model/add", team_id="t", models=["gpt"]))["models"] == ["gpt"]


async def test_a_deleted_team_takes_its_keys_along(office: Bureau) -> None:
    await office.post("/team/new", team_id="t", members=["u"], team_member_budget=3)
    await key(office.pool, "k", team_id="t", user_id="u", key_alias="of the team")
    await key(office.pool, "other", user_id="u")
    shown = await office.get("/team/info", team_id="t")
    assert [(row["token"], row["key_alias"], row["team_alias"]) for row in shown["keys"]] == [
        ("k", "of the team", None)
    ]
    await office.post("/team/delete", team_ids=["t"])
    assert [row["key_id"] for row in await tenants.matching(office.pool, tenants.KEYS, {})] == ["other"]
    assert await tenants.matching(office.pool, tenants.TEAM_MEMBERS, {}) == []
    assert await tenants.matching(office.pool, tenants.BUDGETS, {}) == []
    assert {"team:t", "user:u", "key:k"} <= office.told[-1]


async def test_lists_of_teams(office: Bureau) -> None:
    await organization(office.pool, "o")
    for team_id, alias, where in (("a", "Zeta", "o"), ("b", "alpha_1", None), ("c", "alphaX1", None)):
        await office.post(
            "/team/new", team_id=team_id, team_alias=alias, organization_id=where, members=[f"m{team_id}"]
        )
    await key(office.pool, "k", team_id="b")
    assert [team["team_id"] for team in await office.get("/team/list")] == ["a", "c", "b"]
    assert [team["team_id"] for team in await office.get("/team/list", organization_id="o")] == ["a"]
    nowhere = await office.get("/team/list", organization_id="default_organization")
    assert [(team["team_id"], len(team["keys"]), len(team["team_memberships"])) for team in nowhere] == [
        ("c", 0, 1),
        ("b", 1, 1),
    ]
    assert [team["team_id"] for team in await office.get("/team/list", user_id="mc")] == ["c"]

    async def page(**query: object) -> tuple[list[str], int, int]:
        found = await office.get("/v2/team/list", **query)
        return [team["team_id"] for team in found["teams"]], found["total"], found["total_pages"]

    assert await page() == (["c", "b", "a"], 3, 1)
    assert await page(page_size=2) == (["c", "b"], 3, 2)
    assert await page(page_size=2, page=2) == (["a"], 3, 2)
    assert await page(page=9) == ([], 3, 1)
    assert await page(sort_by="team_id") == (["a", "b", "c"], 3, 1)
    assert await page(sort_by="team_alias", sort_order="desc") == (["b", "c", "a"], 3, 1)
    assert await page(team_alias="ALPHA_") == (["b"], 1, 1), "an underscore is no wildcard"
    assert await page(search="a") == (["c", "b", "a"], 3, 1)
    assert await page(search="c") == (["c"], 1, 1)
    assert await page(user_id="ma") == (["a"], 1, 1)
    deleted = (await office.http.get("/v2/team/list", params={"status": "deleted"})).json()
    assert (deleted["teams"], deleted["total"], deleted["total_pages"]) == ([], 0, 0)
    await office.get("/v2/team/list", 400, sort_by="spend")
    await office.get("/v2/team/list", 400, page_size=101)
    first = (await office.get("/v2/team/list", team_id="b"))["teams"][0]
    assert (first["keys_count"], first["members_count"]) == (1, 1)


async def test_teams_that_anybody_may_join(pool: Pool) -> None:
    async with tenancy(pool, for_users=UserRules(available_teams=frozenset({"t", "u"}))) as office:
        await office.post("/team/new", team_id="t", members=["v"])
        await office.post("/team/new", team_id="u", members=["v"])
        await office.post("/team/new", team_id="closed")
        await office.post("/user/new", user_id="me", auto_create_key=False)
        office.access = person("me", teams=("u",))
        assert [(team["team_id"], team["members"]) for team in await office.get("/team/available")] == [("t", [])]
        me = {"user_id": "me", "role": "user"}
        await office.post("/team/member_add", 403, team_id="closed", member=me)
        await office.post("/team/member_add", 403, team_id="t", member={**me, "role": "admin"})
        await office.post("/team/member_add", 403, team_id="t", member={"user_id": "v", "role": "user"})
        await office.post("/team/member_add", 403, team_id="t", member=me, max_budget_in_team=100)
        await office.post("/team/member_add", 403, team_id="t", member=me, allowed_models=["gpt"])
        joined = await office.post("/team/member_add", team_id="t", member=me)
        assert joined["members"] == ["v", "me"]
