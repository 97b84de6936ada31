"""What a deployment has used of its day."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger.days import Used, day_of, used_since
from ledger.pool import Pool
from ledger.spend import record
from schemas.usage import Usage
from tests.ledger.events import event

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "reset", "begin"),
    [
        (NOON, 0, datetime(2026, 11, 25, tzinfo=UTC)),
        (NOON, 12 * 3600, NOON),
        (NOON, 12 * 3600 + 1, datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC)),
        (datetime(2026, 11, 25, tzinfo=UTC), 0, datetime(2026, 11, 25, tzinfo=UTC)),
    ],
)
def test_when_a_day_begins(now: datetime, reset: int, begin: datetime) -> None:
    assert day_of(now, reset) == (begin, begin + timedelta(days=1))


async def test_only_the_deployments_own_calls_of_the_day_count(pool: Pool) -> None:
    noon = int(NOON.timestamp() * 1e6)
    rows = [
        event("a", deployment="d", started=noon, usage=Usage(prompt=3, completion=2)),
        event("b", deployment="d", started=noon + 1, usage=Usage(prompt=10)),
        event("c", deployment="d", started=noon - 1, usage=Usage(prompt=100)),
        event("d", deployment="e", started=noon, usage=Usage(prompt=1000)),
    ]
    await record(pool, rows)
    assert await used_since(pool, "d", NOON) == Used(2, 15)
    assert await used_since(pool, "nobody", NOON) == Used(0, 0)
