"""Calls that go to another worker: what is held for them is one reservation, and comes back once, whoever begins it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

from broker.port import Address, Message
from broker.topology import REPLIES, requests_queue
from ledger.spend import record
from schemas.attempt import End, usage_event
from schemas.config import Deployment
from schemas.envelope import Answer, Failed, Frame, Request, Started, pack, unpack_request
from schemas.failures import Failure, Kind
from schemas.usage import Status, Usage
from tests.api.test_payment import PRICE, Shop, post, shop
from tests.support.inside import Inside, inside
from tests.support.listeners import Taken

__all__ = ["shop"]

OURS = Deployment(id="d", group="g", provider="openai", model="m", api_base="http://x", price=PRICE)
GIVEN_BACK = Failed(failure=Failure(Kind.DRAINING, "The worker is shutting down."), attempt="1")


class Work:
    """A request that the test is the worker of."""

    def __init__(self, shop: Shop, system: Inside) -> None:
        self.shop = shop
        self.system = system
        self.taken = Taken()
        self.asking = asyncio.create_task(post(system))

    async def next(self) -> Request:
        """Its next publication."""
        async with asyncio.timeout(5):
            delivery = await self.taken.next()
        delivery.ack()
        return unpack_request(delivery.body)[0]

    async def say(self, request: Request, *frames: Frame, body: bytes = b"") -> None:
        """Frames to the asker, who has heard them then."""
        for frame in frames:
            address = Address(REPLIES, request.reply_to)
            self.system.bus.send(address, Message(pack(frame, body), correlation=request.id))
        for _ in range(10):
            await asyncio.sleep(0)

    async def end(self, request: Request, attempt: str) -> None:
        """Accounting records the end of an attempt."""
        end = End(at=2, status=Status.CANCELLED, usage=Usage(), cost=Decimal("0.0001"))
        await record(self.shop.pool, [usage_event(request, began(request, attempt), end)])

    async def leave(self) -> None:
        """The client goes away."""
        self.asking.cancel()
        await asyncio.gather(self.asking, return_exceptions=True)

    def sure(self, request: Request) -> None:
        """It is so long ago that whoever has begun it has said so."""
        self.system.asker._doubtful._over(request.id)

    async def unused(self) -> tuple[int, int]:
        """What the ledger counts for this process, and what it may spend; nano-dollars."""
        (holding,) = self.shop.purse._budgets.values()
        return await self.shop.pool.fetchval("SELECT sum(outstanding)::bigint FROM leases"), holding.free


def began(request: Request, attempt: str, *, ask: bool = False) -> Started:
    """The announcement of an attempt."""
    return Started(attempt=attempt, worker="w", deployment="d", provider="p", model="m", at=1, n=request.n, ask=ask)


@asynccontextmanager
async def working(shop: Shop) -> AsyncIterator[Work]:
    """One request, in a process without workers."""
    async with inside(OURS, workers=False, pool_wait=60, till=shop.till, disconnect_grace=0) as system:
        work = Work(shop, system)
        await system.bus.consume(requests_queue("g"), work.taken, 10)
        yield work


async def test_what_a_worker_gives_back_is_held_for_the_next_one(shop: Shop) -> None:
    async with working(shop) as work:
        first = await work.next()
        await work.say(first, began(first, "1"), GIVEN_BACK)
        second = await work.next()
        assert (second.n, second.reservation, second.leases) == (2, first.reservation, first.leases)
        await work.say(second, began(second, "2"), Answer(attempt="2", usage=Usage(prompt=1)), body=b"{}")
        assert (await work.asking).status_code == 200
        await work.end(second, "2")
        assert await shop.settled(work.system, 0) == 0


async def test_what_nobody_begins_after_that_comes_back(shop: Shop) -> None:
    async with working(shop) as work:
        first = await work.next()
        await work.say(first, began(first, "1"), GIVEN_BACK)
        await work.next()
        await work.leave()
        work.sure(first)
        counted, free = await work.unused()
        assert counted == free
        assert await shop.settled(work.system, 0) == 0


async def test_a_first_worker_that_has_begun_after_all_gives_it_back_alone(shop: Shop) -> None:
    async with working(shop) as work:
        first = await work.next()
        work.system.asker._send_again(work.system.asker._pending[first.id])  # it seems to be overdue
        assert (await work.next()).reservation == first.reservation
        await work.say(first, began(first, "1"))
        await work.leave()
        work.sure(first)
        await work.end(first, "1")
        counted, free = await work.unused()
        assert counted == free > 0
        assert await shop.settled(work.system, 0) == 0


async def test_a_worker_that_asks_and_is_told_no_keeps_nothing(shop: Shop) -> None:
    async with working(shop) as work:
        request = await work.next()
        await work.leave()
        await work.say(request, began(request, "1", ask=True))
        work.sure(request)
        counted, free = await work.unused()
        assert counted == free
        assert await shop.settled(work.system, 0) == 0
