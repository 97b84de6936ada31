"""What was used day by day: sums of each day, and of its models, providers, endpoints, payers and keys.

Sums come from the daily sums where those can tell. They do not know which key used what of a team, nor endpoints: that
comes from the daily sums of calls, or from the rows, so it is missing for days whose rows are gone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from ledger.pool import Connection
from ledger.reports import Question, sums
from ledger.sight import EVERYTHING, Sight
from ledger.sql import query

UNASSIGNED = "Unassigned"
"""LiteLLM's name for what no user used."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose activity. `dimension`: user, team, organization, customer, tag; `entities` of it, None is all.

    `model` is a provider's model or a model group. `key_limit` keys, the dearest, have lines of their own. Without
    `users` the activity of everybody has no lines of each user.
    """

    dimension: str
    entities: Sequence[str] | None = None
    excluded: Sequence[str] = ()
    model: str | None = None
    keys: Sequence[str] | None = None
    sight: Sight = EVERYTHING
    key_limit: int = 100
    users: bool = True

    @property
    def _by_days(self) -> bool:
        return self.keys is None and self.sight.everything

    @property
    def _whole(self) -> bool:
        return self._by_days and self.entities is None and not self.excluded

    @property
    def _everything(self) -> bool:
        """All that there is: then the daily sums know keys too."""
        return self.dimension == "user" and self._whole

    @property
    def _unnamed(self) -> bool:
        """The daily sums of calls know which had a customer or tags, but not which: the rows do."""
        return self.dimension in ("customer", "tag")


class Used(NamedTuple):
    """A sum: US dollars (of calls with a known price), tokens, attempts."""

    spend: Decimal
    prompt: int
    completion: int
    cached: int
    cache_write: int
    requests: int
    successes: int
    failures: int


_NOTHING = Used(Decimal(0), 0, 0, 0, 0, 0, 0, 0)


class Line(msgspec.Struct, frozen=True, gc=False):
    """A sum of a day (`part` ""), or of one `name` in a part of it: models, model_groups, providers, endpoints,
    entities. With `key` it is what this key used of that. The other fields are those of `Used`.

    Reports have a hundred thousand of them, so they are flat, and the garbage collector need not look at them.
    """

    part: str
    day: date
    name: str | None
    key: str | None
    spend: Decimal
    prompt: int
    completion: int
    cached: int
    cache_write: int
    requests: int
    successes: int
    failures: int

    @property
    def used(self) -> Used:
        """The sum by itself."""
        return Used._make(msgspec.structs.astuple(self)[-len(Used._fields) :])


class Lines(NamedTuple):
    """The lines of some days, in each part of a day the dearest first, and how many keys there are."""

    lines: list[Line]
    keys: int


async def days(on: Connection, scope: Scope, since: date, until: date) -> list[tuple[date, int]]:
    """The days of a range on which anything was used, and the number of attempts; the newest first."""
    if scope._by_days:
        dimension = "all" if scope._everything else scope.dimension
        found = await on.fetch(query("activity_list"), since, until, dimension, *_named(scope))
        return [(row["day"], row["requests"]) for row in found]
    given = None if scope.entities is None else tuple(scope.entities)
    chosen: dict[str, Any] = {scope.dimension: given}
    question = Question(("day",), since, until, scope.sight, model_or_group=scope.model, key=scope.keys, **chosen)
    return sorted(((s.day, s.requests) for s in await sums(on, question) if s.day is not None), reverse=True)


async def lines(on: Connection, scope: Scope, since: date, until: date) -> Lines:
    """Every sum of these days that a report shows. Raises what asyncpg raises."""
    if scope._everything:
        return await _of_everything(on, scope, since, until)
    found, keys = await _of_calls(on, scope, since, until)
    if scope._unnamed and scope._whole:
        found += await _payers(on, scope, {line.key for line in found if line.key is not None}, since, until)
    if scope._by_days:
        found += await _totals(on, scope.dimension, scope, since, until)
    return Lines(found, keys)


async def _of_everything(on: Connection, scope: Scope, since: date, until: date) -> Lines:
    totals = await _totals(on, "all", scope, since, until)
    users = await _users(on, scope, totals, since, until) if scope.users else []
    statement = query("activity_days") + query("activity_sums")
    keyed = await on.fetch(statement, since, until, "key", *_named(scope), scope.key_limit, False)
    endpoints = [
        Line("endpoints", s.day, s.endpoint, None, *(getattr(s, name) for name in Used._fields))
        for s in await sums(on, Question(("day", "endpoint"), since, until, model_or_group=scope.model))
        if s.day is not None
    ]
    whole = (line for line in totals if line.part != "entities")
    return Lines([*whole, *users, *endpoints, *_read(keyed)], _keys(keyed))


async def _users(on: Connection, scope: Scope, totals: Sequence[Line], since: date, until: date) -> list[Line]:
    """What each user used, and what nobody did."""
    users = await _totals(on, "user", scope, since, until)
    used = {line.day: line.used for line in users if not line.part}
    rest = [
        Line("entities", line.day, UNASSIGNED, None, *left)
        for line in totals
        if not line.part and (left := _less(line.used, used.get(line.day))).requests
    ]
    return [*(line for line in users if line.part == "entities"), *rest]


def _less(whole: Used, part: Used | None) -> Used:
    pairs: Iterable[tuple[Any, Any]] = zip(whole, part or _NOTHING, strict=True)
    return Used._make(a - b for a, b in pairs)


async def _totals(on: Connection, dimension: str, scope: Scope, since: date, until: date) -> list[Line]:
    return _read(await on.fetch(query("activity_totals"), since, until, dimension, *_named(scope)))


async def _of_calls(on: Connection, scope: Scope, since: date, until: date) -> tuple[list[Line], int]:
    by_rows = scope._unnamed and not scope._whole
    statement = query("activity_rows" if by_rows else "activity_calls") + query("activity_sums")
    seen = (scope.key_limit, not scope._by_days, scope.keys, *scope.sight.parameters())
    rows = await on.fetch(statement, since, until, scope.dimension, *_named(scope), *seen)
    return _read(rows), _keys(rows)


async def _payers(on: Connection, scope: Scope, keys: Iterable[str], since: date, until: date) -> list[Line]:
    given = (since, until, scope.dimension, scope.model, list(keys))
    return _read(await on.fetch(query("activity_payers"), *given))


def _named(scope: Scope) -> tuple[Any, ...]:
    return (scope.entities, scope.excluded, scope.model)


def _read(rows: Sequence[Any]) -> list[Line]:
    return [Line(*row[:_FIELDS]) for row in rows]


def _keys(rows: Sequence[Any]) -> int:
    return rows[0]["keys"] if rows else 0


_FIELDS = len(Line.__struct_fields__)
