"""`/team/member_*`: who joins, by id or email, with which budget, and what is left when somebody goes."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from api.management.rules import UserRules
from ledger import tenants
from ledger.access import find_user
from ledger.pool import Pool
from ledger.terms import Rules
from schemas.access import Access
from schemas.usage import Caller
from tests.management.tenancy import key, tenancy
from tests.support.office import Bureau


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The routes of teams and users, with a team `t`."""
    async with tenancy(pool, for_users=UserRules({"user_role": "internal_user_viewer", "max_budget": 7})) as found:
        await found.post("/team/new", team_id="t", team_alias="red")
        yield found


async def add(office: Bureau, *people: dict[str, Any], status: int = 200, **terms: Any) -> Any:
    """`/team/member_add` to the team `t`."""
    member = people[0] if len(people) == 1 else list(people)
    return await office.post("/team/member_add", status, team_id="t", member=member, **terms)


async def budget_of(office: Bureau, user_id: str) -> dict[str, Any] | None:
    """The member's budget in the team `t`."""
    places = (await office.get("/team/info", team_id="t"))["team_memberships"]
    found: dict[str, Any] | None = next(p for p in places if p["user_id"] == user_id)["litellm_budget_table"]
    return found


async def test_members_come_by_id_or_by_email_and_are_made_when_they_are_new(office: Bureau) -> None:
    await office.post("/user/new", user_id="old", user_email="Old@x.org", auto_create_key=False)
    found = await add(
        office, {"user_id": "new"}, {"user_email": "OLD@X.ORG", "role": "admin"}, {"user_email": "b@x.org"}
    )
    assert [user["user_id"] for user in found["updated_users"]][:2] == ["new", "old"]
    assert [user["user_email"] for user in found["updated_users"]] == [None, "Old@x.org", "b@x.org"]
    assert [user["user_role"] for user in found["updated_users"]] == ["internal_user_viewer"] * 3
    assert [user["max_budget"] for user in found["updated_users"]] == [7, 7, 7]
    assert [user["teams"] for user in found["updated_users"]] == [["t"]] * 3
    assert [place["role"] for place in found["updated_team_memberships"]] == ["user", "admin", "user"]
    assert [person["role"] for person in found["members_with_roles"]] == ["user", "admin", "user"]
    assert {"team:t", "user:new", "user:old"} <= office.told[-1]
    await add(office, {"user_id": "new"}, status=400)
    again = await add(office, {"user_id": "new"}, {"user_id": "another"})
    assert [user["user_id"] for user in again["updated_users"]] == ["another"], "who is there stays as he is"


async def test_somebody_who_is_not_clear_is_refused(office: Bureau) -> None:
    async with office.pool.acquire() as connection:
        for user_id in ("a", "b"):
            await tenants.insert(connection, tenants.USERS, {"user_id": user_id, "user_email": "same@x.org"})
    await office.post("/user/new", user_id="c", user_email="c@x.org", auto_create_key=False)
    await add(office, {"user_email": "Same@x.org"}, status=400)
    await add(office, {"user_email": "c@x.org", "user_id": "a"}, status=400)
    await add(office, {"role": "user"}, status=400)
    await add(office, {"user_id": "new"}, {"user_email": "Same@x.org"}, status=400)
    assert (await office.get("/team/info", team_id="t"))["team_memberships"] == [], "all join or none"


async def test_a_member_has_a_budget_of_his_own_in_the_team(office: Bureau) -> None:
    await add(office, {"user_id": "u"}, max_budget_in_team=2.5, budget_duration="7d", allowed_models=["gpt"])
    budget = await budget_of(office, "u")
    assert budget is not None
    assert (budget["max_budget"], budget["budget_duration"], budget["allowed_models"]) == (2.5, "7d", ["gpt"])
    changed = await office.post("/team/member_update", team_id="t", user_id="u", rpm_limit=5, role="admin")
    assert (changed["user_id"], changed["rpm_limit"]) == ("u", 5)
    budget = await budget_of(office, "u")
    assert budget is not None
    assert (budget["max_budget"], budget["rpm_limit"]) == (2.5, 5)
    assert (await office.get("/team/info", team_id="t"))["team_info"]["admins"] == ["u"]
    none = {"max_budget_in_team": None, "budget_duration": None, "allowed_models": [], "rpm_limit": None}
    await office.post("/team/member_update", team_id="t", user_id="u", **none)
    assert await budget_of(office, "u") is None
    await office.post("/team/member_update", 400, team_id="t", user_id="u", max_budget_in_team=-1)
    await office.post("/team/member_update", 400, team_id="t", user_id="u", temp_budget_increase=5)
    await office.post("/team/member_update", team_id="t", user_id="u", max_budget_in_team=0)
    budget = await budget_of(office, "u")
    assert budget is not None, "a budget of nothing is a budget"
    assert budget["max_budget"] == 0


