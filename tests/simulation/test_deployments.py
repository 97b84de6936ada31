"""Two deployments of one model group, one with a tenth of the other's limit, one of them failing for a while."""

import pytest

from schemas.config import Deployment
from tests.simulation.figures import Rooms, between, served
from tests.simulation.parts import GROUP, Api
from tests.simulation.provider import Character
from tests.simulation.world import LONG, REST, WARM, Place, Plan, limits, world

RATES = {"large": 20.0, "small": 2.0}  # calls per second
FAILING = (100.0, 120.0)
TOTAL = 1.2 * sum(RATES.values())  # requests per second


def place(name: str, *, failing: bool, configured: bool) -> Place:
    rate = RATES[name]
    deployment = Deployment(id=name, group=GROUP, provider="p", model="m", limits=limits(rate, configured=configured))
    return deployment, Character(rate, failing=FAILING if failing else (0.0, 0.0))


@pytest.mark.parametrize("failing", RATES)
@pytest.mark.parametrize("configured", [True, False], ids=["configured", "learned"])
def test_one_that_fails_takes_no_request_with_it(failing: str, configured: bool) -> None:
    places = [place(name, failing=name == failing, configured=configured) for name in RATES]
    with world(Plan(places)) as house:
        rooms = Rooms(house)
        house.poisson(lambda _: TOTAL, TOTAL, Api.ask)
        house.run(LONG + REST)
        passed_over = rooms.passed_over(0.25)
    counted = [asked for asked in house.asked if WARM <= asked.at < LONG]
    allowed = sum(RATES.values()) * (LONG - WARM) - RATES[failing] * (FAILING[1] - FAILING[0])
    assert served(house.asked, WARM, LONG) >= 0.97 * allowed
    assert sum(WARM <= asked.at < LONG for asked in passed_over) < 0.01 * len(counted)
    assert sum(asked.status not in (200, 429) for asked in counted) <= 0.002 * len(counted)
    failed = between(house.providers[failing].failed, *FAILING)
    assert failed <= 20 + 2 * RATES[failing]  # soon it is left alone
