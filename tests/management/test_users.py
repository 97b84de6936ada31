"""`/user/*`: users come, change and go, with their first key, teams, organizations and rules."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from api.management.rules import Place, UserRules
from ledger import tenants
from ledger.keys import named
from ledger.pool import Pool
from tests.management.tenancy import PEPPER, belongs, key, organization, person, tenancy
from tests.support.audit import audited
from tests.support.office import Bureau


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The routes of teams and users."""
    async with tenancy(pool) as found:
        yield found


async def test_a_user_from_first_to_last(office: Bureau) -> None:
    made = await office.post(
        "/user/new",
        user_id="u",
        user_email="U@x.org",
        user_alias="Ulla",
        user_role="internal_user",
        max_budget=12.5,
        budget_duration="1d",
        models=["gpt"],
        key_alias="first",
        duration="30d",
        guardrails=["g"],
        color="red",
        send_invite_email=False,
    )
    assert made["key"].startswith("sk-")
    assert (made["user_id"], made["user_role"], made["max_budget"], made["color"]) == (
        "u",
        "internal_user",
        12.5,
        "red",
    )
    assert (made["metadata"], made["teams"], made["spend"]) == ({"guardrails": ["g"]}, [], 0)
    stored = await named(office.pool, PEPPER, made["key"], made_at := made_now(made))
    assert stored is not None
    assert (stored["user_id"], stored["key_alias"], stored["models"]) == ("u", "first", ["gpt"])
    assert stored["expires"] > made_at
    assert stored["key_name"] == f"sk-...{made['key'][-4:]}"
    changed = await office.post(
        "/user/update", user_id="u", rpm_limit=5, user_role="proxy_admin_viewer", max_budget=None
    )
    assert changed["user_id"] == "u"
    assert (changed["data"]["rpm_limit"], changed["data"]["max_budget"], changed["data"]["color"]) == (5, None, "red")
    await office.post("/user/update", user_email="u@X.ORG", user_alias="Ulli")
    found = await office.get("/user/info", user_id="u")
    assert (found["user_info"]["user_alias"], found["user_info"]["user_email"]) == ("Ulli", "u@X.ORG")
    assert [(row["key_alias"], row["token"]) for row in found["keys"]] == [("first", stored["key_id"])]
    assert "key" not in found["keys"][0]
    light = await office.get("/v2/user/info", user_id="u")
    assert (light["user_role"], light["teams"]) == ("proxy_admin_viewer", [])
    assert "keys" not in light
    assert await office.post("/user/delete", user_ids=["u"]) == 1
    await office.get("/user/info", 404, user_id="u")
    await office.get("/v2/user/info", 404, user_id="u")
    assert await tenants.matching(office.pool, tenants.KEYS, {}) == []
    assert office.told[-1] == {"user:u", f"key:{stored['key_id']}"}
    log = await audited(office.pool, entity="user", id="u")
    assert [entry["action"] for entry in log] == ["deleted", "updated", "updated", "created"]
    assert made["key"] not in str([*log, *await audited(office.pool, entity="key")])


def made_now(made: dict[str, str]) -> datetime:
    """When a user was made."""
    return datetime.fromisoformat(made["created_at"])


MEANINGLESS: list[tuple[str, Any]] = [
    ("max_budget", -1),
    ("max_budget", "Infinity"),
    ("budget_duration", "soon"),
    ("user_role", "king"),
    ("user_role", "org_admin"),
    ("user_email", "a\0b"),
    ("models", {}),
    ("metadata", "x"),
    ("teams", ["none"]),
    ("teams", [{"team_id": "t", "user_role": "owner"}]),
    ("organizations", ["none"]),
    ("duration", "soon"),
    ("password", "a good long password"),
]


async def test_a_value_that_means_nothing_is_refused(office: Bureau) -> None:
    for field, value in MEANINGLESS:
        response = await office.http.post("/user/new", json={field: value})
        assert response.status_code == 400, (field, value, response.text)
    assert (await office.get("/user/list"))["users"] == []
    assert await tenants.matching(office.pool, tenants.KEYS, {}) == []
    assert office.told == []