async def test_members_have_budgets_of_single_models(office: Bureau) -> None:
    default, own = {"gpt": {"budget_limit": 2.5, "time_period": "1d"}}, {"gpt": {"budget_limit": 1}}
    answer = await office.post("/team/update", team_id="t", team_member_model_max_budget=default)
    assert "team_member_model_max_budget" not in answer["data"], "it is the budget's"
    await add(office, {"user_id": "all"})
    await add(office, {"user_id": "u"}, model_max_budget={"gpt": 1})
    changed = await office.post("/team/member_update", team_id="t", user_id="v", model_max_budget=own, status=400)
    assert changed["error"]["param"] == "user_id"

    async def most(user_id: str) -> list[Decimal]:
        found = (await find_user(office.pool, user_id, "t", None, Rules())).model_terms
        terms = [terms for by_model in found for terms in by_model.values()]
        return sorted(budget.most for one in terms for budget in one.budgets if budget.most is not None)

    assert (await most("all"), await most("u"), await most("nobody")) == ([Decimal("2.5")], [1], [])
    places = (await office.get("/team/info", team_id="t"))["team_memberships"]
    assert [place["litellm_budget_table"]["model_max_budget"] for place in places] == [default, own]
    changed = await office.post("/team/member_update", team_id="t", user_id="all", model_max_budget=own)
    assert changed["model_max_budget"] == own
    assert await most("all") == [1]
    await office.post("/team/member_update", team_id="t", user_id="all", model_max_budget={}, rpm_limit=5)
    assert await most("all") == [Decimal("2.5")], "the default again"
    await office.post("/team/update", team_id="t", team_member_model_max_budget={"gpt": 4, "o": 3})
    assert (await most("all"), await most("u")) == ([3, 4], [1])
    await office.post("/team/update", team_id="t", team_member_model_max_budget=None)
    assert (await most("all"), await most("u")) == ([], [1])
    for bad in ({"gpt": -1}, {"gpt": {"time_period": "soon"}}, ["gpt"], {"": 1}):
        await office.post("/team/member_update", 400, team_id="t", user_id="u", model_max_budget=bad)
        await office.post("/team/update", 400, team_id="t", team_member_model_max_budget=bad)


async def test_a_members_budget_can_be_raised_for_a_while(office: Bureau) -> None:
    u = {"team_id": "t", "user_id": "u"}
    await add(office, {"user_id": "u"}, max_budget_in_team=2)
    raised: dict[str, Any] = {"temp_budget_increase": 3, "temp_budget_expiry": "2999-01-01T00:00:00Z"}
    changed = await office.post("/team/member_update", **u, **raised)
    assert (changed["temp_budget_increase"], changed["max_budget_in_team"]) == (3, None)
    budget = await budget_of(office, "u")
    assert budget is not None
    assert (budget["max_budget"], budget["temp_budget_expiry"]) == (2, "2999-01-01T00:00:00Z")
    access, office.access = office.access, Access(caller=Caller(user="u"), teams=frozenset({"t"}))
    place = (await office.get("/v2/team/list"))["teams"][0]["caller_membership"]
    assert place == {"spend": 0, "max_budget": 5, "budget_reset_at": None}
    office.access = access
    (terms,) = (await find_user(office.pool, "u", "t", None, Rules())).terms.budgets
    assert (terms.most, terms.at(4e10).most) == (5, 2)
    await office.post("/team/member_update", **u, **dict.fromkeys(raised))
    budget = await budget_of(office, "u")
    assert budget is not None
    assert raised.keys().isdisjoint(budget)
    await office.post("/team/member_update", **u, **raised)
    await office.post("/team/member_update", **u, max_budget_in_team=None)
    assert await budget_of(office, "u") is None, "a raise alone is no budget"


async def test_members_share_a_default_budget_until_they_get_their_own(office: Bureau) -> None:
    await add(office, {"user_id": "early"})
    await office.post("/team/update", team_id="t", team_member_budget=3, team_member_rpm_limit=9)
    await add(office, {"user_id": "late"})
    for user_id in ("early", "late"):
        budget = await budget_of(office, user_id)
        assert budget is not None
        assert (budget["max_budget"], budget["rpm_limit"]) == (3, 9)
    await office.post("/team/member_update", team_id="t", user_id="late", rpm_limit=1)
    await office.post("/team/update", team_id="t", team_member_budget=4)
    early, late = await budget_of(office, "early"), await budget_of(office, "late")
    assert early is not None
    assert late is not None
    assert (early["max_budget"], early["rpm_limit"]) == (4, 9)
    assert (late["max_budget"], late["rpm_limit"]) == (3, 1)
    found = await office.get("/team/info", team_id="t")
    assert found["team_info"]["team_member_budget_table"]["max_budget"] == 4
    assert {p["user_id"]: p["budget_source"] for p in found["team_memberships"]} == {
        "early": "team_default",
        "late": "custom",
    }
    default = found["team_info"]["metadata"]["team_member_budget_id"]
    changed = await office.post("/team/update", team_id="t", metadata={"team_member_budget_id": "mine", "a": 1})
    assert changed["data"]["metadata"] == {"a": 1, "team_member_budget_id": default}, "it is not the client's to set"


