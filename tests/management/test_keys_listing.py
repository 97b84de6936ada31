"""`/key/list` and `/key/aliases`: pages, filters, and what of all keys each caller sees."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ledger import tenants
from ledger.pool import Pool
from schemas.access import Access, Role
from tests.support.keys import KeyBureau, add, add_team, key_bureau, someone
from tests.support.office import ADMIN

LISTS = {"team_member_permissions": ["/key/list"]}
IN_TEAMS = frozenset({"t", "listing"})


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[KeyBureau]:
    """Keys by alias: user u's own and in teams, others', and services'."""
    async with key_bureau(pool) as found:
        await add(pool, tenants.ORGANIZATIONS, organization_id="o")
        await add(pool, tenants.USERS, user_id="u", user_email="u@example.com")
        await add_team(pool, "t", organization_id="o")
        await add_team(pool, "listing", extra=LISTS)
        for alias, fields in {
            "mine": {"user_id": "u", "max_budget": 3},
            "mine-in-t": {"user_id": "u", "team_id": "t", "max_budget": 1},
            "other": {"user_id": "x", "blocked": True, "max_budget": 2},
            "other-in-t": {"user_id": "x", "team_id": "t"},
            "other-in-listing": {"user_id": "x", "team_id": "listing", "duration": "1h"},
            "service": {"team_id": "t"},
            "in-o": {"user_id": "y", "organization_id": "o", "agent_id": "agent", "access_group_ids": ["g"]},
        }.items():
            await found.generate(key_alias=alias, **fields)
        yield found


async def seen(office: KeyBureau, **query: Any) -> list[str]:
    """The aliases of the keys listed, in their order."""
    said = await office.listed(return_full_object=True, size=100, **query)
    assert said["total_count"] == len(said["keys"])
    return [key["key_alias"] for key in said["keys"]]


ALL = {"mine", "mine-in-t", "other", "other-in-t", "other-in-listing", "service", "in-o"}


@pytest.mark.parametrize(
    ("access", "query", "expected"),
    [
        (ADMIN, {}, ALL),
        (someone("v", role=Role.VIEWER), {}, ALL),
        (ADMIN, {"user_id": "u"}, {"mine", "mine-in-t"}),
        (ADMIN, {"user_id": "U", "substring_matching": True}, {"mine", "mine-in-t"}),
        (ADMIN, {"user_id": "_"}, set()),
        (ADMIN, {"user_id": "_", "substring_matching": True}, set()),
        (ADMIN, {"user_id": "default_user_id", "include_created_by_keys": True}, {"mine", "other", "in-o"}),
        (ADMIN, {"team_id": "t"}, {"mine-in-t", "other-in-t", "service"}),
        (ADMIN, {"organization_id": "o"}, {"mine-in-t", "other-in-t", "service", "in-o"}),
        (ADMIN, {"key_alias": "mine"}, {"mine"}),
        (ADMIN, {"key_alias": "MINE", "substring_matching": True}, {"mine", "mine-in-t"}),
        (ADMIN, {"search": "in-T"}, {"mine-in-t", "other-in-t"}),
        (ADMIN, {"status": "revoked"}, {"other"}),
        (ADMIN, {"status": "active"}, ALL - {"other", "other-in-listing"}),
        (ADMIN, {"status": "expired"}, {"other-in-listing"}),
        (ADMIN, {"expires": "active"}, ALL - {"other-in-listing"}),
        (ADMIN, {"expires": "expired"}, {"other-in-listing"}),
        (ADMIN, {"agent_id": "agent"}, {"in-o"}),
        (ADMIN, {"access_group_id": "g"}, {"in-o"}),
        (ADMIN, {"project_id": "p"}, set()),
        (someone("u"), {}, {"mine", "mine-in-t"}),
        (someone("u", teams=IN_TEAMS), {"team_id": "t"}, {"mine-in-t"}),
        (
            someone("u", teams=IN_TEAMS),
            {"include_team_keys": True},
            {"mine", "mine-in-t", "service", "other-in-listing"},
        ),
        (
            someone("u", teams=IN_TEAMS, admin_of_teams=frozenset({"t"})),
            {"include_team_keys": True, "team_id": "t"},
            {"mine-in-t", "other-in-t", "service"},
        ),
        (someone("u", teams=IN_TEAMS), {"include_created_by_keys": True}, {"mine", "mine-in-t", "service"}),
        (
            someone("z", role=Role.ORG_ADMIN, admin_of_organizations=frozenset({"o"})),
            {"organization_id": "o"},
            {"mine-in-t", "other-in-t", "service", "in-o"},
        ),
        (someone("z", organizations=frozenset({"o"})), {"organization_id": "o"}, set()),
        (someone("nobody"), {"include_team_keys": True, "include_created_by_keys": True}, set()),
    ],
)
async def test_who_sees_what(office: KeyBureau, access: Access, query: dict[str, Any], expected: set[str]) -> None:
    office.access = access
    office.now += timedelta(hours=2)
    assert set(await seen(office, **query)) == expected


