"""Ways by which somebody could gain more than his role gives him over the management API; each is refused."""

import itertools
from typing import Any

import pytest

from api.management.rights import Rights
from ledger import tenants
from ledger.pool import Pool
from schemas.access import Access, Role
from schemas.failures import Refused
from schemas.usage import Caller
from tests.management.tenancy import person, tenancy
from tests.support.keys import add, add_team, key_bureau, someone

OWNER = someone("u", teams=frozenset({"t"}))
HOSTILE = "x'; DROP TABLE virtual_keys; --"

# --- the door: role and path ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/budget/new",
        "/budget/new/",
        "//budget/new",
        "/budget//new",
        "/Budget/New",
        "/budget/new\0",
        "/budget/new?x",
        "/key/../budget/new",
        "/key/info/../../budget/new",
        "/v1/../budget/new",
        "/budget/new;/key/info",
        "/nowhere",
        "",
    ],
)
def test_no_way_of_writing_a_path_leads_past_the_table(path: str) -> None:
    with pytest.raises(Refused):
        Rights().check(OWNER, "POST", path)


@pytest.mark.parametrize("preset", ["management_routes", "llm_api_routes", "info_routes", "org_admin_allowed_routes"])
@pytest.mark.parametrize("path", ["/user/new", "/model/new", "/budget/new", "/global/spend/reset", "/audit"])
def test_the_name_of_a_group_of_routes_grants_none(preset: str, path: str) -> None:
    holder = someone("u", routes=(preset, "self_managed_routes", "spend_tracking_routes"))
    with pytest.raises(Refused):
        Rights().check(holder, "POST", path)


@pytest.mark.parametrize("path", ["/user/new", "/team/update", "/budget/new", "/model/new", "/spend/keys", "/audit"])
def test_a_team_grants_its_members_no_more_than_what_is_about_keys(path: str) -> None:
    member = Access(caller=Caller(key_hash="k", team="t"), member_rights=frozenset({path}))
    if path == "/team/update":  # everybody passes here, and is judged by the team
        Rights().check(member, "POST", path)
        return
    with pytest.raises(Refused):
        Rights().check(member, "POST", path)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.USER_VIEWER, Role.CUSTOMER])
def test_who_only_views_is_granted_no_change(role: Role) -> None:
    viewer = someone("v", role=role, member_rights=frozenset({"/key/generate", "/key/update"}))
    for path in ("/key/generate", "/key/update"):
        with pytest.raises(Refused):
            Rights().check(viewer, "POST", path)


# --- keys -------------------------------------------------------------------------------------------------------------


SMUGGLED: list[dict[str, Any]] = [
    {"created_by": "default_user_id"},
    {"key_id": "0" * 64},
    {"key_name": "sk-...XXXX"},
    {"service": True},
    {"rotation_count": 99},
    {"expires": "2999-01-01T00:00:00Z"},
    {"extra": {"project_id": "p"}},
    {"token": "0" * 64},
]


async def test_a_field_that_is_ours_is_not_taken_from_a_body(pool: Pool) -> None:
    async with key_bureau(pool) as office:
        office.access = OWNER
        for smuggled in SMUGGLED:
            made = await office.post("/key/generate", **smuggled)
            row = await office.row(office.hash(made["key"]))
            assert row["created_by"] == "u"
            assert (row["service"], row["rotation_count"], row["expires"], row["extra"]) == (False, 0, None, {})
            assert row["key_name"] == f"sk-...{made['key'][-4:]}"


LIMITS = ("max_budget", "soft_budget", "rpm_limit", "tpm_limit", "tpd_limit", "max_parallel_requests")
NUMBERS = ("NaN", "Infinity", "-Infinity", "-1", "1e400", "true", '"nan"', '"-inf"', "1e16")


async def test_no_budget_and_no_limit_is_a_number_that_never_binds(pool: Pool) -> None:
    async with key_bureau(pool) as office:
        made = await office.post("/key/generate", user_id="u")
        office.access = OWNER
        taken = []
        for field, number in itertools.product(LIMITS, NUMBERS):
            for path, more in (("/key/generate", ""), ("/key/update", f', "key": "{made["token"]}"')):
                body = f'{{"{field}": {number}{more}}}'
                answer = await office.http.post(path, content=body, headers={"content-type": "application/json"})
                if answer.status_code != 400:
                    taken.append((path, field, number, answer.status_code))
        assert not taken