async def test_new_members_get_the_teams_models_for_members(office: Bureau) -> None:
    await office.post("/team/update", team_id="t", default_team_member_models=["gpt"])
    await add(office, {"user_id": "u"})
    budget = await budget_of(office, "u")
    assert budget is not None
    assert budget["allowed_models"] == ["gpt"]


async def test_who_leaves_loses_his_keys_of_the_team(office: Bureau) -> None:
    await add(office, {"user_email": "u@x.org", "user_id": "u"})
    await key(office.pool, "of the team", team_id="t", user_id="u")
    await key(office.pool, "his own", user_id="u")
    await key(office.pool, "the team's", team_id="t")
    left = await office.post("/team/member_delete", team_id="t", user_email="U@x.org")
    assert left["members"] == []
    assert {row["key_id"] for row in await tenants.matching(office.pool, tenants.KEYS, {})} == {"his own", "the team's"}
    assert office.told[-1] == {"team:t", "user:u", "key:of the team"}
    await office.post("/team/member_delete", 400, team_id="t", user_id="u")
    await office.post("/team/member_delete", 400, team_id="t")


async def test_many_join_at_once_or_nobody(office: Bureau) -> None:
    people = [{"user_id": f"u{number}", "role": "user"} for number in range(30)]
    found = await office.post("/team/bulk_member_add", team_id="t", members=people, max_budget_in_team=1)
    assert (found["total_requested"], found["successful_additions"], found["failed_additions"]) == (30, 30, 0)
    assert all(result["success"] for result in found["results"])
    assert found["results"][3]["updated_team_membership"]["litellm_budget_table"]["max_budget"] == 1
    await office.post("/team/new", team_id="all")
    found = await office.post("/team/bulk_member_add", team_id="all", all_users=True)
    assert found["successful_additions"] == 30
    await office.post("/team/bulk_member_add", 400, team_id="t")
    await office.post("/team/bulk_member_add", 400, team_id="t", members=[people[0]] * 501)


async def test_what_members_have_spent_is_shown(office: Bureau) -> None:
    await add(office, {"user_id": "u"})
    await office.pool.execute("INSERT INTO totals VALUES ('member', 't', 'u', 1.5), ('team', 't', '', 4)")
    found = await office.get("/team/info", team_id="t")
    assert (found["team_info"]["spend"], found["team_info"]["total_spend"]) == (4, 4)
    assert found["team_memberships"][0]["spend"] == 1.5
    row = await tenants.find(office.pool, tenants.TEAMS, "t")
    assert row is not None
    assert row["max_budget"] is None
    await office.post("/team/update", team_id="t", max_budget="0.1")
    row = await tenants.find(office.pool, tenants.TEAMS, "t")
    assert row is not None
    assert row["max_budget"] == Decimal("0.1")


async def test_a_member_begins_anew(office: Bureau) -> None:
    await office.post("/team/update", team_id="t", team_member_budget=3)
    await add(office, {"user_id": "u"}, max_budget_in_team=2, budget_duration=None)
    await office.pool.execute("INSERT INTO totals VALUES ('member', 't', 'u', 2.5)")
    path = "/team/t/member/u"
    await office.post(f"{path}/reset_spend", 400, reset_to=2.6)
    await office.post(f"{path}/reset_spend", 400, reset_to=2.2)
    await office.post(f"{path}/reset_spend", 400, reset_to="NaN")
    await office.post("/team/t/member/none/reset_spend", 404, reset_to=0)
    found = await office.post(f"{path}/reset_spend", reset_to=0.5)
    assert found == {"team_id": "t", "user_id": "u", "spend": 0.5, "previous_spend": 2.5, "max_budget": 2}
    assert (await office.get("/team/info", team_id="t"))["team_memberships"][0]["spend"] == 0.5
    assert office.told[-1] == {"team:t", "user:u"}
    found = await office.post(f"{path}/reset_budget")
    assert found["budget_source"] == "team_default"
    budget = await budget_of(office, "u")
    assert budget is not None
    assert (budget["budget_id"], budget["max_budget"]) == (found["budget_id"], 3)
    await office.post("/team/t/member/none/reset_budget", 404)