async def test_a_team_that_left_the_organization_took_its_keys_along(office: KeyBureau) -> None:
    await office.pool.execute("UPDATE teams SET organization_id = NULL WHERE team_id = 't'")
    office.access = someone("z", role=Role.ORG_ADMIN, admin_of_organizations=frozenset({"o"}))
    assert await seen(office, include_team_keys=True) == ["in-o"]


@pytest.mark.parametrize(
    ("access", "query"),
    [
        (someone("u"), {"user_id": "x"}),
        (someone("u"), {"team_id": "t"}),
        (someone("u"), {"organization_id": "o"}),
        (someone("", role=Role.NONE, team="t"), {}),
    ],
)
async def test_who_asks_for_others_is_refused(office: KeyBureau, access: Access, query: dict[str, Any]) -> None:
    office.access = access
    await office.get("/key/list", 403, **query)


async def test_a_page_after_the_other(office: KeyBureau) -> None:
    first = await office.listed(size=3)
    assert (first["total_count"], first["total_pages"], first["current_page"]) == (7, 3, 1)
    pages = [(await office.listed(size=3, page=page))["keys"] for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert len({key for page in pages for key in page}) == 7
    beyond = await office.listed(size=3, page=9)
    assert (beyond["keys"], beyond["total_count"], beyond["current_page"]) == ([], 7, 9)
    for wrong in (
        {"size": 0},
        {"size": 101},
        {"page": 0},
        {"page": 10**12},
        {"sort_by": "models"},
        {"sort_order": "x"},
    ):
        await office.get("/key/list", 400, **wrong)
    assert (await office.http.get("/key/list", params={"status": "lost"})).status_code == 400


async def test_by_what_they_are_sorted(office: KeyBureau) -> None:
    order = ["mine", "mine-in-t", "other", "other-in-t", "other-in-listing", "service", "in-o"]
    assert await seen(office) == order[::-1]
    assert await seen(office, sort_by="created_at", sort_order="asc") == order
    assert await seen(office, sort_by="key_alias", sort_order="ASC") == sorted(order)
    assert (await seen(office, sort_by="max_budget"))[:3] == ["mine", "other", "mine-in-t"]
    assert (await seen(office, sort_by="max_budget", sort_order="asc"))[:3] == ["mine-in-t", "other", "mine"]
    ids = (await office.listed(sort_by="token", sort_order="asc", size=100))["keys"]
    assert ids == sorted(ids)


async def test_spend_sorts_by_what_is_shown(office: KeyBureau) -> None:
    office.now = await office.pool.fetchval("SELECT now()")
    day = await office.generate(key_alias="day", budget_duration="1d")
    week = await office.generate(key_alias="week", budget_duration="7d")
    ever = await office.generate(key_alias="ever")
    for key, total in ((day, 100), (week, 50), (ever, 3)):
        await office.pool.execute("INSERT INTO totals VALUES ('key', $1, '', $2)", key["token"], Decimal(total))
    await office.pool.execute(
        """INSERT INTO balances (kind, id, scope, period, began, ends, spent)
        VALUES ('key', $1, '', '1d', $2::timestamptz - interval '1 h', $2 + interval '1 h', 2)""",
        day["token"],
        office.now,
    )
    said = await office.listed(sort_by="spend", return_full_object=True, size=3)
    assert [(key["key_alias"], key["spend"]) for key in said["keys"][:2]] == [("ever", 3), ("day", 2)]
    assert all(key["spend"] == 0 for key in (await office.listed(sort_by="spend", return_full_object=True))["keys"][2:])


async def test_a_key_is_found_by_what_names_it(office: KeyBureau) -> None:
    made = await office.generate()
    for named in (made["key"], made["token"]):
        assert (await office.listed(key_hash=named))["keys"] == [made["token"]]
        assert (await office.listed(search=named))["keys"] == [made["token"]]
    assert (await office.listed(key_hash="none"))["keys"] == []
    office.access = someone("u")
    assert (await office.listed(key_hash=made["token"]))["keys"] == []


async def test_users_are_shown_when_they_are_asked_for(office: KeyBureau) -> None:
    await add(office.pool, tenants.USERS, user_id="default_user_id", user_alias="boss")
    said = await office.listed(expand="user", key_alias="mine")
    assert said["keys"][0]["user"]["user_email"] == "u@example.com"
    assert said["keys"][0]["created_by_user"] == {
        "user_id": "default_user_id",
        "user_email": None,
        "user_alias": "boss",
    }


async def test_aliases_are_a_page_of_names(office: KeyBureau) -> None:
    said = await office.get("/key/aliases", size=4, page=2)
    assert said == {
        "aliases": ["other-in-listing", "other-in-t", "service"],
        "total_count": 7,
        "current_page": 2,
        "total_pages": 2,
        "size": 4,
    }
    assert (await office.get("/key/aliases", search="IN-"))["total_count"] == 4
    assert (await office.get("/key/aliases", team_id="t"))["total_count"] == 3
    office.access = someone("u", teams=frozenset({"t"}))
    assert (await office.get("/key/aliases"))["aliases"] == ["mine", "mine-in-t", "other-in-t", "service"]
    office.access = someone("", role=Role.NONE)
    assert (await office.get("/key/aliases"))["aliases"] == []
