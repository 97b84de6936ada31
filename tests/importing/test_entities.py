"""Budgets, organizations, users, teams, members, customers and tags of LiteLLM."""

from decimal import Decimal
from typing import Any

from ledger import teams, tenants
from ledger.access import find_key, find_payers, find_user
from ledger.balances import spent
from ledger.litellm.report import Remark
from ledger.pepper import pepper
from ledger.pool import Pool
from ledger.terms import Rules
from schemas.access import Account
from tests.importing.theirs import Json, Theirs, later

SCRYPT = "scrypt:AAAA"


async def found(pool: Pool, table: tenants.Table, *key: str) -> tenants.Row:
    row = await tenants.find(pool, table, *key)
    assert row is not None
    return row


async def sums(pool: Pool, account: Account, period: str = "") -> tuple[Decimal, Decimal]:
    return (await spent(pool, [(account, period)]))[account]


async def test_an_organization_with_its_budget_and_members(theirs: Theirs, pool: Pool) -> None:
    await theirs.budget("b", max_budget=50.0, budget_duration="30d", model_max_budget={"m": {"budget_limit": 1}})
    await theirs.person("ann")
    await theirs.add(
        "OrganizationTable",
        organization_id="acme",
        organization_alias="Acme",
        budget_id="b",
        models=["m"],
        metadata={"x": 1},
        spend=12.5,
        created_by="root",
        updated_by="root",
    )
    await theirs.budget("own", max_budget=3.0)
    place = {"organization_id": "acme", "user_id": "ann", "user_role": "org_admin", "budget_id": "own", "spend": 1.5}
    await theirs.add("OrganizationMembership", **place)
    report = await theirs.carry()
    assert report.remarks == []
    row = await found(pool, tenants.ORGANIZATIONS, "acme")
    assert (row["organization_alias"], row["budget_id"], row["models"], row["metadata"], row["created_by"]) == (
        "Acme",
        "b",
        ["m"],
        {"x": 1},
        "root",
    )
    budget = await found(pool, tenants.BUDGETS, "b")
    assert (budget["max_budget"], budget["model_max_budget"]) == (50, {"m": {"budget_limit": 1}})
    assert (await found(pool, tenants.ORGANIZATION_MEMBERS, "acme", "ann"))["user_role"] == "org_admin"
    assert await sums(pool, Account("organization", "acme"), "30d") == (Decimal("12.5"), Decimal("12.5"))
    assert await sums(pool, Account("organization_member", "acme", "ann")) == (Decimal("1.5"), Decimal("1.5"))
    assert (await theirs.carry()).touched == set()


async def test_a_user_with_limits_and_password(theirs: Theirs, pool: Pool) -> None:
    limits: dict[str, Any] = {"max_budget": 5.0, "budget_duration": "1d", "rpm_limit": 10, "spend": 1.25}
    await theirs.person("ann", user_email="Ann@X.org", user_role="proxy_admin", password=SCRYPT, **limits)
    await theirs.person("bob", user_role="wizard", password="5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a")
    report = await theirs.carry()
    row = await found(pool, tenants.USERS, "ann")
    assert (row["user_email"], row["user_role"], row["max_budget"], row["rpm_limit"]) == (
        "Ann@X.org",
        "proxy_admin",
        5,
        10,
    )
    assert await sums(pool, Account("user", "ann"), "1d") == (Decimal("1.25"), Decimal("1.25"))
    assert await pool.fetchval("SELECT hash FROM passwords WHERE user_id = 'ann'") == SCRYPT
    assert await pool.fetchval("SELECT count(*) FROM passwords") == 1
    assert report.remarks == [
        Remark("user", "bob", "the role 'wizard' is not known here and allows nothing"),
        Remark("user", "bob", "the password is stored in an old way: it has to be set again"),
    ]


