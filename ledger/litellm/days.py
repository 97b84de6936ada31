"""LiteLLM's daily sums into `daily_spend`: each of its tables is one dimension, that of users also `all` and `key`.

`imported_days` keeps what came from there, so that a second import moves the sums by the difference.
"""

from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from ledger.litellm.source import Row, Source
from ledger.pool import Connection
from ledger.sql import query

_AT_ONCE = 1000
_TEXT = 150  # as ledger/rows.py: what an index can hold
_SUMS = {
    "spend": "spend",
    "prompt": "prompt_tokens",
    "completion": "completion_tokens",
    "cached": "cache_read_input_tokens",
    "cache_write": "cache_creation_input_tokens",
    "requests": "api_requests",
    "successes": "successful_requests",
    "failures": "failed_requests",
}
"""Ours, and what LiteLLM calls it."""


class Dimension(NamedTuple):
    """A dimension of ours: the table that has it, and the column of its values; "" is everything."""

    name: str
    table: str
    column: str


DIMENSIONS = (
    Dimension("all", "DailyUserSpend", ""),
    Dimension("key", "DailyUserSpend", "api_key"),
    Dimension("user", "DailyUserSpend", "user_id"),
    Dimension("team", "DailyTeamSpend", "team_id"),
    Dimension("organization", "DailyOrganizationSpend", "organization_id"),
    Dimension("customer", "DailyEndUserSpend", "end_user_id"),
    Dimension("tag", "DailyTagSpend", "tag"),
)
TABLES = frozenset(dimension.table for dimension in DIMENSIONS) | {"DailyGlobalSpend"}
"""What is read of this; the last is the sum of the first."""


class Counts(NamedTuple):
    """How many sums there were, and how many of them moved."""

    found: int
    moved: int


async def carry_days(
    on: Connection, source: Source, dimension: Dimension, named: Callable[[str], str], odd: Callable[[str], None]
) -> Counts:
    """One dimension, day by day. `named` gives our name for a value; `odd` takes dates that are none."""
    found = moved = 0
    if not _usable(source, dimension):
        return Counts(0, 0)
    day, rows = "", list[Row]()
    async for batch in source.asked(_statement(source, dimension)):
        for row in batch:
            if row["date"] != day:
                counts = await _carry_day(on, dimension, day, rows, named, odd)
                found, moved, day, rows = found + counts.found, moved + counts.moved, row["date"], []
            rows.append(row)
    counts = await _carry_day(on, dimension, day, rows, named, odd)
    return Counts(found + counts.found, moved + counts.moved)


async def _carry_day(
    on: Connection,
    dimension: Dimension,
    day: str,
    rows: Iterable[Row],
    named: Callable[[str], str],
    odd: Callable[[str], None],
) -> Counts:
    sums = _added(rows, named, everything=dimension.name == "all")
    if not sums:
        return Counts(0, 0)
    try:
        date.fromisoformat(day)
    except ValueError:
        odd(day)
        return Counts(0, 0)
    moved = 0
    ordered = [{"day": day, "dimension": dimension.name, **sums[place]} for place in sorted(sums)]
    for first in range(0, len(ordered), _AT_ONCE):
        chunk = _ENCODER.encode(ordered[first : first + _AT_ONCE]).decode()
        moved += await on.fetchval(query("litellm_days"), chunk)
    return Counts(len(ordered), moved)


def _added(rows: Iterable[Row], named: Callable[[str], str], *, everything: bool) -> dict[tuple[str, ...], Row]:
    """By value, model group, model and provider; two secrets of one key are one value."""
    sums: dict[tuple[str, ...], Row] = {}
    for row in rows:
        value = "" if everything else named(row["value"] or "")
        if not value and not everything:
            continue
        names = dict(zip(("model_group", "model", "provider"), _names(row), strict=True))
        place = (short(value), *names.values())
        sum_of = sums.setdefault(place, {"value": place[0], **names, **dict.fromkeys(_SUMS, 0)})
        for name in _SUMS:
            sum_of[name] += _number(row[name], whole=name != "spend")
    return sums


def _names(row: Row) -> tuple[str, str, str]:
    return short(row["model_group"] or ""), short(row["model"] or ""), short(row["provider"] or "")


def _number(value: Any, *, whole: bool) -> int | Decimal:
    if whole:
        return max(0, int(value or 0))
    money = Decimal(repr(value)) if isinstance(value, float) else Decimal(value or 0)
    return max(Decimal(0), money) if money.is_finite() else Decimal(0)


def _usable(source: Source, dimension: Dimension) -> bool:
    columns = source.columns.get(f"LiteLLM_{dimension.table}", frozenset())
    return {"date", "model", dimension.column} - {""} <= columns


def _statement(source: Source, dimension: Dimension) -> str:
    """Sums by day; columns that this version does not have are 0 or empty."""
    table = f"LiteLLM_{dimension.table}"
    columns = source.columns[table]
    value = f'"{dimension.column}"' if dimension.column else "''"
    sums = ", ".join(
        f'sum("{theirs}") AS "{ours}"' if theirs in columns else f'0 AS "{ours}"' for ours, theirs in _SUMS.items()
    )
    groups = [
        f'"{name}"' if name in columns else "NULL::text" for name in ("model_group", "model", "custom_llm_provider")
    ]
    return f"""
        SELECT date, {value} AS value, {groups[0]} AS model_group, {groups[1]} AS model, {groups[2]} AS provider, {sums}
        FROM "{table}" GROUP BY 1, 2, 3, 4, 5 ORDER BY 1
    """  # noqa: S608 (names of tables and columns that were found there, or are said above)


def short(text: str) -> str:
    """For an indexed column: a text that is too long keeps its beginning and gets a hash, as calls of our own do."""
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 17]}~{sha256(text.encode()).hexdigest()[:16]}"


_ENCODER = msgspec.json.Encoder(decimal_format="number")
