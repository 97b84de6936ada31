"""Ways by which the owner of a key could lift what binds it, or make himself a better one; each is refused."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from api.management.keys import KeyBounds, KeyRules
from broker.seal import Seal
from ledger import tenants
from ledger.access import find_key
from ledger.pool import Pool
from ledger.terms import Rules
from schemas.access import Access, Account, Role
from schemas.usage import Caller
from tests.support.audit import audited
from tests.support.keys import KeyBureau, add, add_team, key_bureau, someone
from tests.support.office import ADMIN

BOUNDS = KeyBounds.model_validate({"max_budget": 100, "duration": "30d", "rpm_limit": 50})
OWNER = someone("u")
BOTH = pytest.mark.parametrize("path", ["/key/update", "/key/regenerate"])


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[KeyBureau]:
    async with key_bureau(pool) as found:
        await add(pool, tenants.ORGANIZATIONS, organization_id="org")
        await add(pool, tenants.ORGANIZATIONS, organization_id="other")
        yield found


# --- what an owner changes --------------------------------------------------------------------------------------------


@BOTH
async def test_an_owner_blocks_his_key_and_does_not_unblock_it(office: KeyBureau, path: str) -> None:
    made = await office.generate(user_id="u")
    office.access = OWNER
    assert (await office.post(path, key=made["token"], blocked=True))["blocked"] is True
    for value in (False, None):
        await office.post(path, 403, key=made["token"], blocked=value)
    assert (await office.row(made["token"]))["blocked"] is True


SET: dict[str, Any] = {
    **{"rpm_limit": 5, "tpm_limit": 5, "tpd_limit": 5, "max_parallel_requests": 5, "duration": "10d"},
    **{"models": ["m", "n/*"], "tags": ["paid"], "guardrails": ["g"], "model_rpm_limit": {"m": 5}},
    **{"model_tpm_limit": {"m": 5}, "organization_id": "org", "allowed_routes": ["llm_api_routes", "info_routes"]},
}
LIFTED: list[dict[str, Any]] = [
    *(
        {name: value}
        for name in ("rpm_limit", "tpm_limit", "tpd_limit", "max_parallel_requests")
        for value in (None, 6)
    ),
    *({"duration": value} for value in ("-1", None, "11d")),
    *({"models": value} for value in ([], None, ["x"], ["m", "x"], ["*"], ["n"], ["all-team-models"])),
    {"models": ["all-proxy-models"]},
    *({name: value} for name in ("tags", "guardrails") for value in ([], ["other"])),
    *({"metadata": {name: value}} for name in ("tags", "guardrails") for value in ([], ["other"], None)),
    *({name: value} for name in ("model_rpm_limit", "model_tpm_limit") for value in ({}, {"m": 6}, {"x": 1})),
    {"metadata": {"model_rpm_limit": {"m": 6}}},
    {"metadata": {"model_rpm_limit": None}},
    *({"organization_id": value} for value in (None, "", "other")),
    {"allowed_routes": []},
    {"allowed_routes": None},
    {"key_type": "default"},
]


@BOTH
async def test_an_owner_makes_nothing_looser(office: KeyBureau, path: str) -> None:
    made = await office.generate(user_id="u", **SET)
    office.access = someone("u", organizations=frozenset({"org", "other"}))
    office.now += timedelta(minutes=1)
    before = await office.row(made["token"])
    for change in LIFTED:
        answer = await office.http.post(path, json={"key": made["token"], **change})
        assert answer.status_code == 403, (change, answer.text)
    assert await office.row(made["token"]) == before


STRICTER: list[dict[str, Any]] = [
    *({name: 4} for name in ("rpm_limit", "tpm_limit", "tpd_limit", "max_parallel_requests")),
    {"duration": "9d"},
    {"models": ["m", "n/1"]},
    {"models": ["no-default-models"]},
    {"tags": ["paid", "more"]},
    {"model_rpm_limit": {"m": 4, "x": 1}},
    {"allowed_routes": ["llm_api_routes"]},
    {"key_type": "read_only"},
    {"organization_id": "org"},
    {"key_alias": "mine", "aliases": {"a": "m"}},
]


@BOTH
async def test_an_owner_makes_it_stricter(office: KeyBureau, path: str) -> None:
    for change in STRICTER:
        made = await office.generate(user_id="u", **SET)
        office.access = OWNER
        await office.post(path, key=made["token"], **change)


async def test_new_metadata_leaves_what_binds_the_key(office: KeyBureau) -> None:
    made = await office.generate(user_id="u", **SET)
    office.access = OWNER
    for given in ({}, {"a": 1}):
        changed = await office.post("/key/update", key=made["token"], metadata=given)
        assert changed["metadata"] == made["metadata"] | given


async def test_a_limit_of_the_keys_budget_is_not_lifted_by_one_of_its_own(office: KeyBureau) -> None:
    await add(office.pool, tenants.BUDGETS, budget_id="b", rpm_limit=5, allowed_models=["m"])
    made = await office.generate(user_id="u", budget_id="b")
    office.access = OWNER
    await office.post("/key/update", 403, key=made["token"], rpm_limit=6)
    await office.post("/key/update", 403, key=made["token"], models=["x"])
    await office.post("/key/update", key=made["token"], rpm_limit=4, models=["m"])


async def test_who_has_the_key_in_charge_changes_all_of_it(office: KeyBureau) -> None:
    await add_team(office.pool, "t", "u", admins=("a",), organization_id="org")
    made = await office.generate(user_id="u", team_id="t", **{**SET, "allowed_routes": []})
    office.access = someone("a", teams=frozenset({"t"}), admin_of_teams=frozenset({"t"}))
    for change in ({"rpm_limit": None}, {"models": []}, {"duration": "-1"}, {"tags": []}, {"blocked": True}):
        await office.post("/key/update", key=made["token"], **change)
    await office.post("/key/update", key=made["token"], blocked=False)


async def test_an_owner_keeps_an_old_secret_for_a_week_at_most(pool: Pool) -> None:
    for configured, most, longer in (("", "7d", "8d"), ("30d", "30d", "31d")):
        async with key_bureau(pool, KeyRules(grace=configured)) as office:
            made = await office.generate(user_id="u")
            office.access = OWNER
            await office.post("/key/regenerate", 400, key=made["token"], grace_period=longer)
            await office.post("/key/regenerate", key=made["token"], grace_period=most)


# --- what the configuration and the team say --------------------------------------------------------------------------


@BOTH
async def test_null_is_above_the_bounds(pool: Pool, path: str) -> None:
    async with key_bureau(pool, KeyRules(bounds=BOUNDS)) as office:
        made = await office.post("/key/generate")
        before = await office.row(made["token"])
        for name in ("duration", "rpm_limit", "max_budget"):
            await office.post(path, 400, key=made["token"], **{name: None})
        assert await office.row(made["token"]) == before
        await office.pool.execute("UPDATE virtual_keys SET rpm_limit = NULL")
        await office.post("/key/update", key=made["token"], rpm_limit=None)  # older than the bound, and as it was


async def test_a_key_of_a_team_is_in_the_teams_organization(office: KeyBureau) -> None:
    await add_team(office.pool, "t", "u", organization_id="org", extra={"team_member_permissions": ["/key/generate"]})
    office.access = someone("u", teams=frozenset({"t"}), organizations=frozenset({"org", "other"}))
    await office.post("/key/generate", 400, team_id="t", organization_id="other")
    for given in ({}, {"organization_id": "org"}):
        made = await office.post("/key/generate", team_id="t", **given)
        assert made["organization_id"] == "org"
    kept = await office.generate()
    made = await office.generate(user_id="u", team_id="t")
    await office.post("/key/update", 403, key=made["token"], organization_id=None)
    office.access = Access(caller=Caller(user="root"), role=Role.ADMIN)
    await office.post("/key/update", 400, key=made["token"], organization_id="other")
    assert (await office.post("/key/update", key=made["token"], organization_id=None))["organization_id"] == "org"
    assert (await office.post("/key/update", key=kept["token"], team_id="t"))["organization_id"] == "org"


async def test_an_owner_does_not_take_his_key_out_of_an_organization_by_a_team(office: KeyBureau) -> None:
    granted = {"team_member_permissions": ["/key/update"]}
    for team, organization in (("here", "org"), ("there", "other")):
        await add_team(office.pool, team, "u", organization_id=organization, extra=granted)
    made = await office.generate(user_id="u", organization_id="org")
    office.access = someone("u", teams=frozenset({"here", "there"}))
    await office.post("/key/update", 403, key=made["token"], team_id="there")
    await office.post("/key/update", key=made["token"], team_id="here")
    await office.post("/key/update", 403, key=made["token"], team_id="there")


async def test_the_teams_organization_pays_whatever_the_key_says(office: KeyBureau) -> None:
    for name in ("org", "other"):
        await add(office.pool, tenants.BUDGETS, budget_id=name, max_budget=1)
    await office.pool.execute("UPDATE organizations SET budget_id = organization_id")
    await add_team(office.pool, "t", organization_id="org")
    made = await office.generate(team_id="t")
    await office.pool.execute("UPDATE virtual_keys SET organization_id = 'other'")
    found = await find_key(office.pool, office.hash(made["key"]), Rules())
    assert found is not None
    assert found.caller.organization == "org"
    assert [budget.account for budget in found.terms.budgets] == [Account("organization", "org")]


@pytest.mark.parametrize("leads", [{"role": Role.ORG_ADMIN}, {"admin_of_organizations": frozenset({"org"})}])
async def test_organization_admins_who_may_not_generate_are_so_by_membership_too(
    pool: Pool, leads: dict[str, Any]
) -> None:
    async with key_bureau(pool, KeyRules(org_admins_generate=False)) as office:
        office.access = someone("o", **leads)
        await office.post("/key/generate", 403)


# --- what a key makes of itself ---------------------------------------------------------------------------------------


OWN: dict[str, Any] = {
    **{"max_budget": 10, "budget_duration": "30d", "rpm_limit": 5, "tpm_limit": 5, "max_parallel_requests": 5},
    **{"models": ["m", "n/*"], "model_max_budget": {"m": 1}, "model_rpm_limit": {"m": 5}, "tags": ["paid"]},
}
MORE: list[dict[str, Any]] = [
    *({"max_budget": value} for value in (11, 10.5)),
    {"budget_duration": "1d"},
    *({name: 6} for name in ("rpm_limit", "tpm_limit", "max_parallel_requests")),
    *({"models": value} for value in (["x"], ["*"], ["all-proxy-models"])),
    {"model_max_budget": {"m": 2}},
    {"model_rpm_limit": {"m": 6}},
    {"metadata": {"model_rpm_limit": {"m": 6}}},
    {"tags": ["other"]},
]


async def test_a_key_gives_no_more_than_it_has(office: KeyBureau) -> None:
    own = await office.generate(user_id="u", **OWN)
    office.access = someone("u", key=own["token"])
    for more in MORE:
        answer = await office.http.post("/key/generate", json=more)
        assert answer.status_code == 400, (more, answer.text)
    names = ("max_budget", "budget_duration", "rpm_limit", "tpm_limit", "max_parallel_requests", "models")
    for body in ({}, {"models": [], "rpm_limit": None}):
        made = await office.post("/key/generate", **body)
        assert [made[name] for name in names] == [own[name] for name in names]
        assert (await office.row(made["token"]))["model_max_budget"] == {"m": {"budget_limit": "1"}}
        assert made["metadata"] == {"model_rpm_limit": {"m": 5}, "tags": ["paid"]}
    made = await office.post("/key/generate", max_budget=9, rpm_limit=4, models=["n/1"], tags=["paid", "x"])
    assert [made[name] for name in names] == [9, None, 4, 5, 5, ["n/1"]]


async def test_what_binds_a_key_by_its_budget_and_for_its_customers_binds_those_that_it_makes(
    office: KeyBureau,
) -> None:
    limits = {"m": {"budget_limit": "1"}}
    await add(office.pool, tenants.BUDGETS, budget_id="b", model_max_budget=limits)
    own = await office.generate(user_id="u", budget_id="b", metadata={"end_user_budget_id": "customers"})
    office.access = someone("u", key=own["token"])
    row = await office.row((await office.post("/key/generate"))["token"])
    assert (row["model_max_budget"], row["metadata"]) == (limits, {"end_user_budget_id": "customers"})
    for said in ({"end_user_budget_id": "other"}, {"metadata": {"end_user_budget_id": "other"}}):
        await office.post("/key/generate", 403, **said)


RAISE = {"temp_budget_increase": 1000, "temp_budget_expiry": "2099-01-01T00:00:00Z"}


async def test_a_raise_for_a_while_is_no_way_around_a_bound(pool: Pool) -> None:
    leader = someone("a", teams=frozenset({"t"}), admin_of_teams=frozenset({"t"}))
    await add_team(pool, "t", admins=("a",))
    for rules, status in ((KeyRules(bounds=BOUNDS), 403), (KeyRules(), 200)):
        async with key_bureau(pool, rules) as office:
            own = await office.generate(user_id="a", max_budget=10)
            office.access = structs.replace(leader, caller=Caller(key_hash=own["token"], user="a"))
            for raised in (RAISE, {"metadata": RAISE}):
                await office.post("/key/generate", 403, max_budget=1, **raised)
                await office.post("/key/generate", 403, team_id="t", max_budget=1, **raised)
                made = await office.post("/key/generate", team_id="t", max_budget=1)
                await office.post("/key/update", status, key=made["token"], **raised)
                office.access, asking = ADMIN, office.access
                await office.post("/key/update", key=made["token"], **raised)
                office.access = asking
                await office.post("/key/update", key=made["token"], key_alias=f"{status} {made['token']}", **raised)


async def test_a_default_above_the_asking_keys_terms_is_cut_to_them(pool: Pool) -> None:
    rules = KeyRules(bounds=KeyBounds.model_validate({"max_budget": 100, "budget_duration": "1d", "rpm_limit": 50}))
    async with key_bureau(pool, rules) as office:
        own = await office.generate(user_id="u", max_budget=10, budget_duration="1d", rpm_limit=5)
        office.access = someone("u", key=own["token"])
        made = await office.post("/key/generate")
        assert (made["max_budget"], made["budget_duration"], made["rpm_limit"]) == (10, "1d", 5)


async def test_who_has_the_new_key_in_charge_gives_it_what_he_likes(office: KeyBureau) -> None:
    await add_team(office.pool, "t", admins=("a",))
    own = await office.generate(user_id="a", rpm_limit=1, models=["m"])
    office.access = someone("a", key=own["token"], teams=frozenset({"t"}), admin_of_teams=frozenset({"t"}))
    made = await office.post("/key/generate", team_id="t", rpm_limit=9)
    assert (made["rpm_limit"], made["models"]) == (9, [])
    assert (await office.post("/key/generate"))["rpm_limit"] == 1


# --- what metadata holds ----------------------------------------------------------------------------------------------

POISON: list[dict[str, Any]] = [
    *(
        {name: value}
        for name in ("model_rpm_limit", "model_tpm_limit")
        for value in ({"m": -1}, {"m": "x"}, ["m"], {"m": 1e30}, {"m": True}, {"m": 1.5}, "m", 1)
    ),
    *({name: value} for name in ("tags", "enforced_params") for value in ("paid", {"a": 1}, [1], [None], [""])),
    *({"tag_rpm_limit": value} for value in ({"paid": "x"}, ["paid"], 1, {f"{n}*": 1 for n in range(1001)})),
]


async def test_limits_and_tags_in_the_metadata_are_what_they_are_called(office: KeyBureau) -> None:
    made = await office.generate(user_id="u")
    office.access = OWNER
    for metadata in POISON:
        for path, named in (("/key/generate", {}), ("/key/update", {"key": made["token"]})):
            answer = await office.http.post(path, json={**named, "metadata": metadata})
            assert answer.status_code == 400, (path, metadata, answer.text)


async def test_what_is_stored_and_no_limit_spoils_nobody_elses_guarantee(office: KeyBureau) -> None:
    await add_team(office.pool, "t", rpm_limit=100)
    await office.generate(team_id="t")
    for poison in ('{"m": 1e30}', '{"m": -5}', '{"m": "x"}', '["m"]', '{"m": true}'):
        await office.pool.execute(
            "UPDATE virtual_keys SET metadata = jsonb_build_object('model_rpm_limit', $1::text::jsonb)", poison
        )
        sure = {"rpm_limit_type": "guaranteed_throughput", "model_rpm_limit": {"m": 100}}
        made = await office.generate(team_id="t", **sure)
        await office.post("/key/delete", keys=[made["token"]])


async def test_a_team_mate_reads_no_credentials_of_a_callback(pool: Pool) -> None:
    secret = "sk-lf-0123456789"
    callback = {"callback_name": "langfuse", "callback_type": "success"}
    async with key_bureau(pool, seal=Seal("salt")) as office:
        await add_team(pool, "t", "u", "m")
        variables = {"callback_vars": {"langfuse_secret_key": secret}}
        for logging in ([{**callback, **variables}], {**callback, **variables}):
            made = await office.generate(team_id="t", user_id="u", metadata={"logging": logging})
            office.access = someone("m", teams=frozenset({"t"}))
            shown = await office.get("/key/info", key=made["token"])
            assert secret not in str([shown, await office.row(made["token"])])


# --- who signs --------------------------------------------------------------------------------------------------------


async def test_a_key_without_a_user_signs_as_no_user(office: KeyBureau) -> None:
    granted = {"team_member_permissions": ["/key/generate", "/key/service-account/generate"]}
    await add_team(office.pool, "t", extra=granted)
    robot = await office.generate(team_id="t", key_alias="alice", metadata={"service_account_id": "s"})
    for alias, name in (("alice", "key:alice"), ("", f"key:{robot['token']}")):
        office.access = Access(caller=Caller(key_hash=robot["token"], key_alias=alias, team="t"))
        made = await office.post("/key/service-account/generate", team_id="t")
        assert made["created_by"] == made["updated_by"] == name
        log = await audited(office.pool, entity="key", id=made["token"])
        assert [entry["actor"] for entry in log] == [name]
    for user in ("alice", "key:alice"):
        office.access = someone(user, teams=frozenset({"x"}))
        assert (await office.listed(include_created_by_keys=True))["total_count"] == 0
