"""What the management API keeps of budgets holds for calls: members of organizations, raises, other models instead."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from api.estimate import Estimator
from api.management import keys, organizations, teams
from api.management.keys import KeyDesk
from api.payers import Payers
from api.payment import Cashier
from api.purse import Purse
from ledger import tenants
from ledger.access import find_key, find_user
from ledger.pepper import Pepper
from ledger.pool import Pool
from ledger.prices import PriceBook
from ledger.spend import record
from ledger.terms import Rules
from schemas.access import Access, Account
from schemas.config import Deployment, PriceOverride
from tests.api.test_payment import post
from tests.ledger.events import event
from tests.support.inside import Inside, Till, inside
from tests.support.keys import add, add_team
from tests.support.office import Bureau, bureau

PEPPER = Pepper(b"p" * 32)
PRICE = PriceOverride(input=Decimal("1e-6"), output=Decimal("4e-6"))
MODELS = tuple(Deployment(id=name, group=name, provider="demo", model="demo", price=PRICE) for name in "ghi")


@dataclass
class Desk:
    """The management routes, and a process that serves calls."""

    office: Bureau
    purse: Purse
    cashier: Cashier

    async def key(self, rules: Rules | None = None, **body: Any) -> Access:
        """What calls with a new key may do."""
        made = await self.office.post("/key/generate", **body)
        return await self.access(made["key"], rules)

    async def access(self, secret: str, rules: Rules | None = None) -> Access:
        """What calls with a key may do."""
        found = await find_key(self.office.pool, PEPPER.hash(secret.encode()), rules or Rules())
        assert found is not None
        return found

    def till(self, access: Access) -> Till:
        """Calls with this access."""
        return Till(access, self.cashier)


@pytest.fixture
async def desk(pool: Pool) -> AsyncIterator[Desk]:
    """An organization `o` with ann, who may spend a cent there, and bob, who may spend what he likes."""
    loop = asyncio.get_running_loop()

    async def pepper() -> Pepper:
        return PEPPER

    purse = Purse(pool, "api", loop.time, time.time, lambda _: None)
    purse.start()
    async with bureau(pool, *organizations.ROUTERS, *teams.ROUTERS, keys.ROUTER, keys=KeyDesk(pepper)) as office:
        await office.post("/organization/new", organization_id="o", organization_alias="O")
        for name, most in (("ann", 0.01), ("bob", None)):
            member = {"user_id": name, "role": "internal_user"}
            await office.post(
                "/organization/member_add", organization_id="o", member=member, max_budget_in_organization=most
            )
        yield Desk(office, purse, Cashier(purse, Estimator(PriceBook()), Payers(pool, loop.time)))
    await purse.close()


async def spend(pool: Pool, access: Access, cost: str, group: str = "g") -> None:
    """A call that has ended is recorded."""
    now = int(time.time() * 1e6)
    attempt = f"{access.caller.key_hash[:8]}-{now}"
    call = event(attempt, started=now, ended=now, group=group, cost=Decimal(cost), caller=access.caller)
    assert await record(pool, [call]) == 1


async def outcome(system: Inside, model: str = "g") -> tuple[int, str]:
    """(status, the group that answered or what was said)."""
    answer = await post(system, model=model)
    if answer.status_code == 200:
        return 200, answer.headers["x-litellm-model-group"]
    return answer.status_code, answer.json()["error"]["message"]


async def test_a_members_budget_in_an_organization_holds_for_all_his_keys(desk: Desk) -> None:
    await add_team(desk.office.pool, "t", "ann", organization_id="o")
    alone = await desk.key(user_id="ann", organization_id="o")
    in_team = await desk.key(user_id="ann", team_id="t")
    bobs, elsewhere = await desk.key(user_id="bob", organization_id="o"), await desk.key(user_id="ann")
    token = await find_user(desk.office.pool, "ann", "t", None, Rules())
    account = Account("organization_member", "o", "ann")
    assert [[b.account for b in a.terms.budgets] for a in (alone, in_team, token)] == [[account]] * 3
    await spend(desk.office.pool, alone, "0.004")
    await spend(desk.office.pool, in_team, "0.0058")  # 0.0002 are left: a call may cost twice that
    for access in (alone, in_team, token):
        async with inside(*MODELS, till=desk.till(access)) as system:
            status, said = await outcome(system)
            assert status == 422
            assert "User=ann in Organization=o Current cost: 0.0098, Max budget: 0.01" in said
    for access in (bobs, elsewhere):
        async with inside(*MODELS, till=desk.till(access)) as system:
            assert await outcome(system) == (200, "g")
    members = (await desk.office.get("/organization/info", organization_id="o"))["members"]
    assert [(one["user_id"], one["spend"]) for one in members] == [("ann", 0.0098), ("bob", 0)]


async def test_a_members_calls_are_reserved_and_settled(desk: Desk) -> None:
    access = await desk.key(user_id="ann", organization_id="o")
    async with inside(*MODELS, till=desk.till(access)) as system:
        assert await outcome(system) == (200, "g")
        (call,) = await system.accounted(1)
        assert (len(call.leases), call.caller.organization) == (1, "o")
        await record(desk.office.pool, [call])
    await desk.purse.close()
    spent, held = await desk.office.pool.fetchrow(
        "SELECT spent, (SELECT sum(outstanding) FROM leases) FROM balances WHERE kind = 'organization_member'"
    )
    assert (spent, held) == (call.cost, 0)


@pytest.mark.parametrize("duration", [None, "1d"])
async def test_a_members_first_budget_begins_with_what_he_has_spent(desk: Desk, duration: str | None) -> None:
    access = await desk.key(user_id="bob", organization_id="o")
    await spend(desk.office.pool, access, "3")
    await add(desk.office.pool, tenants.BUDGETS, budget_id="b", max_budget=Decimal(2), budget_duration=duration)
    await desk.office.pool.execute("UPDATE organization_members SET budget_id = 'b' WHERE user_id = 'bob'")
    limited = await desk.key(user_id="bob", organization_id="o")
    assert "budget:b" in limited.depends
    async with inside(*MODELS, till=desk.till(limited)) as system:
        status, said = await outcome(system)
        assert status == 422
        assert "User=bob in Organization=o Current cost: 3, Max budget: 2" in said


@pytest.mark.parametrize(("hours", "expected"), [(1, 200), (0, 422), (-1, 422)])
async def test_a_key_may_spend_more_for_a_while(desk: Desk, hours: int, expected: int) -> None:
    made = await desk.office.post("/key/generate", max_budget=1)
    expiry = datetime.now(UTC) + timedelta(hours=hours)
    body: dict[str, Any] = {"temp_budget_increase": 2, "temp_budget_expiry": expiry.isoformat()}
    changed = await desk.office.post("/key/update", key=made["key"], **body)
    assert changed["max_budget"] == 1
    access = await desk.access(made["key"])
    await spend(desk.office.pool, access, "1.5")
    async with inside(*MODELS, till=desk.till(access)) as system:
        answer = await post(system)
        assert answer.status_code == expected
        most = "3" if expected == 200 else None
        assert answer.headers.get("x-litellm-key-max-budget") == most
        assert expected == 200 or "Max budget: 1" in answer.json()["error"]["message"]


BUDGETS: dict[str, Any] = {"g": {"budget_limit": 1, "time_period": "1d"}, "h": {"budget_limit": 1, "time_period": "1d"}}


async def test_when_a_models_budget_is_spent_the_next_is_called(desk: Desk) -> None:
    key = await desk.key(model_max_budget=BUDGETS, budget_fallbacks={"g": ["none", "h", "i"]}, aliases={"a": "g"})
    async with inside(*MODELS, till=desk.till(key)) as system:
        assert await outcome(system) == (200, "g")
        await spend(desk.office.pool, key, "1", "g")
        desk.purse.changed([f"key:{key.caller.key_hash}"])  # what it has leased would do for a while
        assert await outcome(system) == (200, "h")
        assert await outcome(system, "a") == (200, "h")
        await spend(desk.office.pool, key, "1", "h")
        desk.purse.changed([f"key:{key.caller.key_hash}"])
        assert await outcome(system) == (200, "i")
        status, said = await outcome(system, "h")
        assert status == 422
        assert "model=h" in said
        calls = await system.accounted(4)
        assert [call.group for call in calls] == ["g", "h", "h", "i"]


@pytest.mark.parametrize("terms", [{"models": ["g", "h"]}, {"budget_fallbacks": {}}, {"max_budget": 0.5}])
async def test_what_the_key_may_not_call_is_called_instead_of_nothing(desk: Desk, terms: dict[str, Any]) -> None:
    body: dict[str, Any] = {"model_max_budget": BUDGETS, "budget_fallbacks": {"g": ["h", "i"]}} | terms
    key = await desk.key(**body)
    for model in "gh":
        await spend(desk.office.pool, key, "1", model)
    async with inside(*MODELS, till=desk.till(key)) as system:
        status, said = await outcome(system)
        assert status == 422
        assert ("model=g" in said) == ("max_budget" not in terms)


async def test_a_users_budget_of_a_model_holds_for_all_his_keys(desk: Desk) -> None:
    await add(desk.office.pool, tenants.USERS, user_id="eve", model_max_budget=BUDGETS)
    await add_team(desk.office.pool, "t", "eve")
    keys = [await desk.key(user_id="eve"), await desk.key(user_id="eve", team_id="t")]
    await spend(desk.office.pool, keys[0], "0.6")
    await spend(desk.office.pool, keys[1], "0.4")
    await spend(desk.office.pool, await desk.key(), "5", "h")
    for key in keys:
        async with inside(*MODELS, till=desk.till(key)) as system:
            status, said = await outcome(system)
            assert status == 422
            assert "User=eve, exceeded budget for model=g. Current cost: 1, Max budget: 1" in said
            assert await outcome(system, "h") == (200, "h")


async def test_a_members_budget_of_a_model_holds_for_all_his_keys_of_the_team(desk: Desk) -> None:
    await desk.office.post("/team/new", team_id="t", team_member_model_max_budget=BUDGETS)
    for name in ("ann", "bob"):
        await desk.office.post("/team/member_add", team_id="t", member={"user_id": name, "role": "user"})
    mine = [await desk.key(user_id="ann", team_id="t", budget_fallbacks={"g": ["i"]}) for _ in range(2)]
    anns = (*mine, await find_user(desk.office.pool, "ann", "t", None, Rules()))
    await spend(desk.office.pool, mine[0], "0.6")
    await spend(desk.office.pool, mine[1], "0.4")
    for access in anns:
        async with inside(*MODELS, till=desk.till(structs.replace(access, budget_fallbacks={}))) as system:
            status, said = await outcome(system)
            assert status == 422
            assert "User=ann in Team=t, exceeded budget for model=g. Current cost: 1, Max budget: 1" in said
            assert await outcome(system, "h") == (200, "h")
    for access, group in ((mine[0], "i"), (await desk.key(user_id="bob", team_id="t"), "g")):
        async with inside(*MODELS, till=desk.till(access)) as system:
            assert await outcome(system) == (200, group)
    await desk.office.post("/team/member_update", team_id="t", user_id="ann", model_max_budget={"g": {"max_budget": 5}})
    more = await find_user(desk.office.pool, "ann", "t", None, Rules())
    async with inside(*MODELS, till=desk.till(more)) as system:
        assert await outcome(system) == (200, "g")


@pytest.mark.parametrize("duration", [None, "1d", "1h"])
@pytest.mark.parametrize("whose", ["key", "member"])
async def test_one_budget_for_all_models_that_fit_a_pattern(desk: Desk, whose: str, duration: str | None) -> None:
    terms = {"budget_limit": 1, **({} if duration is None else {"time_period": duration})}
    budgets = {"[gh]": terms, "*": terms, "i": {"budget_limit": 9}}
    of_members = budgets if whose == "member" else {}
    await desk.office.post("/team/new", team_id="t_%", team_member_model_max_budget=of_members)
    await desk.office.post("/team/member_add", team_id="t_%", member={"user_id": "u*", "role": "user"})
    key = await desk.key(user_id="u*", team_id="t_%", **({"model_max_budget": budgets} if whose == "key" else {}))
    await spend(desk.office.pool, key, "0.6")
    await spend(desk.office.pool, key, "0.5", "h")
    await spend(desk.office.pool, await desk.key(), "7", "h")
    async with inside(*MODELS, till=desk.till(key)) as system:
        for model in "gh":
            status, said = await outcome(system, model)
            assert status == 422
            assert "exceeded budget for model=*. Current cost: 1.1, Max budget: 1" in said
        assert await outcome(system, "i") == (200, "i")


@pytest.mark.parametrize("named", ["ann", "3:ann", "ÅÅ:ö/𝛑", "g"])
async def test_a_members_call_is_reserved_and_settled_for_its_model(desk: Desk, named: str) -> None:
    await desk.office.post("/team/new", team_id="t", team_member_model_max_budget=BUDGETS)
    await desk.office.post("/team/member_add", team_id="t", member={"user_id": named, "role": "user"})
    access = await desk.key(user_id=named, team_id="t")
    async with inside(*MODELS, till=desk.till(access)) as system:
        assert await outcome(system) == (200, "g")
        (call,) = await system.accounted(1)
        assert len(call.leases) == 1
        await record(desk.office.pool, [call])
        await spend(desk.office.pool, access, "0.25")  # by somebody who leased nothing
        await spend(desk.office.pool, access, "0.25", "h")
        await spend(desk.office.pool, access, "1")
        desk.purse.changed([f"user:{named}"])  # what it has leased would do for a while
        assert (await outcome(system))[0] == 422
    await desk.purse.close()
    rows = await desk.office.pool.fetch(
        "SELECT id, scope, spent, (SELECT sum(outstanding) FROM leases) FROM balances WHERE kind = 'member_model'"
    )
    assert call.cost is not None
    scope = Account("member", "t", named).on("g").scope
    assert [tuple(row) for row in rows] == [("t", scope, call.cost + Decimal("1.25"), 0)]
    totals = await desk.office.pool.fetch("SELECT kind, scope FROM totals WHERE kind LIKE '%member%'")
    assert [tuple(row) for row in totals] == [("member", named)], "what a balance waits for is what accounting moves"


async def test_a_customers_budget_of_a_model_holds(desk: Desk) -> None:
    await add(desk.office.pool, tenants.BUDGETS, budget_id="b", model_max_budget=BUDGETS)
    await add(desk.office.pool, tenants.CUSTOMERS, user_id="c", budget_id="b")
    key = await desk.key()
    async with inside(*MODELS, till=desk.till(key)) as system:
        assert (await post(system, model="g", user="c")).status_code == 200
        (call,) = await system.accounted(1)
        assert (len(call.leases), call.caller.end_user) == (1, "c")
        await record(desk.office.pool, [call])
        assert await desk.office.pool.fetchval("SELECT spent FROM balances WHERE kind = 'customer_model'") == call.cost
        await spend(desk.office.pool, Access(caller=structs.replace(key.caller, end_user="c")), "1")
        desk.purse.changed(["customer:c"])
        answer = await post(system, model="g", user="c")
        assert answer.status_code == 422
        assert "End User=c, exceeded budget for model=g" in answer.json()["error"]["message"]
        assert (await post(system, model="h", user="c")).status_code == 200


async def test_credentials_are_not_sent_to_another_model(desk: Desk) -> None:
    key = await desk.key(model_max_budget=BUDGETS, budget_fallbacks={"g": ["i"]})
    await spend(desk.office.pool, key, "1")
    open_to_all = [one.model_copy(update={"client_may_set": frozenset({"api_key"})}) for one in MODELS]
    async with inside(*open_to_all, till=desk.till(key)) as system:
        assert (await post(system, model="g", api_key="sk-mine")).status_code == 422
        assert await outcome(system) == (200, "i")


TENTH = Rules(throttle=Decimal("0.1"))
SLOW: dict[str, Any] = {"max_budget": 1, "rpm_limit": 10, "throttle_on_budget_exceeded": True}


async def test_a_key_whose_budget_is_spent_may_go_on_slowly(desk: Desk) -> None:
    key = await desk.key(TENTH, **SLOW, budget_limits=[{"budget_duration": "30d", "max_budget": 2}])
    async with inside(*MODELS, till=desk.till(key)) as system:
        for _ in range(3):
            answer = await post(system, model="g")
            assert (answer.status_code, answer.headers["x-litellm-key-rpm-limit"]) == (200, "10")
        await spend(desk.office.pool, key, "1")
        desk.purse.changed([f"key:{key.caller.key_hash}"])
        answer = await post(system, model="g")
        assert (answer.status_code, answer.headers["x-litellm-key-rpm-limit"]) == (200, "1")
        answer = await post(system, model="g")
        assert (answer.status_code, answer.json()["error"]["type"]) == (429, "throttling_error")
        await spend(desk.office.pool, key, "1")
        desk.purse.changed([f"key:{key.caller.key_hash}"])
        status, said = await outcome(system)
        assert status == 422, "the window's budget has no such end"
        assert "Key over 30d budget. Spend=$2, Limit=$2" in said


@pytest.mark.parametrize("less", ["rpm_limit", "throttle_on_budget_exceeded", "rules"])
async def test_any_other_key_may_not(desk: Desk, less: str) -> None:
    body = {name: value for name, value in SLOW.items() if name != less}
    key = await desk.key(Rules() if less == "rules" else TENTH, **body)
    await spend(desk.office.pool, key, "1")
    async with inside(*MODELS, till=desk.till(key)) as system:
        assert (await outcome(system))[0] == 422


async def test_a_keys_limit_of_a_tag_counts_the_requests_that_have_it(desk: Desk) -> None:
    key = await desk.key(tag_rpm_limit={"batch": 2, "none": 0})
    async with inside(*MODELS, till=desk.till(key)) as system:

        async def tagged(*tags: str) -> int:
            return (await post(system, model="g", metadata={"tags": list(tags)})).status_code

        assert [await tagged("batch"), await tagged("other", "batch"), await tagged("batch")] == [200, 200, 429]
        answer = await post(system, model="g", metadata={"tags": ["none"]})
        assert answer.status_code == 429
        assert "tag=none. Limit type: requests. Current limit: 0" in answer.json()["error"]["message"]
        assert [await tagged("other"), await tagged()] == [200, 200]


async def test_an_organizations_limit_of_a_model_holds_for_all_its_keys(desk: Desk) -> None:
    await desk.office.post("/organization/new", organization_alias="P", organization_id="p", model_rpm_limit={"g": 1})
    for expected in (200, 429):
        key = await desk.key(organization_id="p")
        async with inside(*MODELS, till=desk.till(key)) as system:
            answer = await post(system, model="g")
            assert answer.status_code == expected
            assert expected == 200 or "Organization=p, model=g" in answer.json()["error"]["message"]
            assert await outcome(system, "h") == (200, "h")


async def test_a_key_names_the_budget_of_customers_without_one(desk: Desk) -> None:
    await add(desk.office.pool, tenants.BUDGETS, budget_id="small", max_budget=Decimal(1))
    await add(desk.office.pool, tenants.BUDGETS, budget_id="large", max_budget=Decimal(9))
    await add(desk.office.pool, tenants.CUSTOMERS, user_id="rich", budget_id="large")
    strict, free = await desk.key(end_user_budget_id="small"), await desk.key()
    for name in ("rich", "new"):
        await spend(desk.office.pool, Access(caller=structs.replace(free.caller, end_user=name)), "2")
    for key, name, expected in ((strict, "new", 422), (free, "new", 200), (strict, "rich", 200), (strict, "no", 200)):
        async with inside(*MODELS, till=desk.till(key)) as system:
            assert (await post(system, model="g", user=name)).status_code == expected, (name, expected)
