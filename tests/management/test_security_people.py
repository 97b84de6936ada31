"""Ways by which an admin of a team or an organization could get hold of other people and teams; each is refused."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.management import organizations, teams, users
from api.management.keys.desk import KeyDesk
from ledger import tenants
from ledger.pool import Pool
from tests.management.tenancy import PEPPER, belongs, key, organization, person
from tests.support.keys import add, add_team
from tests.support.office import ADMIN, Bureau, bureau

PLAN = "the secret plan"
LEADER = person("boss", organizations=("mine",))


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The organizations `mine` and `theirs`, and a user of neither, in a team of neither, with a key."""

    async def pepper() -> Any:
        return PEPPER

    routers = (*teams.ROUTERS, *users.ROUTERS, *organizations.ROUTERS)
    async with bureau(pool, *routers, keys=KeyDesk(pepper)) as found:
        await organization(pool, "mine")
        await organization(pool, "theirs")
        about = {"user_email": "v@x", "user_role": "internal_user", "metadata": {"note": PLAN}, "max_budget": 7}
        await add(pool, tenants.USERS, user_id="victim", created_by="default_user_id", **about)
        await add_team(pool, "far", "victim")
        await key(pool, "k", user_id="victim", team_id="far")
        yield found


# --- organizations ----------------------------------------------------------------------------------------------------


async def join(office: Bureau, status: int, organization_id: str = "mine", **who: str) -> None:
    """`/organization/member_add` as somebody who is nothing more there."""
    member = {**who, "role": "internal_user"}
    await office.post("/organization/member_add", status, organization_id=organization_id, member=member)


async def test_an_organizations_admin_takes_nobody_of_others(office: Bureau) -> None:
    office.access = LEADER
    await join(office, 403, user_id="victim")
    await join(office, 403, user_email="V@X")
    await office.get("/user/info", 403, user_id="victim")
    await office.post("/user/delete", 403, user_ids=["victim"])
    await office.post("/invitation/new", 403, user_id="victim")
    await join(office, 200, user_email="new@x")
    office.access = ADMIN
    await join(office, 200, user_id="victim")
    assert await tenants.find(office.pool, tenants.KEYS, "k") is not None


async def test_an_organizations_admin_moves_his_people_between_his_own(office: Bureau) -> None:
    await belongs(office.pool, "mine", "victim")
    office.access = person("boss", organizations=("mine", "theirs"))
    await join(office, 200, "theirs", user_id="victim")
    office.access = person("chief", organizations=("theirs",))
    await add(office.pool, tenants.USERS, user_id="made", created_by="chief")
    await join(office, 200, "theirs", user_id="made")


@pytest.mark.parametrize("teams_organization", [None, "theirs"])
async def test_who_is_in_a_team_elsewhere_is_not_removed_nor_invited(
    office: Bureau, teams_organization: str | None
) -> None:
    await belongs(office.pool, "mine", "victim")
    await office.pool.execute("UPDATE teams SET organization_id = $1", teams_organization)
    office.access = LEADER
    await office.get("/user/info", user_id="victim")
    await office.post("/user/delete", 403, user_ids=["victim"])
    await office.post("/invitation/new", 403, user_id="victim")
    assert await tenants.find(office.pool, tenants.KEYS, "k") is not None
    await office.pool.execute("UPDATE teams SET organization_id = 'mine'")
    await office.post("/invitation/new", user_id="victim")
    await office.post("/user/delete", user_ids=["victim"])
    assert await tenants.find(office.pool, tenants.KEYS, "k") is None


# --- teams ------------------------------------------------------------------------------------------------------------

ABOVE: list[tuple[str, dict[str, Any]]] = [
    ("/team/model/add", {"team_id": "t", "models": ["large"]}),
    ("/team/model/delete", {"team_id": "t", "models": ["small"]}),
    ("/team/block", {"team_id": "t"}),
    ("/team/unblock", {"team_id": "t"}),
    ("/team/delete", {"team_ids": ["t"]}),
]


@pytest.mark.parametrize("place", [None, "theirs"])
async def test_a_teams_admin_who_leads_an_organization_leads_no_other(office: Bureau, place: str | None) -> None:
    await add_team(office.pool, "t", admins=("boss",), models=["small"], blocked=True, organization_id=place)
    before = await tenants.find(office.pool, tenants.TEAMS, "t")
    office.access = person("boss", admin_of=("t",), organizations=("mine",))
    for path, body in ABOVE:
        await office.post(path, 403, **body)
    assert await tenants.find(office.pool, tenants.TEAMS, "t") == before
    await office.pool.execute("UPDATE teams SET organization_id = 'mine' WHERE team_id = 't'")
    for path, body in ABOVE:
        await office.post(path, **body)


MEMBERS: list[tuple[str, dict[str, Any]]] = [
    ("/team/member_add", {"member": {"user_email": "v@x"}}),
    ("/team/bulk_member_add", {"members": [{"user_id": "victim"}]}),
]


@pytest.mark.parametrize(("path", "body"), MEMBERS)
async def test_a_teams_admin_learns_of_his_members_only_who_they_are(
    office: Bureau, path: str, body: dict[str, Any]
) -> None:
    await add_team(office.pool, "t", admins=("a",))
    office.access = person("a", admin_of=("t",))
    await office.get("/v2/user/info", 404, user_id="victim")
    joined = await office.post(path, team_id="t", **body)
    seen = joined["updated_users"] if "updated_users" in joined else [joined["results"][0]["updated_user"]]
    who = {"user_id": "victim", "user_email": "v@x", "user_alias": None, "user_role": "internal_user"}
    assert seen == [who]
    light = await office.get("/v2/user/info", user_id="victim")
    assert {name: value for name, value in light.items() if value is not None} == {
        **{name: value for name, value in who.items() if value is not None},
        "teams": ["t"],
    }
    await office.get("/user/info", 403, user_id="victim")
    await office.post("/invitation/new", 403, user_id="victim")
    assert PLAN not in str([joined, light])
    office.access = ADMIN
    assert (await office.get("/v2/user/info", user_id="victim"))["metadata"] == {"note": PLAN}


async def test_a_teams_admin_invites_whom_he_has_brought(office: Bureau) -> None:
    await add_team(office.pool, "t", admins=("a",))
    office.access = person("a", admin_of=("t",))
    made = await office.post("/team/member_add", team_id="t", member={"user_email": "new@x"})
    user_id = made["updated_users"][0]["user_id"]
    await office.post("/invitation/new", user_id=user_id)
    await belongs(office.pool, "theirs", user_id)
    await office.post("/invitation/new", 403, user_id=user_id)


async def test_whoever_has_no_user_has_brought_nobody(office: Bureau) -> None:
    await office.pool.execute("UPDATE users SET created_by = ''")
    office.access = person("", organizations=("mine",))
    await join(office, 403, user_id="victim")
    office.access = person("", admin_of=("far",))
    await office.post("/invitation/new", 403, user_id="victim")


async def test_a_teams_keys_move_with_it(office: Bureau) -> None:
    await office.pool.execute("UPDATE virtual_keys SET organization_id = 'mine'")
    for organization_id, expected in (("theirs", "theirs"), ("", None)):
        await office.post("/team/update", team_id="far", organization_id=organization_id)
        row = await tenants.find(office.pool, tenants.KEYS, "k")
        assert row is not None
        assert row["organization_id"] == expected
    await office.http.request("DELETE", "/organization/delete", json={"organization_ids": ["mine"]})
    assert await tenants.find(office.pool, tenants.KEYS, "k") is not None
