"""Which deployment is asked first: order, room, and each routing strategy."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.plan import Candidate, Preference, choose, prefers, soonest
from policy.standing import NOWHERE, Standing
from schemas.config import Deployment, Limits, Strategy

NOW = 100.0


def deployment(name: str, **settings: Any) -> Deployment:
    return Deployment(id=name, group="g", provider="p", model="m", **settings)


def standing(**changes: Any) -> Standing:
    """One with room for ten."""
    return Standing(**{"at": NOW, "alive": True, "slots": 10, "room": 10.0, "pace": 5.0} | changes)


def candidates(**rows: tuple[dict[str, Any], dict[str, Any]]) -> list[Candidate]:
    """By name: what is configured, and how it stands."""
    return [Candidate(deployment(name, **of), standing(**how)) for name, (of, how) in rows.items()]


def shares(found: list[Candidate], preference: Callable[[Random], Preference], calls: int = 4000) -> dict[str, float]:
    """Which part of many calls each is chosen for."""
    random = Random(3)
    names = Counter(one.id for one in (choose(found, preference(random), NOW) for _ in range(calls)) if one is not None)
    return {name: many / calls for name, many in names.items()}


def by(strategy: Strategy, **more: Any) -> Callable[[Random], Preference]:
    return lambda random: Preference(strategy, random=random.random, **more)


FULL: dict[str, Any] = {"room": 0.0}


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ({}, None),
        ({"a": ({}, FULL)}, None),
        ({"a": ({}, {"alive": False})}, None),
        ({"a": ({}, {"shut": 2.0})}, None),
        ({"a": ({}, {"room": 0.9})}, None),
        ({"a": ({}, {"room": 1.0})}, "a"),
        ({"a": ({}, {}), "b": ({}, FULL)}, "a"),
        ({"a": ({"order": 1}, {}), "b": ({"order": 2}, {})}, "a"),
        ({"a": ({"order": 2}, {}), "b": ({"order": 1}, {})}, "b"),
        ({"a": ({}, {}), "b": ({"order": 9}, {})}, "b"),
        ({"a": ({"order": 0}, FULL), "b": ({"order": 1}, {})}, "b"),
        ({"a": ({"order": 0, "weight": 1}, {"room": 1.0}), "b": ({"order": 1, "weight": 99}, {})}, "a"),
        ({"a": ({"order": 0}, FULL), "b": ({"order": 1}, FULL), "c": ({}, {})}, "c"),
        ({"a": ({"order": 1}, {"handed": 10}), "b": ({"order": 2}, {})}, "b"),
    ],
)
@pytest.mark.parametrize("strategy", Strategy)
def test_the_lowest_order_that_has_room(
    rows: dict[str, tuple[dict[str, Any], dict[str, Any]]], chosen: str | None, strategy: Strategy
) -> None:
    found = choose(candidates(**rows), Preference(strategy), NOW)
    assert (None if found is None else found.id) == chosen


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0, 3.0])), max_size=6),
    st.sampled_from(Strategy),
    st.floats(0, 1, exclude_max=True),
)
def test_whoever_is_chosen_has_room_and_none_with_room_comes_before(
    rows: list[tuple[int | None, float]], strategy: Strategy, number: float
) -> None:
    found = [Candidate(deployment(str(n), order=order), standing(room=room)) for n, (order, room) in enumerate(rows)]
    chosen = choose(found, Preference(strategy, random=lambda: number), NOW)
    orders = [99 if order is None else order for order, room in rows if room >= 1]
    if chosen is None:
        assert not orders
    else:
        order, room = rows[int(chosen.id)]
        assert room >= 1
        assert (99 if order is None else order) == min(orders)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({"a": {}, "b": {}}, {"a": 0.5, "b": 0.5}),
        ({"a": {"weight": 9}, "b": {"weight": 1}}, {"a": 0.9, "b": 0.1}),
        ({"a": {"weight": 1}, "b": {"weight": 1}, "c": {"weight": 2}}, {"a": 0.25, "b": 0.25, "c": 0.5}),
        ({"a": {"weight": 1}, "b": {}}, {"a": 1.0}),
        ({"a": {"weight": 0}, "b": {"weight": 3}}, {"b": 1.0}),
        ({"a": {"weight": 0}, "b": {"weight": 0}}, {"a": 0.5, "b": 0.5}),
        ({"a": {"limits": Limits(rpm=300)}, "b": {"limits": Limits(rpm=100)}}, {"a": 0.75, "b": 0.25}),
        ({"a": {"limits": Limits(tpm=300)}, "b": {"limits": Limits(tpm=100)}}, {"a": 0.75, "b": 0.25}),
        ({"a": {"limits": Limits(rpm=1, tpm=300)}, "b": {"limits": Limits(rpm=1, tpm=1)}}, {"a": 0.5, "b": 0.5}),
        ({"a": {"weight": 1, "limits": Limits(rpm=9)}, "b": {"weight": 1}}, {"a": 0.5, "b": 0.5}),
    ],
)
def test_shuffle_goes_by_weight_else_rpm_else_tpm(rows: dict[str, dict[str, Any]], expected: dict[str, float]) -> None:
    found = shares([Candidate(deployment(name, **of), standing()) for name, of in rows.items()], by(Strategy.SHUFFLE))
    assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("number", "chosen"), [(0.0, "a"), (0.299, "a"), (0.301, "b"), (0.499, "b"), (0.999999, "c")])
def test_the_random_number_decides(number: float, chosen: str) -> None:
    found = [
        Candidate(deployment(name, weight=weight), standing()) for name, weight in zip("abc", (3, 2, 5), strict=True)
    ]
    one = choose(found, Preference(random=lambda: number), NOW)
    assert one is not None
    assert one.id == chosen


def test_a_weight_of_zero_is_never_chosen() -> None:
    found = [Candidate(deployment(name, weight=weight), standing()) for name, weight in (("a", 0), ("b", 1), ("c", 0))]
    chosen = [choose(found, Preference(random=partial(float, number)), NOW) for number in (0.0, 0.5, 1 - 1e-16)]
    assert {one.id for one in chosen if one is not None} == {"b"}


PRICES = {"cheap": Decimal("0.001"), "dear": Decimal("0.1"), "free": Decimal(0), "cheap too": Decimal("0.001")}


@pytest.mark.parametrize(
    ("strategy", "rows", "expected"),
    [
        (Strategy.LEAST_BUSY, {"a": {"in_flight": 3}, "b": {"in_flight": 1}, "c": {"in_flight": 2}}, "b"),
        (Strategy.LEAST_BUSY, {"a": {"in_flight": 3, "over": 3}, "b": {"in_flight": 1}}, "a"),
        (Strategy.LEAST_BUSY, {"a": {"begun": 1}, "b": {"handed": 2}, "c": {"begun": 3}}, "a"),
        (Strategy.LEAST_BUSY, {"a": {}, "b": {}, "c": {"in_flight": 1}}, "ab"),
        (Strategy.LATENCY, {"a": {"latency": 2.0}, "b": {"latency": 1.0}}, "b"),
        (Strategy.LATENCY, {"a": {"latency": 1.09}, "b": {"latency": 1.0}, "c": {"latency": 1.11}}, "ab"),
        (Strategy.LATENCY, {"a": {"latency": 0.0}, "b": {"latency": 1.0}}, "a"),
        (Strategy.USAGE, {"a": {"used": 0.5}, "b": {"used": 0.2}}, "b"),
        (Strategy.USAGE_V2, {"a": {"used": 0.5}, "b": {"used": 0.2}}, "b"),
        (Strategy.USAGE_V2, {"a": {"used": 0.2, "in_flight": 2}, "b": {"used": 0.2, "in_flight": 1}}, "b"),
        (Strategy.USAGE_V2, {"a": {"used": 0.2}, "b": {"used": 0.2}, "c": {"used": 0.3}}, "ab"),
        (Strategy.SHUFFLE, {"a": {"in_flight": 5}, "b": {}}, "ab"),
    ],
)
def test_each_strategy_means_what_it_says(strategy: Strategy, rows: dict[str, dict[str, Any]], expected: str) -> None:
    found = shares(
        [Candidate(deployment(name), standing(**how)) for name, how in rows.items()], by(strategy, latency_buffer=0.1)
    )
    assert found == pytest.approx(dict.fromkeys(expected, 1 / len(expected)), abs=0.03)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["dear", "cheap"], ["cheap"]),
        (["dear", "cheap", "free"], ["free"]),
        (["dear", "cheap too", "cheap"], ["cheap", "cheap too"]),
        (["unknown", "dear"], ["dear"]),
        (["unknown", "unknown too"], ["unknown", "unknown too"]),
    ],
)
def test_the_cheapest_is_asked_first_and_an_unknown_price_last(names: list[str], expected: list[str]) -> None:
    preference = by(Strategy.COST, price=lambda one: PRICES.get(one.id))
    found = shares([Candidate(deployment(name), standing()) for name in names], preference)
    assert found == pytest.approx(dict.fromkeys(expected, 1 / len(expected)), abs=0.03)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ({}, None),
        ({"a": None}, None),
        ({"a": {"room": 0.0}}, "a"),
        ({"a": {"room": 0.0}, "b": {"room": 0.5}}, "b"),
        ({"a": {"room": 0.0, "pace": 1.0}, "b": {"room": 0.0, "pace": 9.0}}, "b"),
        ({"a": {"room": -4.0}, "b": {"room": 0.0}}, "b"),
        ({"a": {"shut": 60.0, "pace": 100.0}, "b": {"room": -9.0, "pace": 1.0}}, "b"),
        ({"a": {"shut": 5.0}, "b": {"shut": 3.0}}, "b"),
        ({"a": None, "b": {"shut": 600.0}}, "b"),
    ],
)
def test_the_soonest_is_who_has_room_first(rows: dict[str, dict[str, Any] | None], chosen: str | None) -> None:
    found = [Candidate(deployment(name), NOWHERE if how is None else standing(**how)) for name, how in rows.items()]
    one = soonest(found, NOW)
    assert (None if one is None else one.id) == chosen


@pytest.mark.parametrize(
    ("settings", "strategy", "expected"),
    [
        ([{}, {}], Strategy.SHUFFLE, False),
        ([{}, {"weight": 1}], Strategy.SHUFFLE, True),
        ([{}, {"limits": Limits(rpm=1)}], Strategy.SHUFFLE, True),
        ([{}, {"limits": Limits(tpm=1)}], Strategy.SHUFFLE, True),
        ([{}, {"limits": Limits(rpd=1, parallel=4)}], Strategy.SHUFFLE, False),
        *(([{}, {}], strategy, True) for strategy in Strategy if strategy is not Strategy.SHUFFLE),
    ],
)
def test_when_a_first_choice_is_wanted(settings: list[dict[str, Any]], strategy: Strategy, expected: bool) -> None:
    assert prefers([deployment(str(n), **of) for n, of in enumerate(settings)], strategy) is expected
