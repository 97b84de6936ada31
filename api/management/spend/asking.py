"""Putting a question about sums to the ledger, as somebody who may see only so much."""

from datetime import date
from typing import Any

from api.management.spend.sight import View
from ledger.reports import Question, Sum, reading, sums


async def ask(view: View, by: tuple[str, ...], days: tuple[date, date], **chosen: Any) -> list[Sum]:
    """The sums of what the caller may see; `chosen` as in `ledger.reports.Question`. Raises `Refused`."""
    question = Question(by, *days, view.sight, **chosen)
    with view.office.reading() as pool:
        async with reading(pool) as connection:
            return await sums(connection, question)
