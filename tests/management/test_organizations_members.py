"""`/organization/member_*`: who joins, as what, with which budget; who leaves; and who decides about it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ledger import tenants
from ledger.pool import Pool
from schemas.access import Access, Role
from tests.management.test_organizations import ROUTERS, delete, patch, user
from tests.support.audit import audited
from tests.support.office import Bureau, bureau

ADD, UPDATE, DELETE = (f"/organization/member_{action}" for action in ("add", "update", "delete"))


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The routes of organizations, with an organization `o` and the users ann and root."""
    async with bureau(pool, *ROUTERS) as found:
        await found.post("/organization/new", organization_id="o", organization_alias="O")
        async with pool.acquire() as on:
            await tenants.insert(on, tenants.USERS, {"user_id": "ann", "user_email": "Ann@x.org"})
            await tenants.insert(on, tenants.USERS, {"user_id": "root", "user_role": "proxy_admin"})
        found.told.clear()
        yield found


async def members(office: Bureau) -> list[tuple[Any, ...]]:
    shown = await office.get("/organization/info", organization_id="o")
    return [(row["user_id"], row["user_email"], row["user_role"]) for row in shown["members"]]


async def test_a_member_from_first_to_last(office: Bureau) -> None:
    added = await office.post(ADD, organization_id="o", member={"user_id": "ann", "role": "internal_user"})
    assert added["organization_id"] == "o"
    assert [row["user_id"] for row in added["updated_users"]] == ["ann"]
    place = added["updated_organization_memberships"][0]
    assert (place["user_id"], place["organization_id"], place["user_role"]) == ("ann", "o", "internal_user")
    assert (place["spend"], place["budget_id"], place["litellm_budget_table"]) == (0, None, None)
    assert office.told == [{"organization:o", "user:ann"}]
    assert await members(office) == [("ann", "Ann@x.org", "internal_user")]
    changed = await patch(office, UPDATE, organization_id="o", user_email="ann@X.ORG", role="org_admin")
    assert (changed["user_role"], changed["user"]["user_email"]) == ("org_admin", "Ann@x.org")
    changed = await patch(office, UPDATE, organization_id="o", user_id="ann", max_budget_in_organization=5)
    assert (changed["user_role"], changed["litellm_budget_table"]["max_budget"]) == ("org_admin", 5)
    again = await patch(office, UPDATE, organization_id="o", user_id="ann", max_budget_in_organization=0)
    assert (again["budget_id"], again["litellm_budget_table"]["max_budget"]) == (changed["budget_id"], 0)
    assert await delete(office, DELETE, organization_id="o", user_email="ann@x.org") == again
    assert await members(office) == []
    assert {"organization:o", "user:ann"} <= office.told[-1]
    log = await audited(office.pool, entity="organization", id="o")
    assert [entry["action"] for entry in log] == [
        "member_removed",
        "member_updated",
        "member_updated",
        "member_updated",
        "member_added",
        "created",
    ]


async def test_who_is_not_a_user_becomes_one(office: Bureau) -> None:
    people = [
        {"user_id": "bob", "user_email": "bob@x.org", "role": "org_admin"},
        {"user_email": "eve@x.org", "role": "internal_user"},
        {"user_email": "ANN@x.org", "role": "internal_user_viewer"},
    ]
    added = await office.post(ADD, organization_id="o", member=people, max_budget_in_organization=2.5)
    ids = [row["user_id"] for row in added["updated_users"]]
    assert (ids[0], ids[2]) == ("bob", "ann")
    assert [row["litellm_budget_table"]["max_budget"] for row in added["updated_organization_memberships"]] == [2.5] * 3
    assert len({row["budget_id"] for row in added["updated_organization_memberships"]}) == 3
    eve = await tenants.find(office.pool, tenants.USERS, ids[1])
    assert eve is not None
    assert eve["user_email"] == "eve@x.org"


