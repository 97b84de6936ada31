"""Several worker processes share one deployment's limit, while they come, go, fall asleep and lose their broker."""

import pytest

from tests.simulation.figures import between, busiest_minute
from tests.simulation.parts import Api
from tests.simulation.provider import MINUTE
from tests.simulation.world import LONG, REST, WARM, Plan, World, one, world

OUTAGE = (150.0, 155.0)  # when there is no broker, and
BACK = 156.0  # when there has been one for long enough to have heard of everybody
RATE = 12.0  # calls per second
LEARNED = pytest.mark.parametrize("configured", [True, False], ids=["configured", "learned"])


def overload(house: World, rate: float = RATE) -> None:
    """Half as many requests again as the limit lets through."""
    house.poisson(lambda _: 1.5 * rate, 1.5 * rate, Api.ask)
    house.run(LONG + REST)


def busiest(house: World, rate: float = RATE) -> float:
    """The part of the limit that was sent in the busiest minute; more than 1 is too much."""
    return busiest_minute([at for at in house.provider.sent() if WARM <= at < LONG]) / (rate * MINUTE)


@LEARNED
@pytest.mark.parametrize(("workers", "apis"), [(1, 1), (2, 1), (4, 2)])
def test_the_limit_is_used_and_kept_whoever_shares_it(workers: int, apis: int, configured: bool) -> None:
    with world(Plan([one(RATE, configured=configured)], workers=workers, apis=apis)) as house:
        overload(house)
    assert busiest(house) <= 1.02
    assert between(house.provider.accepted, WARM, LONG) >= 0.95 * RATE * (LONG - WARM)


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0])
@LEARNED
def test_a_limit_that_is_too_small_for_all_of_them_is_used_by_some(rate: float, configured: bool) -> None:
    with world(Plan([one(rate, configured=configured)], workers=4)) as house:
        overload(house, rate)
    assert busiest(house, rate) <= 1.02
    assert between(house.provider.accepted, WARM, LONG) >= 0.95 * rate * (LONG - WARM)
    assert sum(asked.status not in (200, 429) for asked in house.asked) <= 0.01 * len(house.asked)


def test_a_limit_that_nobody_tells_is_found_by_each_of_them() -> None:
    with world(Plan([one(RATE, configured=False, headers=False)], workers=2)) as house:
        overload(house)
    assert busiest(house) <= 1.05
    assert between(house.provider.accepted, WARM, LONG) >= 0.90 * RATE * (LONG - WARM)


@LEARNED
def test_workers_come_and_go_and_the_limit_is_used_and_kept(configured: bool) -> None:
    with world(Plan([one(RATE, configured=configured)], workers=2, apis=2)) as house:
        first, second = house.workers
        house.at(60, house.hire)
        house.at(90, lambda: house.kill(first))
        house.at(110, second.loop.pause)
        house.at(120, second.loop.go_on)
        house.at(OUTAGE[0], lambda: house.broker.fail(OUTAGE[1] - OUTAGE[0]))
        overload(house)
    used = between(house.provider.accepted, WARM, OUTAGE[0]) + between(house.provider.accepted, BACK, LONG)
    assert busiest(house) <= 1.02
    assert used >= 0.95 * RATE * (LONG - WARM - (BACK - OUTAGE[0]))
    assert all(asked.status for asked in house.asked)
