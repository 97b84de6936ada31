"""Who may do what with users, as a table; and that nobody gives himself a role, a budget or a limit."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.management.rules import UserRules
from ledger import tenants
from ledger.pool import Pool
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.management.tenancy import Table, belongs, hold, organization, person, tenancy
from tests.support.office import ADMIN, Bureau

# `u` is in the organization `o` and the team `t`, which is in none; `boss` too, and is a proxy admin; `w` is in `o` and
# `p`; `v` in `o` and its team `s`.
PEOPLE: dict[str, Access] = {
    "admin": ADMIN,
    "viewer": person("viewer", Role.VIEWER),
    "organization": person("org", organizations=("o",)),
    "elsewhere": person("els", organizations=("p",)),
    "lead": person("lead", admin_of=("t",)),
    "self": person("u", teams=("t",)),
    "self, viewing": person("u", Role.USER_VIEWER, teams=("t",)),
    "colleague": person("c", teams=("t",)),
    "team key": Access(caller=Caller(key_hash="k", team="t")),
}
EVERYBODY = set(PEOPLE)
SELF = {"self", "self, viewing"}
NEW = {"user_id": "n"}

TABLE: Table = [
    ("POST /user/new", NEW, {"admin"}),
    ("POST /user/new", {**NEW, "organizations": ["o"]}, {"admin", "organization"}),
    ("POST /user/new", {**NEW, "organizations": ["o"], "user_role": "internal_user"}, {"admin", "organization"}),
    ("POST /user/new", {**NEW, "organizations": ["o"], "user_role": "proxy_admin"}, {"admin"}),
    ("POST /user/new", {**NEW, "organizations": ["o"], "user_role": "proxy_admin_viewer"}, {"admin"}),
    ("POST /user/new", {**NEW, "organizations": ["o", "p"]}, {"admin"}),
    ("POST /user/new", {**NEW, "organizations": ["o"], "teams": ["t"]}, {"admin"}),
    ("POST /user/new", {**NEW, "organizations": ["o"], "team_id": "s"}, {"admin", "organization"}),
    ("POST /user/new", {**NEW, "organizations": ["o"], "spend": 1}, {"admin"}),
    ("POST /user/update", {"user_id": "u", "user_alias": "me"}, {"admin", *SELF}),
    ("POST /user/update", {"user_id": "u", "teams": ["s"]}, {"admin"}),
    ("POST /user/update", {"user_id": "u", "spend": 0}, {"admin"}),
    ("POST /user/update", {"user_id": "u", "password": "long enough for it"}, {"admin"}),
    ("POST /user/bulk_update", {"all_users": True, "user_updates": {"max_budget": 9}}, {"admin"}),
    ("POST /user/delete", {"user_ids": ["u"]}, {"admin"}),
    ("POST /user/delete", {"user_ids": ["v"]}, {"admin", "organization"}),
    ("POST /user/delete", {"user_ids": ["w"]}, {"admin"}),
    ("POST /user/delete", {"user_ids": ["boss"]}, {"admin"}),
    ("POST /user/delete", {"user_ids": ["alone"]}, {"admin"}),
    ("GET /user/info", {"user_id": "u"}, {"admin", "viewer", "organization", *SELF}),
    ("GET /user/list", {}, {"admin", "viewer", "organization", "elsewhere"}),
    ("GET /user/list", {"organization_ids": "o"}, {"admin", "viewer", "organization"}),
    ("GET /user/available_roles", {}, EVERYBODY),
]


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """Two organizations and their people."""
    async with tenancy(pool) as found:
        await organization(pool, "o")
        await organization(pool, "p")
        await found.post("/team/new", team_id="t")
        await found.post("/team/new", team_id="s", organization_id="o")
        for user_id, role, organizations, teams in (
            ("u", "internal_user", ["o"], ["t"]),
            ("boss", "proxy_admin", ["o"], ["t"]),
            ("w", "internal_user", ["o", "p"], []),
            ("v", "internal_user", ["o"], ["s"]),
            ("alone", "internal_user", [], []),
            ("lead", "internal_user", [], ["t"]),
        ):
            body = {"user_role": role, "organizations": organizations, "teams": teams, "max_budget": 5, "rpm_limit": 5}
            await found.post("/user/new", user_id=user_id, auto_create_key=False, **body)
        await belongs(pool, "o", "org", "org_admin")
        yield found


async def test_who_may_do_what(office: Bureau) -> None:
    await hold(office, TABLE, PEOPLE)


async def test_a_light_look_is_also_for_admins_of_the_users_teams(office: Bureau) -> None:
    for who, access in PEOPLE.items():
        office.access = access
        sees = who in {"admin", "viewer", "organization", "lead", *SELF}
        await office.get("/v2/user/info", 200 if sees else 404, user_id="u")
        await office.get("/v2/user/info", 404, user_id="none")


OWN: list[dict[str, Any]] = [
    {"user_role": "proxy_admin"},
    {"user_role": "internal_user_viewer"},
    {"user_role": None},
    {"max_budget": 6},
    {"max_budget": None},
    {"max_budget": 4},
    {"soft_budget": 1},
    {"budget_duration": "1s"},
    {"model_max_budget": {"gpt": 1}},
    {"rpm_limit": None},
    {"tpm_limit": 1},
    {"tpd_limit": 1},
    {"max_parallel_requests": 1},
    {"models": ["gpt"]},
    {"spend": 0},
    {"user_email": "boss@x.org"},
    {"sso_user_id": "boss"},
    {"metadata": {"model_rpm_limit": {"gpt": 9}}},
    {"model_rpm_limit": {"gpt": 9}},
    {"object_permission": {}},
    {"budget_limits": [{"budget_duration": "1d", "max_budget": 9}]},
    {"temp_budget_increase": 9},
    {"teams": ["s"]},
]


async def test_nobody_raises_his_own_role_or_budget(office: Bureau) -> None:
    before = await tenants.find(office.pool, tenants.USERS, "u")
    for role in (Role.USER, Role.USER_VIEWER, Role.VIEWER, Role.ORG_ADMIN):
        office.access = person("u", role, teams=("t",), admin_of=("t",), organizations=("o", "p"))
        for body in OWN:
            response = await office.http.post("/user/update", json={"user_id": "u", "user_alias": "x", **body})
            assert response.status_code == 403, (role, body)
        found = await office.post("/user/bulk_update", users=[{"user_id": "u", **body} for body in OWN])
        assert (found["successful_updates"], found["failed_updates"]) == (0, len(OWN))
    assert await tenants.find(office.pool, tenants.USERS, "u") == before
    assert await tenants.matching(office.pool, tenants.TEAM_MEMBERS, {"user_id": "u", "team_id": "s"}) == []


async def test_only_a_proxy_admin_changes_other_users(office: Bureau) -> None:
    for who in sorted(EVERYBODY - SELF - {"admin"}):
        office.access = PEOPLE[who]
        for body in ({"user_alias": "x"}, *OWN):
            response = await office.http.post("/user/update", json={"user_id": "u", **body})
            assert response.status_code == 403, (who, body)


async def test_what_is_sent_back_unchanged_is_no_change(office: Bureau) -> None:
    office.access = PEOPLE["self"]
    sent = {"user_role": "internal_user", "max_budget": 5, "rpm_limit": 5, "models": [], "metadata": {}}
    changed = await office.post("/user/update", user_id="u", user_alias="me", **sent)
    assert changed["data"]["user_alias"] == "me"


async def test_who_is_not_there_is_not_made_by_others(office: Bureau) -> None:
    for who in sorted(EVERYBODY - {"admin"}):
        office.access = PEOPLE[who]
        await office.post("/user/update", 404, user_id="none", user_alias="x")
        await office.post("/user/update", 404, user_email="none@x.org")
        status = 404 if PEOPLE[who].admin_of_organizations else 403
        await office.post("/user/delete", status, user_ids=["none"])
    office.access = ADMIN
    assert (await office.get("/user/list"))["total"] == 6


async def test_an_organizations_admin_lists_its_users_only(office: Bureau) -> None:
    office.access = PEOPLE["elsewhere"]
    assert [user["user_id"] for user in (await office.get("/user/list"))["users"]] == ["w"]
    office.access = PEOPLE["organization"]
    found = (await office.get("/user/list", organization_ids="o,p"))["users"]
    assert {user["user_id"] for user in found} == {"u", "v", "w", "boss"}
    await office.get("/user/list", 403, organization_ids="p")


async def test_a_user_whom_an_organizations_admin_makes_is_its_own(pool: Pool) -> None:
    async with tenancy(pool, for_users=UserRules({"user_role": "proxy_admin"})) as office:
        await organization(pool, "o")
        office.access = PEOPLE["organization"]
        made = await office.post("/user/new", user_id="n", organizations=["o"])
        assert made["user_role"] == "internal_user_viewer", "defaults make nobody an admin whom no admin makes"
        keys = await tenants.matching(pool, tenants.KEYS, {"user_id": "n"})
        assert [row["organization_id"] for row in keys] == ["o"], "so that its budget bounds the key"
        office.access = ADMIN
        made = await office.post("/user/new", user_id="m", organizations=["o"])
        assert made["user_role"] == "proxy_admin"
        await office.post("/team/new", team_id="t", organization_id="o")
        office.access = PEOPLE["organization"]
        joined = await office.post("/team/member_add", team_id="t", member={"user_email": "x@x.org"})
        assert joined["updated_users"][0]["user_role"] == "internal_user_viewer"


async def test_a_user_sees_no_more_of_teams_than_he_may(office: Bureau) -> None:
    office.access = PEOPLE["organization"]
    found = await office.get("/user/info", user_id="u")
    assert found["teams"] == [
        {
            "team_id": "t",
            "team_alias": None,
            "members_with_roles": [{"user_id": "u", "user_email": None, "user_alias": None, "role": "user"}],
        }
    ]