async def test_the_user_that_stands_for_the_proxy_is_its_spend(theirs: Theirs, pool: Pool) -> None:
    await theirs.person("litellm-proxy-budget", max_budget=100.0, budget_duration="30d", spend=40.0)
    report = await theirs.carry()
    assert await tenants.find(pool, tenants.USERS, "litellm-proxy-budget") is None
    assert await sums(pool, Account("proxy", ""), "30d") == (40, 40)
    assert report.tallies["user"].skipped == 1


async def test_a_team_with_members_and_their_budgets(theirs: Theirs, pool: Pool) -> None:
    await theirs.budget("small", max_budget=2.0, budget_duration="1d", allowed_models=["m"])
    await theirs.person("ann", user_email="ann@x.org")
    await theirs.person("cy", teams=["red"])
    await theirs.run("""INSERT INTO "LiteLLM_ModelTable" (id, aliases, created_by, updated_by)
        VALUES (7, '{"best": "m"}', '', '')""")
    await theirs.team(
        "red",
        {"user_id": None, "user_email": "ANN@x.org", "role": "admin"},
        "bob",
        {"user_id": "dan", "role": "king"},
        {"user_email": "nobody@x.org", "role": "user"},
        team_alias="Red",
        model_id=7,
        blocked=True,
        max_budget=9.0,
        spend=3.0,
        team_member_permissions=["/key/generate"],
        metadata={"team_member_budget_id": "small"},
        budget_limits=[{"budget_duration": "1h", "max_budget": 1.5, "reset_at": "2026-01-01"}],
    )
    for user, money in (("bob", 0.5), ("gone", 7.0)):
        await theirs.add("TeamMembership", team_id="red", user_id=user, budget_id="small", spend=money, total_spend=6.0)
    await theirs.key("sk-bobs-key-00000001", user_id="bob", team_id="red")
    report = await theirs.carry()
    row = await found(pool, tenants.TEAMS, "red")
    assert (row["team_alias"], row["blocked"], row["max_budget"]) == ("Red", True, 9)
    assert row["metadata"] == {"team_member_budget_id": "small"}
    assert row["extra"] == {
        "model_aliases": {"best": "m"},
        "team_member_permissions": ["/key/generate"],
        "budget_limits": [{"budget_duration": "1h", "max_budget": "1.5"}],
    }
    people = [(one["user_id"], one["role"], one["budget_id"]) for one in await teams.members(pool, ["red"])]
    assert people == [("ann", "admin", None), ("bob", "user", "small"), ("dan", "user", None)]
    assert await sums(pool, Account("member", "red", "bob"), "1d") == (Decimal("0.5"), 6)
    access = await find_key(pool, (await pepper(pool, None)).hash(b"sk-bobs-key-00000001"), Rules())
    assert access is not None
    assert access.blocked == "team red"
    assert {(b.account, b.period) for b in access.terms.budgets} == {
        (Account("team", "red"), ""),
        (Account("team", "red"), "1h"),
        (Account("member", "red", "bob"), "1d"),
    }
    assert report.remarks == [
        Remark("team", "red", "its member dan has a role that is not known here, and becomes a user"),
        Remark("team", "red", "its member nobody@x.org is no user and is left out"),
        Remark("team_member", "cy in red", "the user names the team, which does not list this member"),
        Remark("team_member", "gone in red", "the team does not list this member"),
    ]
    assert (await theirs.carry()).touched == set()


async def test_a_team_from_before_roles(theirs: Theirs, pool: Pool) -> None:
    await theirs.team("old", admins=["ann"], members=["ann", "bob"])
    await theirs.team("empty", members_with_roles=Json({}))
    await theirs.team("twice", members_with_roles=Json('[{"user_id": "cy", "role": "admin"}]'))
    await theirs.carry()
    assert [(one["user_id"], one["role"]) for one in await teams.members(pool, ["old", "empty", "twice"])] == [
        ("ann", "admin"),
        ("bob", "user"),
        ("cy", "admin"),
    ]


