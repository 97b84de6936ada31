"""Who may do what with teams, as a table; and that nobody gives himself more than he has."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.management.rules import TeamRules
from ledger import tenants
from ledger.pool import Pool
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.management.tenancy import Table, belongs, hold, key, organization, person, tenancy
from tests.support.office import ADMIN, Bureau

# Of the team `t`, which is in the organization `o`; beside it there are the team `s` and the organization `p`.
PEOPLE: dict[str, Access] = {
    "admin": ADMIN,
    "viewer": person("viewer", Role.VIEWER),
    "organization": person("org", organizations=("o",)),
    "elsewhere": person("els", organizations=("p",)),
    "lead": person("lead", admin_of=("t",)),
    "other lead": person("olead", admin_of=("s",)),
    "member": person("m", teams=("t",)),
    "stranger": person("x"),
    "team key": Access(caller=Caller(key_hash="k", team="t")),
    "lone key": Access(caller=Caller(key_hash="l")),
}
EVERYBODY = set(PEOPLE)
MANAGERS = {"admin", "organization", "lead"}
READERS = {*MANAGERS, "viewer", "member", "team key"}
MEMBER = {"user_id": "new@x", "role": "user"}

TABLE: Table = [
    ("POST /team/new", {"team_id": "n"}, {"admin"}),
    ("POST /team/new", {"team_id": "n", "organization_id": "o"}, {"admin", "organization"}),
    ("POST /team/update", {"team_id": "t", "team_alias": "new"}, {"admin", "organization"}),
    ("POST /team/update", {"team_id": "t", "models": ["gpt"]}, {"admin", "organization"}),
    ("POST /team/update", {"team_id": "t", "max_budget": 1}, {"admin", "organization"}),
    ("POST /team/update", {"team_id": "t", "metadata": {"a": 1}}, {"admin", "organization"}),
    ("POST /team/update", {"team_id": "t", "color": "red"}, {"admin", "organization"}),
    ("POST /team/update", {"team_id": "t", "team_member_budget": 99}, {"admin", "organization"}),
    ("POST /team/update", {"team_id": "t", "organization_id": ""}, {"admin"}),
    ("POST /team/update", {"team_id": "t", "organization_id": "p"}, {"admin"}),
    ("POST /team/update", {"team_id": "t", "blocked": True}, {"admin", "organization"}),
    ("POST /team/update", {"team_id": "t"}, MANAGERS),
    ("POST /team/block", {"team_id": "t"}, {"admin", "organization"}),
    ("POST /team/unblock", {"team_id": "t"}, {"admin", "organization"}),
    ("POST /team/delete", {"team_ids": ["t"]}, {"admin", "organization"}),
    ("POST /team/delete", {"team_ids": ["t", "s"]}, {"admin"}),
    ("POST /team/member_add", {"team_id": "t", "member": {"user_email": "n@x.org", "role": "user"}}, MANAGERS),
    ("POST /team/member_add", {"team_id": "t", "member": {"user_id": "known"}, "max_budget_in_team": 5}, MANAGERS),
    ("POST /team/member_add", {"team_id": "t", "member": MEMBER}, {"admin"}),
    ("POST /team/bulk_member_add", {"team_id": "t", "members": [{"user_id": "known"}]}, MANAGERS),
    ("POST /team/bulk_member_add", {"team_id": "t", "all_users": True}, {"admin"}),
    ("POST /team/member_update", {"team_id": "t", "user_id": "m", "max_budget_in_team": 5}, MANAGERS),
    ("POST /team/member_update", {"team_id": "t", "user_id": "m", "role": "admin"}, MANAGERS),
    ("POST /team/member_delete", {"team_id": "t", "user_id": "m"}, MANAGERS),
    ("POST /team/model/add", {"team_id": "t", "models": ["claude"]}, {"admin", "organization"}),
    ("POST /team/model/delete", {"team_id": "t", "models": ["gpt"]}, {"admin", "organization"}),
    ("POST /team/permissions_update", {"team_id": "t", "team_member_permissions": ["/key/generate"]}, MANAGERS),
    ("POST /team/t/callback", {"callback_name": "langfuse", "callback_vars": {"langfuse_host": "h"}}, MANAGERS),
    ("POST /team/t/disable_logging", {}, MANAGERS),
    ("GET /team/t/callback", {}, MANAGERS),
    ("POST /team/t/member/m/reset_spend", {"reset_to": 0}, MANAGERS),
    ("POST /team/t/member/lead/reset_spend", {"reset_to": 0}, {"admin", "organization"}),
    ("POST /team/t/member/m/reset_budget", {}, MANAGERS),
    ("POST /team/t/member/lead/reset_budget", {}, {"admin", "organization"}),
    ("POST /team/permissions_bulk_update", {"permissions": [], "apply_to_all_teams": True}, {"admin"}),
    ("GET /team/info", {"team_id": "t"}, READERS),
    ("GET /team/permissions_list", {"team_id": "t"}, {*MANAGERS, "viewer"}),
    ("GET /team/list", {}, EVERYBODY),
    ("GET /team/list", {"user_id": "m"}, {"admin", "viewer", "organization", "elsewhere", "member"}),
    ("GET /v2/team/list", {}, EVERYBODY),
    ("GET /v2/team/list", {"user_id": "m"}, {"admin", "viewer", "organization", "elsewhere", "member"}),
    ("GET /team/available", {}, EVERYBODY),
]


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """Two organizations with a team each, and their people."""
    async with tenancy(pool) as found:
        await organization(pool, "o", models=("gpt", "claude"), max_budget=100)
        await organization(pool, "p")
        for user_id in ("lead", "m", "org", "olead", "known", "x"):
            await found.post("/user/new", user_id=user_id, auto_create_key=False)
        people = [{"user_id": "lead", "role": "admin"}, {"user_id": "m"}]
        await found.post("/team/new", team_id="t", organization_id="o", members_with_roles=people, max_budget=10)
        await found.post("/team/new", team_id="s", organization_id="p", admins=["olead"])
        found.told.clear()
        yield found


async def test_who_may_do_what(office: Bureau) -> None:
    await hold(office, TABLE, PEOPLE)


async def test_a_team_that_is_not_there_looks_like_one_of_others(office: Bureau) -> None:
    for who in sorted(EVERYBODY - {"admin", "elsewhere", "other lead"}):
        office.access = PEOPLE[who]
        for path in ("/team/update", "/team/block", "/team/member_delete"):
            there = await office.post(path, 403, team_id="s", user_id="olead")
            absent = await office.post(path, 403, team_id="none", user_id="olead")
            assert there["error"]["message"].replace("'s'", "'none'") == absent["error"]["message"]


async def test_everybody_sees_his_own_teams_in_lists(office: Bureau) -> None:
    expected = {
        "admin": {"s", "t"},
        "viewer": {"s", "t"},
        "organization": {"t"},
        "elsewhere": {"s"},
        "lead": {"t"},
        "other lead": {"s"},
        "member": {"t"},
        "stranger": set(),
        "team key": {"t"},
        "lone key": set(),
    }
    assert expected.keys() == PEOPLE.keys()
    for who, teams in expected.items():
        office.access = PEOPLE[who]
        assert {team["team_id"] for team in await office.get("/team/list")} == teams, who
        assert {team["team_id"] for team in (await office.get("/v2/team/list"))["teams"]} == teams, who
        found = (await office.get("/v2/team/list", organization_id="p"))["teams"]
        assert {team["team_id"] for team in found} == teams & {"s"}, who


async def test_a_member_sees_his_own_keys_and_place_and_nobody_elses(office: Bureau) -> None:
    for key_id, user_id in (("k", None), ("of m", "m"), ("of lead", "lead")):
        await key(office.pool, key_id, team_id="t", user_id=user_id)
    expected = {
        "lead": ({"k", "of m", "of lead"}, {"m", "lead"}),
        "viewer": ({"k", "of m", "of lead"}, {"m", "lead"}),
        "member": ({"of m"}, {"m"}),
        "team key": ({"k"}, set()),
    }
    for who, (keys, places) in expected.items():
        office.access = PEOPLE[who]
        found = await office.get("/team/info", team_id="t")
        assert {row["token"] for row in found["keys"]} == keys, who
        assert {place["user_id"] for place in found["team_memberships"]} == places, who
    office.access = PEOPLE["member"]
    assert (await office.get("/team/t/members/me"))["role"] == "user"
    assert [team["keys"] for team in await office.get("/team/list")] == [[]]
    office.access = PEOPLE["stranger"]
    await office.get("/team/t/members/me", 404)
    office.access = PEOPLE["team key"]
    await office.get("/team/t/members/me", 400)


OWN: list[dict[str, Any]] = [
    {"max_budget_in_team": 1000},
    {"max_budget_in_team": None},
    {"rpm_limit": 1000},
    {"tpm_limit": None},
    {"budget_duration": "1s"},
    {"allowed_models": []},
]


async def test_nobody_gives_himself_another_budget(office: Bureau) -> None:
    await office.post("/team/member_add", team_id="t", member={"user_id": "org"}, max_budget_in_team=1)
    await office.post("/team/member_update", team_id="t", user_id="lead", max_budget_in_team=1, rpm_limit=1)
    before = await tenants.matching(office.pool, tenants.BUDGETS, {})
    for who, user_id in (("lead", "lead"), ("organization", "org")):
        office.access = PEOPLE[who]
        for terms in OWN:
            await office.post("/team/member_update", 403, team_id="t", user_id=user_id, **terms)
        await office.post("/team/member_delete", 403, team_id="t", user_id=user_id)  # to come back without one
    assert await tenants.matching(office.pool, tenants.BUDGETS, {}) == before


async def test_nobody_gives_himself_another_role(office: Bureau) -> None:
    office.access = PEOPLE["organization"]
    me = {"user_id": "org", "role": "admin"}
    await office.post("/team/member_add", 403, team_id="t", member=me)
    await office.post("/team/member_add", 403, team_id="t", member={**me, "role": "user"}, max_budget_in_team=9)
    await office.post("/team/member_add", team_id="t", member={**me, "role": "user"})
    await office.post("/team/member_update", 403, team_id="t", user_id="org", role="admin")
    office.access = PEOPLE["lead"]
    await office.post("/team/member_update", team_id="t", user_id="lead", role="admin")
    await office.post("/team/member_update", team_id="t", user_id="lead", role="user")


async def test_a_teams_admin_lowers_what_the_settings_let_him_and_raises_nothing(pool: Pool) -> None:
    rules = TeamRules(adds_admin=False, editable=frozenset({"max_budget", "rpm_limit"}))
    async with tenancy(pool, for_teams=rules) as office:
        await office.post("/team/new", team_id="t", max_budget=10, rpm_limit=5)
        await office.post("/team/new", team_id="free")
        office.access = person("lead", admin_of=("t", "free"))
        update = "/team/update"
        await office.post(update, 403, team_id="t", max_budget=11)
        await office.post(update, 403, team_id="t", max_budget=None)
        await office.post(update, 403, team_id="t", rpm_limit=6)
        await office.post(update, 403, team_id="t", rpm_limit=4, tpm_limit=4)
        await office.post(update, team_id="t", max_budget=10, rpm_limit=4, tpm_limit=None, models=[])
        await office.post(update, team_id="free", max_budget=3)
        await office.post(update, 403, team_id="free", max_budget=4)
        found = await office.get("/team/info", team_id="t")
        assert (found["team_info"]["max_budget"], found["team_info"]["rpm_limit"]) == (10, 4)
        fields = {"kind": "team_admin", "editable_fields": ["max_budget", "rpm_limit"]}
        assert found["team_info"]["caller_edit_access"] == fields


async def test_an_organizations_admin_moves_teams_among_his_own(office: Bureau) -> None:
    await organization(office.pool, "q")
    office.access = person("org", organizations=("o", "q"))
    await office.post("/team/update", 403, team_id="t", organization_id="q")
    for user_id in ("lead", "m"):
        await belongs(office.pool, "q", user_id)
    moved = await office.post("/team/update", team_id="t", organization_id="q")
    assert moved["data"]["organization_id"] == "q"
