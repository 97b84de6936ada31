"""`/organization/*`: made, changed, seen by those who are in it, and gone with everything that is its."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from api.management import budgets, organizations, teams
from ledger import tenants
from ledger.pool import Pool
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.support.audit import audited
from tests.support.office import Bureau, bureau, read

ROUTERS = (*organizations.ROUTERS, budgets.ROUTER)


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The routes of organizations, budgets and teams."""
    async with bureau(pool, *ROUTERS, *teams.ROUTERS) as found:
        yield found


async def patch(office: Bureau, path: str, status: int = 200, **body: Any) -> Any:
    return read(await office.http.patch(path, json=body), status)


async def delete(office: Bureau, path: str, status: int = 200, **body: Any) -> Any:
    return read(await office.http.request("DELETE", path, json=body), status)


def user(name: str, *, inside: tuple[str, ...] = (), leads: tuple[str, ...] = (), role: Role = Role.USER) -> Access:
    return Access(
        caller=Caller(key_hash=f"key-{name}", user=name),
        role=role,
        organizations=frozenset(inside),
        admin_of_organizations=frozenset(leads),
    )


async def test_an_organization_from_first_to_last(office: Bureau) -> None:
    made = await office.post(
        "/organization/new", organization_alias="Acme", models=["m"], max_budget=10, budget_duration="7d", color="red"
    )
    id, budget = made["organization_id"], made["litellm_budget_table"]
    assert (made["organization_alias"], made["models"], made["color"]) == ("Acme", ["m"], "red")
    assert (budget["max_budget"], budget["budget_id"], made["spend"]) == (10, made["budget_id"], 0)
    assert (made["members"], made["teams"], made["created_by"]) == ([], [], "default_user_id")
    await office.pool.execute("INSERT INTO totals VALUES ('organization', $1, '', $2)", id, Decimal("2.5"))
    changed = await patch(office, "/organization/update", organization_id=id, max_budget=None, rpm_limit=5, models=None)
    assert (changed["models"], changed["color"], changed["total_spend"]) == (["m"], "red", 2.5)
    budget = changed["litellm_budget_table"]
    assert (budget["budget_id"], budget["max_budget"], budget["rpm_limit"]) == (made["budget_id"], None, 5)
    assert budget["budget_duration"] == "7d"
    assert await office.get("/organization/info", organization_id=id) == changed
    assert await office.get("/organization/list") == [changed]
    assert await office.post("/organization/info", organizations=[id, "none"]) == [changed]
    assert await delete(office, "/organization/delete", organization_ids=[id]) == [changed]
    assert await office.get("/organization/list") == []
    await office.get("/organization/info", 404, organization_id=id)
    assert all(f"organization:{id}" in told for told in office.told)
    log = await audited(office.pool, entity="organization")
    assert [entry["action"] for entry in log] == ["deleted", "updated", "created"]


async def test_every_organization_has_a_budget(office: Bureau) -> None:
    made = await office.post("/organization/new", organization_id="o", organization_alias="O")
    assert made["litellm_budget_table"]["max_budget"] is None
    await office.post("/budget/new", budget_id="big", max_budget=1000)
    linked = await office.post("/organization/update", organization_id="o", budget_id="big")
    assert linked["litellm_budget_table"]["max_budget"] == 1000
    await office.post("/budget/delete", id="big")
    anew = await office.post("/organization/update", organization_id="o", tpm_limit=7)
    assert anew["litellm_budget_table"]["tpm_limit"] == 7
    await office.post("/organization/new", 400, organization_alias="P", budget_id="none")
    await office.post("/organization/new", 400, organization_alias="P", budget_id=anew["budget_id"], max_budget=1)
    await office.post("/organization/new", 400, organization_alias="P", organization_id="o")
    await office.post("/organization/new", 400, max_budget=1)
    assert len(await office.get("/organization/list")) == 1


async def test_metadata_is_added_to(office: Bureau) -> None:
    made = await office.post(
        "/organization/new", organization_id="o", organization_alias="O", metadata={"a": 1}, model_rpm_limit={"m": 3}
    )
    assert made["metadata"] == {"a": 1, "model_rpm_limit": {"m": 3}}
    changed = await office.post("/organization/update", organization_id="o", metadata={"a": None, "b": {"c": 1}})
    assert changed["metadata"] == {"a": 1, "b": {"c": 1}, "model_rpm_limit": {"m": 3}}
    changed = await office.post("/organization/update", organization_id="o", metadata={"b": {"d": 2}})
    assert changed["metadata"]["b"] == {"c": 1, "d": 2}