async def test_customers_and_tags(theirs: Theirs, pool: Pool) -> None:
    await theirs.budget("b", max_budget=3.0, budget_duration="1d", budget_reset_at=later(hours=20))
    await theirs.add(
        "EndUserTable", user_id="c", alias="C", budget_id="b", blocked=True, allowed_model_region="eu", spend=2.0
    )
    await theirs.add("TagTable", tag_name="t", description="d", models=["m"], budget_id="b", model_info={"i": "m"})
    await theirs.run("""UPDATE "LiteLLM_TagTable" SET spend = 1""")
    assert (await theirs.carry()).remarks == []
    payers = await find_payers(pool, "c", ["t"])
    assert {account: (payer.blocked, payer.terms.budgets[0].most) for account, payer in payers.items()} == {
        Account("customer", "c"): (True, 3),
        Account("tag", "t"): (False, 3),
    }
    assert (await found(pool, tenants.CUSTOMERS, "c"))["extra"] == {"allowed_model_region": "eu"}
    assert (await found(pool, tenants.TAGS, "t"))["extra"] == {"model_info": {"i": "m"}}
    assert await sums(pool, Account("customer", "c"), "1d") == (2, 2)
    assert await sums(pool, Account("tag", "t"), "1d") == (1, 1)


async def test_what_an_entity_may_use_beside_models_is_kept(theirs: Theirs, pool: Pool) -> None:
    await theirs.add("ObjectPermissionTable", object_permission_id="o", mcp_servers=["s"])
    await theirs.team("red", object_permission_id="o")
    await theirs.carry()
    extra = (await found(pool, tenants.TEAMS, "red"))["extra"]
    assert extra["object_permission"] == {"object_permission_id": "o", "mcp_servers": ["s"]}


async def test_members_of_a_team_that_was_deleted_here_stay_away(theirs: Theirs, pool: Pool) -> None:
    await theirs.team("red", "ann", spend=1.0)
    await theirs.carry()
    async with pool.acquire() as on:
        await tenants.remove(on, tenants.TEAMS, "red")
        await teams.remove_members(on, "red")
    report = await theirs.carry()
    assert await tenants.count(pool, tenants.TEAM_MEMBERS, {}) == 0
    assert report.remarks == [Remark("team", "red", "was deleted here and stays so")]


async def test_what_a_member_has_spent_on_a_model_in_the_present_window(theirs: Theirs, pool: Pool) -> None:
    by_model = {"m:1": {"max_budget": 2.0, "budget_duration": "30d"}, "n": {"max_budget": 5.0, "budget_duration": "1d"}}
    await theirs.budget("all", model_max_budget=by_model)
    await theirs.team("red", "ann", metadata={"team_member_budget_id": "all"})
    for entity, duration, began, spend in (
        ("team_member_model_spend:3:ann:red:m:1:30d", "30d", -86400, 1.5),
        ("team_member_model_spend:3:ann:red:n:1d", "1d", -90000, 4.0),
        ("team_member_model_spend:3:bob:red:n:1d", "1d", 0, 4.0),
        ("team_model_spend:red:n:1d", "1d", 0, 7.0),
        ("team_member_model_spend:odd", "1d", 0, 7.0),
    ):
        window = {"window_duration": duration, "window_start": later(seconds=began)}
        values = {"entity_type": "model_max_budget", "spend": spend, "updated_at": later()}
        await theirs.add("BudgetWindowSpend", entity_id=entity, **window, **values)
    for _ in range(2):
        await theirs.carry()
        ann = Account("member", "red", "ann")
        assert await sums(pool, ann.on("m:1"), "30d") == (Decimal("1.5"), 0)
        assert await sums(pool, ann.on("n"), "1d") == (0, 0), "that window has ended"
    count = await pool.fetchval("SELECT count(*) FROM balances WHERE kind LIKE '%model'")
    assert count == 2
    (terms,) = (await find_user(pool, "ann", "red", None, Rules())).model_terms
    assert {model: [b.most for b in found.budgets] for model, found in terms.items()} == {"m:1": [2], "n": [5]}
