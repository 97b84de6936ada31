"""Reports: the daily sums and the rows tell the same, whatever was asked; and a session's rows need no scan."""

import random
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ledger.activity import UNASSIGNED, Line, Scope, days, lines
from ledger.logs import Page, Which, count, page
from ledger.pool import Pool
from ledger.reports import Question, Sum, reading, sums
from ledger.sight import Sight
from ledger.spend import record
from ledger.sql import query
from tests.ledger.events import event, random_event

SPAN = (date(2026, 9, 1), date(2026, 10, 31))


async def everything_by_rows(pool: Pool) -> Sight:
    """A sight that happens to cover all rows, so that they are read."""
    return Sight(keys=tuple(row["key_hash"] for row in await pool.fetch("SELECT DISTINCT key_hash FROM spend_logs")))


@pytest.fixture
async def rows(pool: Pool) -> Sight:
    chance = random.Random(7)
    await record(pool, [random_event(chance, number) for number in range(400)])
    return await everything_by_rows(pool)


def known(found: list[Sum], payers: set[str]) -> set[Sum]:
    """Without what the daily sums do not have: lines of calls without that payer."""
    return {line for line in found if all(getattr(line, name) for name in payers)}


QUESTIONS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    ((), {}),
    (("day",), {}),
    (("model", "provider"), {}),
    (("day", "key"), {}),
    (("team",), {}),
    (("day", "team", "group"), {}),
    (("user",), {}),
    (("tag",), {}),
    (("day", "tag", "model"), {}),
    (("tag",), {"tag": ["x", "none"]}),
    (("day",), {"team": ["red"]}),
    (("organization", "model"), {}),
    (("customer",), {}),
    (("model",), {"group": "gpt-4o"}),
    (("day",), {"model_or_group": "llama"}),
]


async def test_both_sources_say_the_same(pool: Pool, rows: Sight) -> None:
    for by, chosen in QUESTIONS:
        async with reading(pool) as on:
            by_days = await sums(on, Question(by, *SPAN, **chosen))
            by_rows = await sums(on, Question(by, *SPAN, rows, **chosen))
        payers = set(by) & {"key", "team", "user", "organization", "customer", "tag"}
        assert known(by_rows, payers) == set(by_days), (by, chosen)
        assert by_days, (by, chosen)
        assert by_days == sorted(by_days, key=lambda line: -line.spend)


def by_place(found: list[Line]) -> dict[tuple[Any, ...], Any]:
    places = {(line.part, line.day, line.name or UNASSIGNED, line.key): line.used for line in found}
    assert len(places) == len(found)
    return places


SCOPES = [
    Scope("user"),
    Scope("user", model="llama"),
    Scope("team", model="llama"),
    Scope("team"),
    Scope("team", excluded=["red"]),
    Scope("organization"),
    Scope("customer"),
    Scope("tag"),
]


async def test_activity_is_the_same_from_both_sources(pool: Pool, rows: Sight) -> None:
    for scope in SCOPES:
        async with reading(pool) as on:
            by_days = by_place((await lines(on, scope, *SPAN)).lines)
            by_rows = by_place((await lines(on, replace(scope, sight=rows), *SPAN)).lines)
            listed = [day for day, _ in await days(on, scope, *SPAN)]
        if scope.dimension == "user":  # the daily sums do not know what a key used of an endpoint, or for a user
            apart = ("endpoints", "entities")
            by_rows = {place: used for place, used in by_rows.items() if not (place[0] in apart and place[3])}
        assert by_days == by_rows, scope
        assert listed == sorted({place[1] for place in by_days}, reverse=True)
        assert len(listed) == 4, scope


async def test_money_is_summed_exactly(pool: Pool) -> None:
    await record(pool, [event(f"a{number}", cost=Decimal("0.000000000000000001")) for number in range(3)])
    async with reading(pool) as on:
        (found,) = await sums(on, Question((), *SPAN))
        (same,) = await sums(on, Question(("endpoint",), *SPAN))
    assert found.spend == same.spend == Decimal("0.000000000000000003")


async def test_a_count_has_an_end(pool: Pool, rows: Sight, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.logs.MOST_COUNTED", 10)
    async with reading(pool) as on:
        assert await count(on, Which()) == 11
        assert len(await page(on, Which(), Page(limit=50))) == 50


async def test_a_page_and_a_session_are_found_by_an_index(pool: Pool) -> None:
    await record(pool, [event(f"a{number:04}", started=event().started + number) for number in range(2000)])
    await pool.execute("ANALYZE spend_logs")
    for which, index in (
        (Which(), "spend_logs_started"),
        (Which(session="s"), "spend_logs_session"),
        (Which(request="r"), "spend_logs_request"),
        (Which(keys=["none"]), "spend_logs_key"),
    ):
        async with reading(pool) as on:
            statement = f"EXPLAIN {query('logs_matching')} ORDER BY started DESC, attempt DESC LIMIT 50"
            plan = "\n".join(row[0] for row in await on.fetch(statement, *which.parameters()))
        assert index in plan, plan


async def test_a_report_changes_nothing(pool: Pool) -> None:
    with pytest.raises(Exception, match="read-only transaction"):
        async with reading(pool) as on:
            await on.execute("DELETE FROM spend_logs")
