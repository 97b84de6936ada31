"""Attempts that nobody else would tell the ledger about."""

import asyncio
from decimal import Decimal
from pathlib import Path

from api.announced import AnnouncedAttempts
from api.course import Course, Wishes
from api.pending import Pending
from broker.memory import MemoryBus
from broker.outbox import Outbox
from broker.topology import USAGE_QUEUE, topology
from schemas.envelope import Endpoint, Request, Started
from schemas.usage import Status, Usage, decode
from tests.support.listeners import Taken

REQUEST = Request(id="r", endpoint=Endpoint.CHAT, group="g", model="g", received=0, deadline=60, reply_to="inbox.x")
STARTED = Started(attempt="a1", worker="w", deployment="d", provider="p", model="m", at=1)


def broken(_deployment: str, _model: str, _usage: Usage) -> Decimal | None:
    """A price list with a mistake in it."""
    raise KeyError("m")


async def test_a_price_that_cannot_be_told_costs_neither_the_row_nor_the_sweep(tmp_path: Path) -> None:
    now = 0.0
    bus, rows = MemoryBus(topology(("g",), 2**20)), Taken()
    await bus.open()
    await bus.consume(USAGE_QUEUE, rows, 10)
    attempts = AnnouncedAttempts(Outbox(bus, tmp_path), broken, lambda: now)
    attempts.begin(STARTED, Pending(REQUEST, b"x" * 400, Course((), Wishes(), 100), 1000))
    attempts.sweep()
    assert "a1" in attempts
    now = 71.0
    attempts.sweep()
    assert "a1" not in attempts
    async with asyncio.timeout(10):
        row = decode((await rows.next()).body)
    assert (row.attempt, row.status, row.cost, row.usage.prompt) == ("a1", Status.LOST, None, 100)
    await attempts.close(1)
    await bus.close()