async def test_what_was_answered_may_be_sent_back(office: Bureau) -> None:
    made = await office.post("/organization/new", organization_id="o", organization_alias="O", max_budget=5)
    sent = {**made, "litellm_budget_table": {**made["litellm_budget_table"], "max_budget": 6}, "spend": 99}
    changed = await office.post("/organization/update", **sent)
    assert (changed["litellm_budget_table"]["max_budget"], changed["spend"]) == (6, 0)
    assert changed["budget_id"] == made["budget_id"]
    stored = await tenants.find(office.pool, tenants.ORGANIZATIONS, "o")
    assert stored is not None
    assert stored["extra"] == {"object_permission": None}


async def test_lists_are_filtered_and_paged(office: Bureau) -> None:
    for name in ("one", "two", "t_e"):
        await office.post("/organization/new", organization_id=name, organization_alias=f"The {name}")

    async def listed(**query: Any) -> list[str]:
        return [row["organization_id"] for row in await office.get("/organization/list", **query)]

    assert await listed() == ["one", "two", "t_e"]
    assert await listed(org_id="two") == ["two"]
    assert await listed(org_alias="THE T") == ["two", "t_e"]
    assert await listed(org_alias="t_e") == ["t_e"]
    assert await listed(page=2, page_size=2) == ["t_e"]
    office.access = user("u", inside=("one",), leads=("t_e",))
    assert await listed() == ["one", "t_e"]
    assert await listed(org_id="two") == []
    assert await listed(org_alias="the") == ["one", "t_e"]
    office.access = user("nobody")
    assert await listed() == []


async def test_what_is_its_goes_with_it(office: Bureau) -> None:
    for name in ("o", "other"):
        await office.post("/organization/new", organization_id=name, organization_alias=name)
        await office.post("/team/new", team_id=f"team-{name}", organization_id=name, team_member_budget=3)
        await office.post(
            "/organization/member_add", organization_id=name, member={"user_id": "ann", "role": "org_admin"}
        )
    async with office.pool.acquire() as on:
        for key, owner in {
            "k1": {"organization_id": "o"},
            "k2": {"team_id": "team-o"},
            "k3": {"team_id": "team-other", "organization_id": "other"},
        }.items():
            await tenants.insert(on, tenants.KEYS, {"key_id": key, "key_name": key, **owner})
    shown = await office.get("/organization/info", organization_id="o")
    assert [team["team_id"] for team in shown["teams"]] == ["team-o"]
    assert [member["user_id"] for member in shown["members"]] == ["ann"]
    await delete(office, "/organization/delete", 404, organization_ids=["o", "unknown"])
    assert len(await office.get("/organization/list")) == 2
    assert await delete(office, "/organization/delete", organization_ids=["o", "o"]) == [shown]
    assert {"organization:o", "team:team-o", "key:k1", "key:k2", "user:ann"} <= office.told[-1]
    left = await office.get("/organization/info", organization_id="other")
    assert [team["team_id"] for team in left["teams"]] == ["team-other"]
    assert [member["user_id"] for member in left["members"]] == ["ann"]
    assert [row["key_id"] for row in await tenants.matching(office.pool, tenants.KEYS, {})] == ["k3"]
    assert {row["team_id"] for row in await tenants.matching(office.pool, tenants.TEAM_MEMBERS, {})} == {"team-other"}


OUTSIDE = {role: user("x", role=role) for role in Role if role not in (Role.ADMIN, Role.VIEWER)}


@pytest.mark.parametrize(
    ("access", "reads", "changes"),
    [
        (user("v", role=Role.VIEWER), 200, 403),
        (user("a", leads=("o",), role=Role.ORG_ADMIN), 200, 403),
        (user("u", inside=("o",)), 200, 403),
        (user("b", leads=("other",), role=Role.ORG_ADMIN), 403, 403),
        *((access, 403, 403) for access in OUTSIDE.values()),
    ],
    ids=["viewer", "its admin", "its member", "another's admin", *(f"outside: {role}" for role in OUTSIDE)],
)
async def test_who_may(office: Bureau, access: Access, reads: int, changes: int) -> None:
    for name in ("o", "other"):
        await office.post("/organization/new", organization_id=name, organization_alias="O")
    office.access = access
    await office.get("/organization/info", reads, organization_id="o")
    await office.post("/organization/info", reads, organizations=["o"])
    await office.post("/organization/info", 200 if access.reads_all else 403, organizations=["o", "other"])
    listed = [row["organization_id"] for row in await office.get("/organization/list", org_id="o")]
    assert listed == (["o"] if reads == 200 else [])
    await office.post("/organization/new", changes, organization_alias="P")
    await patch(office, "/organization/update", changes, organization_id="o", max_budget=10**9)
    await delete(office, "/organization/delete", changes, organization_ids=["o"])
