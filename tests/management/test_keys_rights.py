"""Who may do what with whose key: a table of callers, keys and calls, and the ways by which one could gain more."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ledger import tenants
from ledger.pool import Pool
from schemas.access import Access, Role
from tests.support.keys import KeyBureau, add, add_team, key_bureau, someone
from tests.support.office import ADMIN

ALL = ["/key/generate", "/key/update", "/key/delete", "/key/regenerate", "/key/service-account/generate", "/key/list"]
CALLERS: dict[str, Access] = {
    "admin": ADMIN,
    "viewer": someone("v", role=Role.VIEWER),
    "owner": someone("u", teams=frozenset({"plain", "open"})),
    "owner who views": someone("u", role=Role.USER_VIEWER, teams=frozenset({"plain", "open"})),
    "team admin": someone("a", teams=frozenset({"plain", "open"}), admin_of_teams=frozenset({"plain", "open"})),
    "member": someone("m", teams=frozenset({"plain", "open"})),
    "organization admin": someone("o", role=Role.ORG_ADMIN, admin_of_organizations=frozenset({"org"})),
    "stranger": someone("s"),
    "other organization admin": someone("o2", role=Role.ORG_ADMIN, admin_of_organizations=frozenset({"other"})),
    "key without user": someone("", role=Role.NONE, team="plain"),
}
READERS = {"admin", "viewer", "owner", "owner who views", "team admin", "member", "organization admin"}
CHIEFS = {"admin", "team admin", "organization admin"}
# key -> call -> who may
TABLE: dict[str, dict[str, set[str]]] = {
    "own": {  # of user u, in no team
        "info": {"admin", "viewer", "owner", "owner who views"},
        "update": {"admin", "owner"},
        "budget": {"admin"},
        "regenerate": {"admin", "owner"},
        "block": {"admin"},
        "spend": {"admin"},
        "delete": {"admin", "owner"},
    },
    "plain": {  # of user u, in a team that grants its members nothing
        "info": READERS | {"key without user"},
        "update": CHIEFS,
        "budget": CHIEFS,
        "regenerate": CHIEFS,
        "block": CHIEFS,
        "spend": CHIEFS,
        "delete": CHIEFS | {"owner"},
    },
    "open": {  # of user u, in a team that grants its members everything
        "info": READERS,
        "update": CHIEFS | {"owner"},
        "budget": CHIEFS,
        "regenerate": CHIEFS | {"owner"},
        "block": CHIEFS,
        "spend": CHIEFS,
        "delete": CHIEFS | {"owner"},
    },
    "service": {  # of no user, in the open team
        "info": READERS,
        "update": CHIEFS | {"owner", "member"},
        "budget": CHIEFS,
        "regenerate": CHIEFS | {"owner", "member"},
        "block": CHIEFS,
        "spend": CHIEFS,
        "delete": CHIEFS | {"owner", "member"},
    },
    "organization": {  # of user x, in no team, of the organization
        "info": {"admin", "viewer", "organization admin"},
        "update": {"admin", "organization admin"},
        "budget": {"admin", "organization admin"},
        "regenerate": {"admin", "organization admin"},
        "block": {"admin", "organization admin"},
        "spend": {"admin", "organization admin"},
        "delete": {"admin", "organization admin"},
    },
}
MADE: dict[str, dict[str, Any]] = {
    "own": {"user_id": "u"},
    "plain": {"user_id": "u", "team_id": "plain"},
    "open": {"user_id": "u", "team_id": "open"},
    "service": {"team_id": "open", "metadata": {"service_account_id": "s"}},
    "organization": {"user_id": "x", "organization_id": "org"},
}


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[KeyBureau]:
    async with key_bureau(pool) as found:
        await add(pool, tenants.ORGANIZATIONS, organization_id="org")
        await add(pool, tenants.ORGANIZATIONS, organization_id="other")
        await add_team(pool, "plain", "u", "m", admins=("a",), organization_id="org")
        open_to_all = {"team_member_permissions": ALL}
        await add_team(pool, "open", "u", "m", admins=("a",), organization_id="org", extra=open_to_all)
        yield found


async def call(office: KeyBureau, name: str, key: str) -> int:
    """The status of a call about a key."""
    if name == "info":
        return (await office.http.get("/key/info", params={"key": key})).status_code
    path, body = {
        "update": ("/key/update", {"key": key, "models": ["m"]}),
        "budget": ("/key/update", {"key": key, "max_budget": 9}),
        "regenerate": ("/key/regenerate", {"key": key}),
        "block": ("/key/block", {"key": key}),
        "spend": (f"/key/{key}/reset_spend", {"reset_to": 0}),
        "delete": ("/key/delete", {"keys": [key]}),
    }[name]
    return (await office.http.post(path, json=body)).status_code


@pytest.mark.parametrize("who", CALLERS)
async def test_who_may_do_what(office: KeyBureau, who: str) -> None:
    for kind, calls in TABLE.items():
        for name, allowed in calls.items():
            made = await office.generate(**MADE[kind])
            office.access = CALLERS[who]
            status = await call(office, name, made["token"])
            assert status == (200 if who in allowed else 403), f"{who}: {name} of {kind}: {status}"
            office.access = ADMIN


@pytest.mark.parametrize(
    ("who", "body", "status"),
    [
        ("admin", {"user_id": "anybody"}, 200),
        ("viewer", {}, 403),
        ("owner", {}, 200),
        ("owner", {"user_id": "u"}, 200),
        ("owner", {"user_id": "x"}, 403),
        ("owner", {"team_id": "plain"}, 403),
        ("owner", {"team_id": "open"}, 200),
        ("owner", {"team_id": "none"}, 400),
        ("owner", {"organization_id": "other"}, 403),
        ("owner who views", {}, 403),
        ("team admin", {"team_id": "plain"}, 200),
        ("team admin", {"team_id": "plain", "user_id": "u"}, 403),
        ("organization admin", {"team_id": "plain"}, 200),
        ("organization admin", {"organization_id": "org"}, 200),
        ("organization admin", {"organization_id": "other"}, 403),
        ("stranger", {"team_id": "open"}, 403),
        ("other organization admin", {"team_id": "open"}, 403),
        ("key without user", {}, 403),
        ("key without user", {"team_id": "plain"}, 403),
    ],
)
async def test_who_generates_what(office: KeyBureau, who: str, body: dict[str, Any], status: int) -> None:
    office.access = CALLERS[who]
    made = await office.post("/key/generate", status, **body)
    if status == 200 and who != "admin":
        assert made["user_id"] == office.access.caller.user


async def test_a_service_key_makes_keys_for_its_team_as_a_member_may(office: KeyBureau) -> None:
    for team, status in (("open", 200), ("plain", 403)):
        robot = await office.generate(team_id=team, metadata={"service_account_id": "r"})
        office.access = someone("", key=robot["token"], team=team, role=Role.NONE)
        await office.post("/key/generate", status, team_id=team)
        await office.post("/key/service-account/generate", status, team_id=team)
        await office.post("/key/generate", 403, team_id="plain" if team == "open" else "open")
        await office.post("/key/generate", 403)
        assert (await office.get("/key/info"))["info"]["token"] == robot["token"]


@pytest.mark.parametrize(
    "fields",
    [
        {"allowed_routes": ["/key/generate"]},
        {"allowed_routes": ["management_routes"]},
        {"key_type": "management"},
        {"permissions": {"x": True}},
        {"throttle_on_budget_exceeded": True},
        {"metadata": {"throttle_on_budget_exceeded": True}},
        {"disable_global_guardrails": True},
        {"metadata": {"disable_global_guardrails": True}},
        {"allowed_passthrough_routes": ["/x"]},
        {"end_user_budget_id": "b"},
        {"default_estimated_output_tokens": 1},
        {"access_group_ids": ["g"]},
    ],
)
@pytest.mark.parametrize("path", ["/key/generate", "/key/update", "/key/regenerate"])
async def test_what_only_a_proxy_admin_sets(office: KeyBureau, path: str, fields: dict[str, Any]) -> None:
    made = await office.generate(user_id="u")
    office.access = CALLERS["owner"]
    named = {} if path == "/key/generate" else {"key": made["key"]}
    await office.post(path, 403, **named, **fields)
    office.access = ADMIN
    await office.post(path, **named, **fields)


async def test_what_an_admin_has_set_stays_when_the_owner_changes_the_rest(office: KeyBureau) -> None:
    made = await office.generate(user_id="u", throttle_on_budget_exceeded=True, allowed_routes=["/v1/models"])
    office.access = CALLERS["owner"]
    changed = await office.post("/key/update", key=made["key"], metadata={"a": 1})
    assert changed["metadata"] == {"a": 1, "throttle_on_budget_exceeded": True}
    await office.post("/key/update", 403, key=made["key"], metadata={"throttle_on_budget_exceeded": False})
    await office.post("/key/update", 403, key=made["key"], allowed_routes=[])
    await office.post("/key/update", 403, key=made["key"], key_type="llm_api")
    await office.post("/key/update", key=made["key"], allowed_routes=["/v1/models"])


async def test_an_owner_chooses_a_preset_and_stays_with_it(office: KeyBureau) -> None:
    office.access = CALLERS["owner"]
    for preset, other in (("llm_api", "info_routes"), ("read_only", "llm_api_routes")):
        made = await office.post("/key/generate")
        await office.post("/key/update", key=made["key"], key_type=preset)
        await office.post("/key/update", 403, key=made["key"], allowed_routes=[other])
        await office.post("/key/update", 403, key=made["key"], allowed_routes=[])
        await office.post("/key/update", 403, key=made["key"], key_type="default")


@pytest.mark.parametrize(
    "fields",
    [
        {"spend": 0},
        {"max_budget": None},
        {"budget_duration": "1s"},
        {"soft_budget": 1},
        {"budget_limits": []},
        {"budget_id": None},
        {"model_max_budget": {}},
        {"temp_budget_increase": 5, "temp_budget_expiry": "2030-01-01T00:00:00Z"},
        {"metadata": {"temp_budget_increase": 5}},
        {"user_id": None},
        {"user_id": "x"},
    ],
)
@pytest.mark.parametrize("path", ["/key/update", "/key/regenerate"])
async def test_what_an_owner_does_not_change(office: KeyBureau, path: str, fields: dict[str, Any]) -> None:
    await add(office.pool, tenants.BUDGETS, budget_id="b")
    limits = [{"budget_duration": "1h", "max_budget": 2}]
    made = await office.generate(
        user_id="u", max_budget=5, budget_id="b", budget_limits=limits, model_max_budget={"m": 1}
    )
    office.access = CALLERS["owner"]
    await office.post(path, 403, key=made["key"], **fields)
    await office.post(path, key=made["token"], max_budget=5, models=["m"], user_id="u")


class TestStrongerUsers:
    """Whoever administers a team does not become somebody stronger through the secret of that user's key."""

    async def regenerate(self, office: KeyBureau, status: int) -> None:
        made = await office.generate(user_id="u", team_id="plain")
        office.access = CALLERS["team admin"]
        await office.post("/key/regenerate", status, key=made["token"])
        await office.post("/key/update", key=made["token"], models=["m"])
        office.access = ADMIN

    async def test_by_role(self, office: KeyBureau) -> None:
        await add(office.pool, tenants.USERS, user_id="u", user_role="internal_user")
        await self.regenerate(office, 200)
        await office.pool.execute("UPDATE users SET user_role = 'proxy_admin'")
        await self.regenerate(office, 403)

    async def test_by_another_team(self, office: KeyBureau) -> None:
        await add_team(office.pool, "elsewhere", admins=("u",))
        await self.regenerate(office, 403)

    async def test_by_an_organization(self, office: KeyBureau) -> None:
        member = {"organization_id": "other", "user_id": "u", "user_role": "org_admin"}
        await add(office.pool, tenants.ORGANIZATION_MEMBERS, **member)
        await self.regenerate(office, 403)


