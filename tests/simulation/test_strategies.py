"""Every way to prefer one deployment to another, while both have room, and when they have not."""

from decimal import Decimal
from typing import Any

import pytest

from schemas.config import Deployment, Routing, Strategy
from tests.simulation.figures import between
from tests.simulation.parts import GROUP, Api
from tests.simulation.provider import Character
from tests.simulation.world import REST, WARM, Place, Plan, limits, world

END = 130.0
CHEAP_B = {"a": Decimal("0.00001"), "b": Decimal("0.000001")}


def place(name: str, rate: float | None = None, median: float = 1.0, **settings: Any) -> Place:
    if rate is not None:
        settings["limits"] = limits(rate, configured=True)
    return Deployment(id=name, group=GROUP, provider="p", model="m", **settings), Character(rate, median=median)


def calls(plan: Plan, rate: float, end: float = END) -> dict[str, int]:
    """The calls that each deployment had, once warm; `rate` requests per second."""
    with world(plan) as house:
        house.poisson(lambda _: rate, rate, Api.ask, end)
        house.run(end + REST)
    assert {asked.status for asked in house.asked} == {200}
    return {name: between(provider.accepted, WARM, end) for name, provider in house.providers.items()}


def part(found: dict[str, int], name: str) -> float:
    return found[name] / sum(found.values())


def test_weights_are_kept() -> None:
    found = calls(Plan([place("a", weight=9), place("b", weight=1)]), 1.0, end=WARM + 2000)
    assert sum(found.values()) >= 1900
    assert part(found, "a") == pytest.approx(0.9, abs=0.03)


def test_the_first_in_order_has_all_while_it_has_room() -> None:
    assert part(calls(Plan([place("a", 20, order=1), place("b", 20, order=2)]), 10), "a") == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_the_second_in_order_has_what_the_first_has_no_room_for(processes: int) -> None:
    places = [place("a", 10, order=1), place("b", 20, order=2)]
    found = calls(Plan(places, workers=processes, apis=processes), 20)
    assert found["a"] >= 0.95 * 10 * (END - WARM)


def test_least_busy_keeps_equally_many_calls_under_way() -> None:
    """One answers three times as fast as the other, so it has three times as many calls."""
    found = calls(Plan([place("a"), place("b", median=3.0)], routing=Routing(strategy=Strategy.LEAST_BUSY)), 20)
    assert part(found, "a") == pytest.approx(0.75, abs=0.05)


def test_latency_goes_to_the_fastest_and_those_close_to_it() -> None:
    routing = Routing(strategy=Strategy.LATENCY, latency_buffer=0.6)
    found = calls(Plan([place("a"), place("b", median=1.2), place("c", median=4.0)], routing=routing), 20)
    assert part(found, "c") <= 0.02
    assert min(part(found, "a"), part(found, "b")) >= 0.25


@pytest.mark.parametrize(("rate", "share"), [(None, 1.0), (10.0, 0.5)], ids=["room", "overflow"])
def test_cost_goes_to_the_cheapest_while_it_has_room(rate: float | None, share: float) -> None:
    plan = Plan([place("a"), place("b", rate)], routing=Routing(strategy=Strategy.COST), prices=CHEAP_B)
    assert part(calls(plan, 20), "b") == pytest.approx(share, abs=0.03)


def test_usage_fills_limits_evenly() -> None:
    """Thirty per second and ten: three of four calls go to the first."""
    found = calls(Plan([place("a", 30), place("b", 10)], routing=Routing(strategy=Strategy.USAGE)), 20)
    assert part(found, "a") == pytest.approx(0.75, abs=0.03)