async def test_null_is_as_good_as_nothing(office: Bureau) -> None:
    fields = ("teams", "organizations", "models", "metadata", "max_budget", "model_max_budget", "user_role", "duration")
    made = await office.post("/user/new", user_id="u", **dict.fromkeys(fields))
    assert (made["models"], made["metadata"], made["model_max_budget"], made["teams"]) == ([], {}, {}, [])
    await office.post("/user/update", user_id="u", **dict.fromkeys(fields))
    assert (await office.post("/user/bulk_update", users=[{"user_id": "u", "teams": None}]))["failed_updates"] == 0
    await office.post("/user/new", 400, teams=["t"] * 501)


async def test_nobody_is_made_twice(office: Bureau) -> None:
    await office.post("/user/new", user_id="u", user_email="u@x.org")
    await office.post("/user/new", 400, user_id="u")
    await office.post("/user/new", 400, user_email="U@X.org")
    await office.post("/user/new", user_id="v", user_email="v@x.org")
    await office.post("/user/update", 400, user_id="v", user_email="U@x.org")
    await office.post("/user/update", user_id="v", user_email="V@x.org")
    await office.post("/user/delete", 404, user_ids=["u", "none"])
    assert (await office.get("/user/list"))["total"] == 2


async def test_of_many_at_once_one_gets_the_email(office: Bureau) -> None:
    emails = ["u@x.org", "U@x.org"] * 4
    found = await asyncio.gather(*(office.http.post("/user/new", json={"user_email": email}) for email in emails))
    assert sorted(response.status_code for response in found) == [200] + [400] * 7
    await office.post("/team/new", team_id="t")
    member = {"team_id": "t", "member": {"user_email": "v@x.org"}}
    found = await asyncio.gather(*(office.http.post("/team/member_add", json=member) for _ in range(8)))
    assert sorted(response.status_code for response in found) == [200] + [400] * 7
    assert (await office.get("/user/list"))["total"] == 2


async def test_an_update_makes_the_user_who_is_not_there(office: Bureau) -> None:
    made = await office.post("/user/update", user_email="new@x.org", max_budget=3)
    assert (made["data"]["user_email"], made["data"]["max_budget"]) == ("new@x.org", 3)
    assert (await office.post("/user/update", user_email="NEW@x.org", tpm_limit=1))["user_id"] == made["user_id"]
    assert (await office.post("/user/update", user_id="mine", tpm_limit=1))["user_id"] == "mine"
    await office.post("/user/update", 400, max_budget=3)


async def test_a_new_user_joins_teams_and_organizations(office: Bureau) -> None:
    await organization(office.pool, "o")
    await office.post("/team/new", team_id="s")
    await office.post("/team/new", team_id="t", team_member_budget=9)
    teams = [{"team_id": "t", "max_budget_in_team": 2, "user_role": "admin"}, {"team_id": "s"}]
    made = await office.post("/user/new", user_id="u", teams=teams, organizations=["o"])
    assert sorted(made["teams"]) == ["s", "t"]
    assert [place["organization_id"] for place in made["organization_memberships"]] == ["o"]
    found = await office.get("/team/info", team_id="t")
    assert found["team_info"]["admins"] == ["u"]
    assert found["team_memberships"][0]["litellm_budget_table"]["max_budget"] == 2
    made = await office.post("/user/new", user_id="v", teams=["t"])
    assert made["teams"] == ["t"]
    made = await office.post("/user/new", user_id="w", team_id="s", auto_create_key=True)
    assert made["teams"] == ["s"]
    keys = await tenants.matching(office.pool, tenants.KEYS, {"team_id": "s"})
    assert [row["user_id"] for row in keys] == ["w"]
    await office.post("/user/delete", user_ids=["u", "v", "w"])
    assert (await office.get("/team/info", team_id="t"))["team_memberships"] == []
    assert await tenants.matching(office.pool, tenants.ORGANIZATION_MEMBERS, {}) == []
    assert {"team:s", "team:t", "organization:o"} <= office.told[-1]