OWNERS: list[tuple[str, dict[str, Any]]] = [
    ("/key/generate", {"user_id": "other"}),
    ("/key/generate", {"team_id": "foreign"}),
    ("/key/generate", {"organization_id": "org"}),
    ("/key/generate", {"allowed_routes": ["/model/new"]}),
    ("/key/generate", {"allowed_routes": []}),
    ("/key/generate", {"key_type": "management"}),
    ("/key/generate", {"permissions": {"get_spend_routes": True}}),
    ("/key/generate", {"metadata": {"allowed_passthrough_routes": ["/x"]}}),
    ("/key/update", {"allowed_routes": ["*"]}),
    ("/key/update", {"key_type": "management"}),
    ("/key/update", {"user_id": "other"}),
    ("/key/update", {"user_id": None}),
    ("/key/update", {"team_id": "foreign"}),
    ("/key/update", {"organization_id": "org"}),
    ("/key/update", {"max_budget": None}),
    ("/key/update", {"budget_id": "rich"}),
    ("/key/update", {"budget_limits": []}),
    ("/key/update", {"model_max_budget": {}}),
    ("/key/update", {"temp_budget_increase": 5, "temp_budget_expiry": "2999-01-01T00:00:00Z"}),
    ("/key/update", {"spend": 0}),
    ("/key/regenerate", {"max_budget": 10**6}),
    ("/key/regenerate", {"allowed_routes": ["/model/new"]}),
    ("/key/block", {}),
    ("/key/unblock", {}),
]


async def test_an_owner_gains_nothing(pool: Pool) -> None:
    async with key_bureau(pool) as office:
        await _surroundings(pool)
        terms = {"max_budget": 1, "budget_limits": [{"budget_duration": "1d", "max_budget": 1}]}
        made = await office.generate(user_id="u", model_max_budget={"m": {"max_budget": 1}}, **terms)
        office.access = OWNER
        before = await _everything_stored(pool)
        for path, body in OWNERS:
            named = {} if path == "/key/generate" else {"key": made["token"]}
            answer = await office.http.post(path, json={**named, **body})
            assert answer.status_code == 403, (path, body, answer.text)
        assert await _everything_stored(pool) == before


async def test_a_teams_admin_cannot_become_the_proxy_admin_who_is_in_his_team(pool: Pool) -> None:
    async with key_bureau(pool) as office:
        await add(pool, tenants.USERS, user_id="root", user_role="proxy_admin")
        await add_team(pool, "t", "root", admins=("a",))
        made = await office.generate(user_id="root", team_id="t")
        personal = await office.generate(user_id="root")
        office.access = someone("a", teams=frozenset({"t"}), admin_of_teams=frozenset({"t"}))
        await office.post("/key/regenerate", 403, key=made["token"])
        for path in ("/key/update", "/key/regenerate", "/key/block"):
            await office.post(path, 403, key=personal["token"])
        await office.post("/key/generate", 403, team_id="t", user_id="root")
        await office.post("/key/update", 403, key=made["token"], user_id="a")


# --- what is written stays what it is ---------------------------------------------------------------------------------


FILTERS = ("key_alias", "user_id", "team_id", "organization_id", "key_hash", "search", "project_id", "access_group_id")
TEXTS = (HOSTILE, "%", "_", "\\", '"', "{a,b}", "' OR true --")


async def test_a_query_is_never_a_statement_nor_a_pattern(pool: Pool) -> None:
    async with key_bureau(pool) as office:
        await office.post("/key/generate", key_alias="plain", user_id="u")
        for field, text in itertools.product(FILTERS, TEXTS):
            found = await office.listed(**{field: text, "substring_matching": True})
            assert found["total_count"] == 0, (field, text)
        assert (await office.listed())["total_count"] == 1


async def test_a_list_is_sorted_by_nothing_that_a_client_writes(pool: Pool) -> None:
    async with key_bureau(pool) as office:
        for order in (HOSTILE, "key_id", "created_at DESC", "spend; SELECT 1"):
            await office.get("/key/list", 400, sort_by=order)
            await office.get("/key/list", 400, sort_order=order)


async def test_text_that_looks_like_a_statement_is_kept_as_text(pool: Pool) -> None:
    async with key_bureau(pool) as office:
        made = await office.post("/key/generate", key_alias=HOSTILE, metadata={HOSTILE: HOSTILE}, models=[HOSTILE])
        row = await office.row(made["token"])
        assert (row["key_alias"], row["metadata"], row["models"]) == (HOSTILE, {HOSTILE: HOSTILE}, [HOSTILE])


