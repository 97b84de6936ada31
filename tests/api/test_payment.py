"""Whatever becomes of a request, nothing stays reserved once its calls are recorded."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from api.estimate import Estimator
from api.payers import Payers
from api.payment import Cashier
from api.purse import Purse
from ledger.leases import NANO
from ledger.pool import Pool
from ledger.prices import PriceBook
from ledger.spend import record
from schemas.access import Access, Account, Budget, Rate, Scope, Terms, Unit
from schemas.config import Deployment, Fallback, PriceOverride, Routing
from schemas.usage import Caller
from tests.api.test_routing import ASK, OOPS, Sides, said, says, sides
from tests.support import upstream as up
from tests.support.inside import Inside, Till, inside

__all__ = ["sides"]

KEY = Account("key", "k")
ACCESS = Access(
    caller=Caller(key_hash="k", key_alias="a"),
    terms=Terms(
        budgets=(Budget(account=KEY, named="Key=a", most=Decimal(1)),),
        rates=(
            Rate(account=KEY, named="a", unit=Unit.REQUESTS, most=50),
            Rate(account=KEY, named="a", unit=Unit.TOKENS, most=100_000),
            Rate(account=KEY, named="a", unit=Unit.PARALLEL, most=3, window=0),
        ),
    ),
)
PRICE = PriceOverride(input=Decimal("1e-6"), output=Decimal("4e-6"))
CHEAP = {"price": PRICE}


@dataclass
class Shop:
    """A purse over a real ledger, and who pays from it."""

    pool: Pool
    purse: Purse
    till: Till

    async def settled(self, system: Inside, calls: int) -> int:
        """What is still held, in nano-dollars, once the purse has given back what it could and all is recorded."""
        events = await system.accounted(calls)
        await record(self.pool, events)
        await self.purse.close()
        assert all(holding.under_way == 0 for holding in self.purse._rates.values())
        return await self.pool.fetchval("SELECT coalesce(sum(outstanding), 0)::bigint FROM leases") or 0

    def as_(self, access: Access) -> Till:
        """Somebody else pays from the same purse."""
        return Till(access, self.till.cashier)


@pytest.fixture
async def shop(pool: Pool) -> AsyncIterator[Shop]:
    """For one test; it closes by `settled`, or here."""
    loop = asyncio.get_running_loop()
    purse = Purse(pool, "api", loop.time, time.time, lambda _: None)
    purse.start()
    till = Till(ACCESS, Cashier(purse, Estimator(PriceBook()), Payers(pool, loop.time)))
    yield Shop(pool, purse, till)
    await purse.close()


async def post(system: Inside, **body: Any) -> Any:
    """An answer."""
    return await system.http.post("/v1/chat/completions", json={**ASK, "max_tokens": 100, **body})


async def test_a_call_is_settled_by_its_event(shop: Shop, sides: Sides) -> None:
    sides.a.script(says("a"))
    async with inside(sides.at("a", **CHEAP), till=shop.till) as system:
        answer = await post(system)
        assert said(answer) == "a"
        assert answer.headers["x-litellm-key-max-budget"] == "1"
        assert answer.headers["x-litellm-key-rpm-limit"] == "50"
        limit, left = "x-ratelimit-api_key-limit-", "x-ratelimit-api_key-remaining-"
        assert (answer.headers[limit + "requests"], answer.headers[left + "requests"]) == ("50", "49")
        assert answer.headers[limit + "tokens"] == "100000"
        assert 99_800 < int(answer.headers[left + "tokens"]) < 100_000
        (event,) = await system.accounted(1)
        assert event.leases
        assert event.reserved > 100 * 4000
        assert await shop.settled(system, 1) == 0


async def test_each_attempt_has_a_reservation_of_its_own(shop: Shop, sides: Sides) -> None:
    sides.a.script(OOPS)
    sides.b.script(says("b"))
    both = (sides.at("a", order=1, **CHEAP), sides.at("b", order=2, **CHEAP))
    async with inside(*both, till=shop.till) as system:
        assert said(await post(system)) == "b"
        events = await system.accounted(2)
        assert all(event.leases and event.reserved for event in events)
        assert [event.reservation for event in events] == [1, 2]
        assert await shop.settled(system, 2) == 0


async def test_a_request_that_fails_for_good_holds_nothing(shop: Shop, sides: Sides) -> None:
    sides.a.script(OOPS, OOPS, OOPS)
    async with inside(sides.at("a", **CHEAP), routing=Routing(num_retries=2), till=shop.till) as system:
        assert (await post(system)).status_code >= 500
        assert await shop.settled(system, 3) == 0


async def test_what_never_left_comes_back(shop: Shop) -> None:
    demo = Deployment(id="d", group="g", provider="demo", model="demo", price=PRICE)
    async with inside(demo, workers=False, till=shop.till) as system:
        assert (await post(system)).status_code == 503
        assert await shop.settled(system, 0) == 0


async def test_a_fallback_pays_its_own_price(shop: Shop, sides: Sides) -> None:
    sides.a.script(OOPS)
    sides.b.script(says("b"))
    routing = Routing(num_retries=0, fallbacks={"g": (Fallback(model="h"),)})
    dear = PriceOverride(input=Decimal("1e-5"), output=Decimal("4e-5"))
    pair = (sides.at("a", **CHEAP), sides.at("b", "h", price=dear))
    async with inside(*pair, routing=routing, till=shop.till) as system:
        assert said(await post(system)) == "b"
        first, second = sorted(await system.accounted(2), key=lambda event: event.started)
        assert second.reserved > 9 * first.reserved
        assert await shop.settled(system, 2) == 0


async def test_a_fallback_that_the_key_may_not_name_is_none(shop: Shop, sides: Sides) -> None:
    sides.a.script(OOPS)
    routing = Routing(num_retries=0, fallbacks={"g": (Fallback(model="h"),)})
    scoped = Access(caller=ACCESS.caller, terms=ACCESS.terms, scopes=(Scope("key", ("g",)),))
    pair = (sides.at("a", **CHEAP), sides.at("b", "h", **CHEAP))
    async with inside(*pair, routing=routing, till=shop.as_(scoped)) as system:
        assert (await post(system)).status_code >= 500
        assert not sides.b.requests
        denied = await post(system, model="h")
        assert (denied.status_code, denied.json()["error"]["type"]) == (403, "key_model_access_denied")
        assert (await post(system, model="g", fallbacks=["h"])).status_code >= 500
        assert not sides.b.requests


async def test_a_stream_holds_nothing_in_the_end(shop: Shop, sides: Sides) -> None:
    chunk = {
        "choices": [{"index": 0, "delta": {"content": "b"}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7},
    }
    sides.a.script(up.sse([chunk]))
    async with inside(sides.at("a", **CHEAP), till=shop.till, disconnect_grace=0.05) as system:
        assert (await post(system, stream=True)).status_code == 200
        assert await shop.settled(system, 1) == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_call_cost_more_is_taken_from_what_is_held(shop: Shop, sides: Sides, stream: bool) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "b"}}], "usage": {"prompt_tokens": 9}}
    sides.a.script(up.sse([chunk]) if stream else says("a"))
    dear = Decimal("0.2")
    async with inside(sides.at("a", **CHEAP), till=shop.till, price=lambda *_: dear) as system:
        assert (await post(system, stream=stream)).status_code == 200
        (holding,), (event,) = shop.purse._budgets.values(), await system.accounted(1)
        assert holding.beyond == dear * NANO - event.reserved > 0
        assert holding.paid + holding.owed == holding.beyond
        assert await shop.settled(system, 1) == 0, "what was given up is not outstanding once the cost is recorded"


async def test_a_budget_that_is_spent_says_so_before_anything_is_sent(shop: Shop, sides: Sides) -> None:
    poor = Terms(budgets=(Budget(account=KEY, named="Key=a (sk-...abcd)", most=Decimal("0.0001")),))
    async with inside(sides.at("a", **CHEAP), till=shop.as_(Access(caller=ACCESS.caller, terms=poor))) as system:
        answer = await post(system)
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("budget_exceeded", "budget_exceeded")
        assert "Key=a (sk-...abcd)" in error["message"]
        assert not sides.a.requests


async def test_limits_refuse_with_when_to_come_back(shop: Shop, sides: Sides) -> None:
    sides.a.script(says("a"))
    one = Terms(rates=(Rate(account=KEY, named="api_key: a", unit=Unit.REQUESTS, most=1),))
    async with inside(sides.at("a", **CHEAP), till=shop.as_(Access(caller=ACCESS.caller, terms=one))) as system:
        assert said(await post(system)) == "a"
        answer = await post(system)
        assert (answer.status_code, answer.json()["error"]["type"]) == (429, "throttling_error")
        assert 50 <= int(answer.headers["retry-after"]) <= 61
        assert answer.headers["rate_limit_type"] == "requests"
        resets = datetime.strptime(answer.headers["reset_at"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
        assert 45 <= resets.timestamp() - time.time() <= 63


async def test_a_models_own_terms_count_beside_the_keys(shop: Shop, sides: Sides) -> None:
    sides.a.script(says("a"), says("a"))
    one = Rate(account=Account("key_model", "k", "g"), named="k", unit=Unit.REQUESTS, most=1)
    access = Access(caller=ACCESS.caller, terms=ACCESS.terms, model_terms=({"g": Terms(rates=(one,))},))
    pair = (sides.at("a", **CHEAP), sides.at("a2", "h", **CHEAP))
    async with inside(*pair, till=shop.as_(access)) as system:
        assert said(await post(system)) == "a"
        assert (await post(system)).status_code == 429
        assert said(await post(system, model="h")) == "a"


async def test_an_alias_of_the_key_means_another_model(shop: Shop, sides: Sides) -> None:
    sides.a.script(says("a"))
    access = Access(caller=ACCESS.caller, aliases={"mine": "g"}, scopes=(Scope("key", ("g",)),))
    async with inside(sides.at("a", **CHEAP), till=shop.as_(access)) as system:
        assert said(await post(system, model="mine")) == "a"


async def test_a_fallbacks_own_body_is_paid_for(shop: Shop, sides: Sides) -> None:
    sides.b.script(says("b"))
    only = shop.as_(Access(caller=ACCESS.caller, terms=Terms(budgets=ACCESS.terms.budgets)))
    async with inside(sides.at("a", **CHEAP), sides.at("b", "h", **CHEAP), till=only) as system:
        asked = {"model": "h", "max_tokens": 200_000, "n": 100}
        answer = await post(system, max_tokens=1, mock_testing_fallbacks=True, fallbacks=[asked])
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "budget_exceeded")
        assert not sides.b.requests


async def test_a_models_budget_holds_for_a_fallback_too(shop: Shop, sides: Sides) -> None:
    def terms(model: str, most: int) -> Terms:
        return Terms(budgets=(Budget(account=Account("key_model", "k", model), named=model, most=Decimal(most)),))

    access = Access(caller=ACCESS.caller, model_terms=({"g": terms("g", 1), "h": terms("h", 0)},))
    async with inside(sides.at("a", **CHEAP), sides.at("b", "h", **CHEAP), till=shop.as_(access)) as system:
        answer = await post(system, mock_testing_fallbacks=True, fallbacks=["h"])
        assert answer.json()["error"]["code"] == "budget_exceeded"
        assert not sides.b.requests


async def test_a_keys_own_tags_pay_whatever_a_request_names(shop: Shop, sides: Sides) -> None:
    await shop.pool.execute("INSERT INTO budgets (budget_id, max_budget) VALUES ('none', 0)")
    await shop.pool.execute("INSERT INTO tags (tag_name, budget_id) VALUES ('paid', 'none')")
    access = Access(caller=Caller(key_hash="k", key_alias="a", tags=("paid",)))
    async with inside(sides.at("a", **CHEAP), till=shop.as_(access)) as system:
        for body in ({}, {"user": "me"}, {"tags": ["mine"]}):
            assert (await post(system, **body)).json()["error"]["code"] == "budget_exceeded"
        assert not sides.a.requests


async def test_a_call_that_could_cost_more_than_there_is_money_is_refused(shop: Shop, sides: Sides) -> None:
    only = shop.as_(Access(caller=ACCESS.caller, terms=Terms(budgets=ACCESS.terms.budgets)))
    async with inside(sides.at("a", **CHEAP), till=only) as system:
        answer = await post(system, max_tokens=10**9 - 1, n=10**9 - 1)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "budget_exceeded")


async def test_names_that_no_ledger_can_hold_are_named_as_its_rows_do(shop: Shop, sides: Sides) -> None:
    sides.a.script(says("a"))
    for table, name in (("tags", "tag_name"), ("customers", "user_id")):
        await shop.pool.execute(f"INSERT INTO {table} ({name}, budget_id) VALUES ('paid', 'b')")
    async with inside(sides.at("a", **CHEAP), till=shop.till) as system:
        assert said(await post(system, user="a\0b", tags=["c\0d"])) == "a"
        (event,) = await system.accounted(1)
        assert (event.caller.end_user, event.caller.tags) == ("a\ufffdb", ("c\ufffdd",))