async def test_a_user_shows_what_he_has_spent_in_organizations_and_on_models(office: Bureau) -> None:
    await organization(office.pool, "o", max_budget=Decimal(5), budget_duration="30d")
    by_model = {"gpt": {"budget_limit": 3, "time_period": "1d"}}
    await office.post("/user/new", user_id="u", organizations=["o"], model_max_budget=by_model)
    await office.pool.execute("UPDATE organization_members SET budget_id = 'budget-of-o'")
    balances = "INSERT INTO balances (kind, id, scope, period, began, ends, spent) VALUES "
    window = "now() - interval '1 hour', now() + interval '1 hour'"
    await office.pool.execute(f"{balances} ('organization_member', 'o', 'u', '30d', {window}, 1.5)")
    await office.pool.execute(f"{balances} ('user_model', 'u', 'gpt', '1d', {window}, 0.25)")
    await office.pool.execute("INSERT INTO totals VALUES ('organization_member', 'o', 'u', 7)")
    user = (await office.get("/user/info", user_id="u"))["user_info"]
    (place,) = user["organization_memberships"]
    assert (place["spend"], place["litellm_budget_table"]["max_budget"]) == (1.5, 5)
    usage = {"gpt": {"current_spend": 0.25, "budget_limit": 3, "time_period": "1d"}}
    assert user["model_max_budget_usage"] == usage
    assert (await office.get("/v2/user/info", user_id="u"))["model_max_budget_usage"] == usage


async def test_new_users_have_the_configurations_defaults(pool: Pool) -> None:
    rules = UserRules(
        {"user_role": "internal_user", "models": ["gpt"], "rpm_limit": 3},
        teams=(Place("t", Decimal(2), "admin"), Place("gone")),
        internal_budget=Decimal(10),
        internal_budget_duration="30d",
    )
    async with tenancy(pool, for_users=rules) as office:
        await office.post("/team/new", team_id="t")
        made = await office.post("/user/new", auto_create_key=False, rpm_limit=4)
        assert made["key"] == ""
        assert (made["user_role"], made["models"], made["rpm_limit"]) == ("internal_user", ["gpt"], 4)
        assert (made["max_budget"], made["budget_duration"], made["teams"]) == (10, "30d", ["t"])
        made = await office.post("/user/new", user_role="proxy_admin", max_budget=5, teams=[])
        assert (made["models"], made["max_budget"], made["budget_duration"], made["teams"]) == ([], 5, None, [])
        changed = await office.post("/user/update", user_id=made["user_id"], user_role="internal_user", max_budget=6)
        assert (changed["data"]["max_budget"], changed["data"]["budget_duration"]) == (6, "30d")


async def test_several_users_change_at_once(office: Bureau) -> None:
    for user_id in ("a", "b"):
        await office.post("/user/new", user_id=user_id, user_email=f"{user_id}@x.org")
    changes = [{"user_id": "a", "max_budget": 1}, {"user_id": "b", "user_email": "a@x.org"}]
    found = await office.post("/user/bulk_update", users=changes)
    assert (found["total_requested"], found["successful_updates"], found["failed_updates"]) == (2, 1, 1)
    assert [result["success"] for result in found["results"]] == [True, False]
    assert found["results"][0]["updated_user"]["max_budget"] == 1
    assert "email" in found["results"][1]["error"]
    found = await office.post("/user/bulk_update", all_users=True, user_updates={"rpm_limit": 7})
    assert found["successful_updates"] == 2
    users = (await office.get("/user/list"))["users"]
    assert [(user["user_id"], user["rpm_limit"], user["key_count"]) for user in users] == [("b", 7, 1), ("a", 7, 1)]
    for body in ({}, {"all_users": True}, {"users": changes, "all_users": True}, {"users": [{"max_budget": 1}]}):
        await office.post("/user/bulk_update", 400, **body)


async def test_what_a_user_has_spent_can_be_set(office: Bureau) -> None:
    await office.post("/user/new", user_id="u", spend=3.5)
    assert (await office.get("/user/info", user_id="u"))["user_info"]["spend"] == 3.5
    changed = await office.post("/user/update", user_id="u", spend=0)
    assert (changed["data"]["spend"], changed["data"]["total_spend"]) == (0, 0)