async def test_a_secret_is_in_one_answer_and_in_no_table(pool: Pool) -> None:
    async with key_bureau(pool) as office:
        await _surroundings(pool)
        made = await office.post("/key/generate", user_id="u", key_alias="a")
        again = await office.post("/key/regenerate", key=made["key"])
        await office.post("/key/block", key=again["key"])
        secrets = [made["key"], again["key"]]
        shown = [
            (await office.http.get("/key/list", params={"return_full_object": True})).text,
            (await office.http.get("/key/info", params={"key": made["token"]})).text,
            await _everything_stored(pool),
        ]
        assert not [secret for secret in secrets for text in shown if secret in text]
        assert repr(office.pepper) == object.__repr__(office.pepper)


async def test_a_key_that_is_not_there_is_not_repeated(pool: Pool) -> None:
    secret = "sk-somebody-elses-secret-0123"
    async with key_bureau(pool) as office:
        for path in ("/key/update", "/key/regenerate", "/key/block", "/key/delete"):
            body: dict[str, Any] = {"keys": [secret]} if path == "/key/delete" else {"key": secret}
            answer = await office.http.post(path, json=body)
            assert answer.status_code == 404
            assert secret not in answer.text


# --- users and teams --------------------------------------------------------------------------------------------------


TEAM_ADMINS: list[tuple[str, dict[str, Any]]] = [
    ("/user/update", {"user_id": "u", "user_role": "proxy_admin"}),
    ("/user/update", {"user_id": "u", "max_budget": None}),
    ("/user/update", {"user_id": "u", "models": []}),
    ("/user/update", {"user_id": "u", "user_email": "root@x"}),
    ("/user/update", {"user_id": "u", "sso_user_id": "root"}),
    ("/user/update", {"user_id": "u", "spend": 0}),
    ("/user/update", {"user_id": "u", "teams": ["foreign"]}),
    ("/user/update", {"user_id": "u", "password": "p" * 20}),
    ("/user/update", {"user_id": "u", "metadata": {"team_member_budget_id": "rich", "a": 1}}),
    ("/user/bulk_update", {"all_users": True, "user_updates": {"user_role": "proxy_admin"}}),
    ("/user/new", {"user_role": "proxy_admin"}),
    ("/user/delete", {"user_ids": ["root"]}),
    ("/team/new", {}),
    ("/team/update", {"team_id": "t", "max_budget": 10**6}),
    ("/team/update", {"team_id": "t", "models": []}),
    ("/team/update", {"team_id": "t", "organization_id": "org"}),
    ("/team/update", {"team_id": "t", "team_member_budget": 10**6}),
    ("/team/update", {"team_id": "t", "model_aliases": {"small": "large"}}),
    ("/team/update", {"team_id": "t", "budget_limits": []}),
    ("/team/update", {"team_id": "t", "metadata": {"a": 1}}),
    ("/team/update", {"team_id": "foreign", "team_alias": "mine"}),
    ("/team/member_add", {"team_id": "foreign", "member": {"user_id": "u", "role": "admin"}}),
    ("/team/member_update", {"team_id": "t", "user_id": "u", "max_budget_in_team": 10**6}),
    ("/team/t/member/u/reset_spend", {"reset_to": 0}),
    ("/team/permissions_update", {"team_id": "foreign", "team_member_permissions": ["/key/generate"]}),
    ("/invitation/new", {"user_id": "root"}),
]


async def test_a_teams_admin_gains_nothing(pool: Pool) -> None:
    async with tenancy(pool) as office:
        await _surroundings(pool)
        await add(pool, tenants.USERS, user_id="root", user_role="proxy_admin", user_email="root@x")
        office.access = person("u", admin_of=("t",))
        before = await _everything_stored(pool)
        for path, body in TEAM_ADMINS:
            answer = await office.http.post(path, json=body)
            assert answer.status_code == 403, (path, body, answer.text)
        assert await _everything_stored(pool) == before


async def _surroundings(pool: Pool) -> None:
    """A user, a team of his, one of others, an organization, and a budget of somebody."""
    await add(pool, tenants.USERS, user_id="u", user_role="internal_user", max_budget=1, models=["small"])
    await add(pool, tenants.BUDGETS, budget_id="rich", max_budget=10**6)
    await add(pool, tenants.ORGANIZATIONS, organization_id="org", budget_id="rich")
    limits = [{"budget_duration": "1d", "max_budget": "1"}]
    await add_team(pool, "t", admins=("u",), max_budget=1, models=["small"], extra={"budget_limits": limits})
    await add_team(pool, "foreign", "root")


async def _everything_stored(pool: Pool) -> str:
    """Every row of what a tenant has, and of the audit log, as text."""
    names = [
        row["tablename"] for row in await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    ]
    found = []
    for name in sorted(names):
        rows = await pool.fetch(f'SELECT to_jsonb(t)::text AS row FROM "{name}" AS t')
        found += sorted(f"{name} {row['row']}" for row in rows)
    return "\n".join(found)