class TestTeams:
    """Into a team goes a key whose models and user the team has; out of it only by its admin."""

    async def test_a_key_moves(self, office: KeyBureau) -> None:
        await add_team(office.pool, "small", "u", models=["m", "n/*"], rpm_limit=5)
        made = await office.generate(user_id="u", models=["m", "n/1", "all-team-models"], rpm_limit=5)
        assert (await office.post("/key/update", key=made["key"], team_id="small"))["team_id"] == "small"
        assert (await office.post("/key/update", key=made["key"], team_id=""))["team_id"] == "small"
        await office.post("/key/update", 400, key=made["key"], team_id="none")
        for wrong in ({"models": ["x"]}, {"rpm_limit": 6}, {"user_id": "stranger"}):
            made = await office.generate(**{"user_id": "u", "models": ["m"], **wrong})
            await office.post("/key/update", 403, key=made["key"], team_id="small")

    async def test_its_owner_moves_it_where_he_may_make_keys(self, office: KeyBureau) -> None:
        made = await office.generate(user_id="u")
        office.access = CALLERS["owner"]
        await office.post("/key/update", 403, key=made["key"], team_id="plain")
        await office.post("/key/update", key=made["key"], team_id="open")
        await office.post("/key/update", 403, key=made["key"], team_id=None)
        office.access = CALLERS["team admin"]
        assert (await office.post("/key/update", key=made["key"], team_id=None))["team_id"] is None

    async def test_models_of_a_team_key_are_the_teams(self, office: KeyBureau) -> None:
        await add_team(office.pool, "small", admins=("a",), models=["m"])
        office.access = someone("a", admin_of_teams=frozenset({"small"}))
        await office.post("/key/generate", 403, team_id="small", models=["x"])
        made = await office.post("/key/generate", team_id="small", models=["m"])
        await office.post("/key/update", 403, key=made["key"], models=["x"])

    async def test_access_groups_are_for_members_whose_team_grants_them(self, office: KeyBureau) -> None:
        office.access = CALLERS["member"]
        await office.post("/key/generate", 403, team_id="open", access_group_ids=["g"])
        granted = {"team_member_permissions": ["/key/generate", "/key/access_group_assignment"]}
        await add_team(office.pool, "granting", "m", extra=granted)
        office.access = someone("m", teams=frozenset({"granting"}))
        await office.post("/key/generate", team_id="granting", access_group_ids=["g"])


async def test_of_several_keys_none_is_deleted_when_one_may_not_be(office: KeyBureau) -> None:
    mine, other = await office.generate(user_id="u"), await office.generate(user_id="x")
    office.access = CALLERS["owner"]
    await office.post("/key/delete", 403, keys=[mine["key"], other["key"]])
    office.access = ADMIN
    assert (await office.get("/key/list"))["total_count"] == 2


async def test_only_a_proxy_admin_changes_keys_in_bulk(office: KeyBureau) -> None:
    made = await office.generate(user_id="u")
    office.access = CALLERS["owner"]
    await office.post("/key/bulk_update", 403, keys=[{"key": made["key"], "models": ["m"]}])


async def test_several_keys_are_told_of_to_who_may_see_them(office: KeyBureau) -> None:
    mine, other = await office.generate(user_id="u", key_alias="mine"), await office.generate(user_id="x")
    office.access = CALLERS["owner"]
    said = await office.post("/v2/key/info", keys=[mine["key"], other["token"]], key_aliases=["mine"])
    assert said["key"] == [mine["key"], other["token"]]
    assert [one["token"] for one in said["info"]] == [mine["token"]]
