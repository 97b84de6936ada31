import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from broker.port import OnDelivery
from broker.topology import USAGE_QUEUE
from ledger.migrate import migrate
from ledger.pool import Pool, open_pool
from schemas.usage import encode
from tests.ledger.events import event
from tests.ledger.recorded import recorded
from tests.support.postgres import Postgres, PostgresServer, private_postgres
from workers.accounting.consumer import Accounting, Pace

QUICK = Pace(linger=0.005, retry_first=0.01, retry_most=0.05)


@dataclass
class Held:
    """A delivery; `ended` is told how it ended, which may happen once."""

    body: bytes
    id: str = "m1"
    correlation: str = ""
    reply_to: str = ""
    redelivered: bool = False
    lost: bool = False
    ended: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def _end(self, how: str) -> None:
        if not self.lost:
            self.ended.set_result(how)

    def ack(self) -> None:
        self._end("ack")

    def reject(self) -> None:
        self._end("reject")

    def requeue(self) -> None:
        self._end("requeue")


class Queue:
    """As much of a bus as one consumer sees."""

    def __init__(self) -> None:
        self.deliver: OnDelivery | None = None
        self.prefetch = 0
        self.trouble: str | None = None

    async def consume(self, queue: str, on_delivery: OnDelivery, prefetch: int) -> "Queue":
        assert queue == USAGE_QUEUE
        self.deliver, self.prefetch = on_delivery, prefetch
        return self

    async def cancel(self) -> None:
        self.deliver = None

    def send(self, *bodies: bytes) -> list[Held]:
        assert self.deliver is not None, "nobody consumes"
        held = [Held(body) for body in bodies]
        for one in held:
            self.deliver(one)
        return held


@pytest.fixture
async def queue(pool: Pool) -> AsyncIterator[Queue]:
    queue = Queue()
    accounting = Accounting(queue, pool, QUICK)  # type: ignore[arg-type]
    await accounting.start()
    yield queue
    await accounting.stop()


async def attempts(pool: Pool) -> list[str]:
    return [row["attempt"] for row in await recorded(pool)]


async def ends(held: list[Held]) -> list[str]:
    async with asyncio.timeout(20):
        return list(await asyncio.gather(*(one.ended for one in held)))


async def test_recorded_then_acknowledged(queue: Queue, pool: Pool) -> None:
    held = queue.send(*(encode(event(f"a{n:03}")) for n in range(450)))
    assert set(await ends(held)) == {"ack"}
    assert await attempts(pool) == [f"a{n:03}" for n in range(450)]
    assert set(await ends(queue.send(encode(event("a000")), encode(event("b"))))) == {"ack"}
    assert len(await attempts(pool)) == 451


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"not json", b"\xff\xfe", encode(event(cost=Decimal("NaN"))), encode(event(started=-5))],
)
async def test_what_cannot_be_recorded_is_rejected_alone(queue: Queue, pool: Pool, body: bytes) -> None:
    held = queue.send(encode(event("a")), body, encode(event("b")))
    assert await ends(held) == ["ack", "reject", "ack"]
    assert await attempts(pool) == ["a", "b"]


async def test_what_postgres_refuses_is_found_and_rejected_alone(queue: Queue, pool: Pool) -> None:
    await pool.execute("ALTER TABLE spend_logs ADD CHECK (request <> 'req-a017')")
    held = queue.send(*(encode(event(f"a{n:03}")) for n in range(50)))
    assert await ends(held) == ["reject" if n == 17 else "ack" for n in range(50)]
    assert len(await attempts(pool)) == 49


async def test_a_missing_table_costs_no_event(queue: Queue, pool: Pool) -> None:
    await pool.execute("ALTER TABLE daily_spend RENAME TO elsewhere")
    (held,) = queue.send(encode(event("a")))
    await trouble_of(queue)
    assert not held.ended.done()
    await pool.execute("ALTER TABLE elsewhere RENAME TO daily_spend")
    assert await ends([held]) == ["ack"]
    assert await attempts(pool) == ["a"]


async def trouble_of(queue: Queue) -> str:
    """Wait for the consumer to notice."""
    accounting = getattr(queue.deliver, "__self__", None)
    assert isinstance(accounting, Accounting)
    async with asyncio.timeout(20):
        while accounting.trouble is None:  # noqa: ASYNC110 - it has no event to wait for, readiness only reads it
            await asyncio.sleep(0.005)
    return accounting.trouble


async def test_stop_records_what_is_in_hand(pool: Pool) -> None:
    queue = Queue()
    accounting = Accounting(queue, pool, Pace(linger=60))  # type: ignore[arg-type]
    await accounting.start()
    held = queue.send(*(encode(event(f"a{n:03}")) for n in range(450)))
    await accounting.stop()
    assert [one.ended.done() and one.ended.result() for one in held] == ["ack"] * 450
    assert len(await attempts(pool)) == 450


async def test_stop_of_an_idle_consumer(pool: Pool) -> None:
    accounting = Accounting(Queue(), pool)  # type: ignore[arg-type]
    await accounting.start()
    await accounting.stop()
    assert accounting.trouble is None


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with private_postgres() as server:
        yield server


async def test_postgres_away_loses_nothing_and_says_so(
    server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.postgres.url()
    await migrate(url)
    pool = await open_pool(url)
    queue = Queue()
    accounting = Accounting(queue, pool, QUICK)  # type: ignore[arg-type]
    await accounting.start()
    assert await ends(queue.send(encode(event("a")))) == ["ack"]
    await asyncio.to_thread(server.kill)
    with caplog.at_level(logging.WARNING):
        gone, kept = queue.send(encode(event("b")), encode(event("c")))
        assert (await trouble_of(queue)).startswith("ledger: ")
        await asyncio.sleep(0.3)
    assert len(caplog.records) == 1, "one line for an outage, not one per try"
    gone.lost = True
    assert not kept.ended.done()
    await asyncio.to_thread(server.start)
    assert await ends([kept]) == ["ack"]
    assert accounting.trouble is None
    assert await attempts(pool) == ["a", "c"]
    await accounting.stop()
    await pool.close()


async def test_stop_does_not_wait_for_postgres(postgres: Postgres) -> None:
    pool = await open_pool(postgres.url("no_such_database"))
    queue = Queue()
    accounting = Accounting(queue, pool, Pace(linger=0.005, retry_first=60, retry_most=60))  # type: ignore[arg-type]
    await accounting.start()
    (held,) = queue.send(encode(event("a")))
    await trouble_of(queue)
    async with asyncio.timeout(3):
        await accounting.stop()
    assert not held.ended.done(), "it stays in the queue"
    await pool.close()


async def test_what_was_lost_meanwhile_is_not_kept(pool: Pool) -> None:
    queue = Queue()
    accounting = Accounting(queue, pool, Pace(prefetch=10, most=1000, linger=60))  # type: ignore[arg-type]
    await accounting.start()
    for _ in range(5):
        for held in queue.send(*(encode(event(f"a{n}")) for n in range(10))):
            held.lost = True
    assert len(accounting._waiting) <= 10
    await accounting.stop()