async def test_lists_of_users(office: Bureau) -> None:
    await organization(office.pool, "o")
    await office.post("/team/new", team_id="t")
    for user_id, role, team in (
        ("a1", "internal_user", []),
        ("b_1", "proxy_admin", ["t"]),
        ("bx1", "internal_user", []),
    ):
        email = f"{user_id}@Example.org"
        await office.post(
            "/user/new", user_id=user_id, user_role=role, teams=team, user_email=email, sso_user_id=f"s{user_id}"
        )
    await belongs(office.pool, "o", "a1")
    await key(office.pool, "k", user_id="a1")
    await office.pool.execute("INSERT INTO totals VALUES ('user', 'b_1', '', 5), ('user', 'a1', '', 3)")

    async def page(**query: object) -> tuple[list[str], int, int]:
        found = await office.get("/user/list", **query)
        return [user["user_id"] for user in found["users"]], found["total"], found["total_pages"]

    assert await page() == (["bx1", "b_1", "a1"], 3, 1)
    assert await page(page_size=2, page=2) == (["a1"], 3, 2)
    assert await page(role="internal_user") == (["bx1", "a1"], 2, 1)
    assert await page(user_ids="B_") == (["b_1"], 1, 1), "a part of one id, and an underscore is no wildcard"
    assert await page(user_ids="a1,b") == (["a1"], 1, 1), "several are whole ids"
    assert await page(sso_user_ids="sa1, sbx1") == (["bx1", "a1"], 2, 1)
    assert await page(user_email="example") == (["bx1", "b_1", "a1"], 3, 1)
    assert await page(search="BX") == (["bx1"], 1, 1)
    assert await page(team="t") == (["b_1"], 1, 1)
    assert await page(organization_ids="o,p") == (["a1"], 1, 1)
    assert await page(sort_by="user_id") == (["a1", "b_1", "bx1"], 3, 1)
    assert await page(sort_by="user_email", sort_order="desc") == (["bx1", "b_1", "a1"], 3, 1)
    assert await page(sort_by="spend", sort_order="desc") == (["b_1", "a1", "bx1"], 3, 1)
    assert await page(sort_by="spend") == (["bx1", "a1", "b_1"], 3, 1)
    await office.get("/user/list", 400, sort_by="password")
    await office.get("/user/list", 400, page=0)
    counts = {user["user_id"]: user["key_count"] for user in (await office.get("/user/list"))["users"]}
    assert counts == {"a1": 2, "b_1": 1, "bx1": 1}


async def test_who_asks_for_nobody_gets_himself_and_an_admin_everything(office: Bureau) -> None:
    await office.post("/team/new", team_id="t")
    await office.post("/user/new", user_id="u", teams=["t"])
    await office.post("/user/new", user_id="v")
    everything = await office.get("/user/info")
    assert (everything["user_id"], everything["user_info"]) == ("default_user_id", None)
    assert (len(everything["keys"]), [team["team_id"] for team in everything["teams"]]) == (2, ["t"])
    office.access = person("u", teams=("t",))
    found = await office.get("/user/info")
    assert (found["user_id"], len(found["keys"]), [team["team_id"] for team in found["teams"]]) == ("u", 1, ["t"])
    office.access = person("nobody")
    await office.get("/user/info", 404)


async def test_a_plus_in_an_id_is_a_plus(office: Bureau) -> None:
    await office.post("/user/new", user_id="a+b@x.org", auto_create_key=False)
    found = await office.http.get("/user/info?user_id=a+b@x.org")
    assert found.json()["user_id"] == "a+b@x.org"
    office.access = person("a b@x.org")
    assert (await office.http.get("/user/info?user_id=a+b@x.org")).status_code == 403


async def test_the_roles_that_there_are(office: Bureau) -> None:
    found = await office.get("/user/available_roles")
    assert list(found) == ["proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"]
    assert all(set(role) == {"description", "ui_label"} for role in found.values())
