"""How many users there were behind a tag, in a row of periods."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from ledger.pool import Connection
from ledger.sight import EVERYTHING, Sight
from ledger.sql import query

MOST = 2_000
"""No answer has more lines."""


@dataclass(frozen=True, slots=True)
class Periods:
    """`count` periods of `length` days, of which the last ends with the day `last`."""

    last: date
    length: int
    count: int = 1

    def begins(self, period: int) -> date:
        """The first day of one; 0 is the last period."""
        return self.ends(period) - timedelta(days=self.length - 1)

    def ends(self, period: int) -> date:
        """Its last day."""
        return self.last - timedelta(days=period * self.length)


class Users(NamedTuple):
    """Users with a tag in a period; 0 is the last one."""

    tag: str
    period: int
    users: int


async def tag_users(
    on: Connection, periods: Periods, tags: Sequence[str] | None, part: str | None, sight: Sight = EVERYTHING
) -> list[Users]:
    """The last period first, in it the tag with most users. `tags` by name, or those that contain `part`."""
    first = periods.begins(periods.count - 1)
    chosen = (tags, part, *sight.parameters(), MOST)
    return [Users(*row) for row in await on.fetch(query("tag_users"), first, periods.last, periods.length, *chosen)]
