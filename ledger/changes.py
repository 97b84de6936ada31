"""What has changed lately, for processes that missed the event that told of it."""

from collections.abc import Iterable

from ledger.pool import Asked, Connection
from ledger.sql import query

KEPT = 600.0
"""Seconds for which a change is kept: who has not asked for longer knows nothing of what it remembers."""


async def note(on: Connection, names: Iterable[str]) -> None:
    """Write down what a transaction changes (`key:<id>`, `team:<id>` …), and forget what is old."""
    await on.execute(query("changes_note"), sorted(names), KEPT)


async def recent(on: Asked, seconds: float) -> list[str]:
    """The names of everything that was changed within so many seconds; twice is once.

    Ask for a good deal more than the time since the last question: a transaction is seen when it ends, not when it was.
    """
    return [row["name"] for row in await on.fetch(query("changes_recent"), seconds)]