async def test_all_join_or_none(office: Bureau) -> None:
    ann = {"user_id": "ann", "role": "internal_user"}
    await office.post(ADD, organization_id="o", member=ann)
    await office.post(ADD, 400, organization_id="o", member=[{"user_id": "bob", "role": "internal_user"}, ann])
    assert await tenants.find(office.pool, tenants.USERS, "bob") is None
    assert [name for name, _, _ in await members(office)] == ["ann"]


@pytest.mark.parametrize(
    "member",
    [
        {"role": "internal_user"},
        {"user_id": "ann"},
        {"user_id": "ann", "role": "proxy_admin"},
        {"user_id": "ann", "role": "customer"},
        [],
        "ann",
    ],
)
async def test_a_member_that_means_nothing_is_refused(office: Bureau, member: Any) -> None:
    await office.post(ADD, 400, organization_id="o", member=member)
    assert await members(office) == []


async def test_what_is_not_there_is_not_found(office: Bureau) -> None:
    await office.post(ADD, 404, organization_id="none", member={"user_id": "ann", "role": "internal_user"})
    await patch(office, UPDATE, 400, organization_id="none", user_id="ann", role="internal_user")
    await patch(office, UPDATE, 404, organization_id="o", user_id="ann", role="internal_user")
    await delete(office, DELETE, 404, organization_id="o", user_id="ann")
    await delete(office, DELETE, 404, organization_id="o", user_email="nobody@x.org")
    await delete(office, DELETE, 400, organization_id="o")


@pytest.mark.parametrize(
    ("access", "status"),
    [
        (user("a", leads=("o",), role=Role.ORG_ADMIN), 200),
        (user("v", role=Role.VIEWER), 403),
        (user("u", inside=("o",)), 403),
        (user("b", leads=("other",), role=Role.ORG_ADMIN), 403),
        (user("x", role=Role.NONE), 403),
    ],
    ids=["its admin", "viewer", "its member", "another's admin", "nobody"],
)
async def test_who_decides(office: Bureau, access: Access, status: int) -> None:
    await office.post(ADD, organization_id="o", member={"user_id": "ann", "role": "internal_user"})
    office.access = access
    await office.post(ADD, status, organization_id="o", member={"user_email": "eve@x.org", "role": "internal_user"})
    await patch(office, UPDATE, status, organization_id="o", user_id="ann", role="org_admin")
    await delete(office, DELETE, status, organization_id="o", user_id="ann")


async def test_nobody_changes_his_own_budget(office: Bureau) -> None:
    places = [{"user_id": "ann", "role": "org_admin"}, {"user_id": "eve", "role": "internal_user"}]
    await office.post(ADD, organization_id="o", member=places, max_budget_in_organization=5)
    admin, office.access = office.access, user("ann", leads=("o",), role=Role.ORG_ADMIN)
    await patch(office, UPDATE, 403, organization_id="o", user_id="ann", max_budget_in_organization=9)
    await delete(office, DELETE, 403, organization_id="o", user_id="ann")
    await patch(office, UPDATE, organization_id="o", user_id="eve", max_budget_in_organization=9)
    await patch(office, UPDATE, organization_id="o", user_id="ann", role="internal_user")
    office.access = admin
    changed = await patch(office, UPDATE, organization_id="o", user_id="ann", max_budget_in_organization=6)
    assert changed["litellm_budget_table"]["max_budget"] == 6


async def test_only_an_admin_decides_about_admins(office: Bureau) -> None:
    place = {"user_id": "root", "role": "internal_user"}
    leader = user("a", leads=("o",), role=Role.ORG_ADMIN)
    admin, office.access = office.access, leader
    await office.post(ADD, 403, organization_id="o", member=place)
    office.access = admin
    await office.post(ADD, organization_id="o", member=place)
    office.access = leader
    await patch(office, UPDATE, 403, organization_id="o", user_id="root", role="org_admin")
    await delete(office, DELETE, 403, organization_id="o", user_id="root")
    assert await members(office) == [("root", None, "internal_user")]
