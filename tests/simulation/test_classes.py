"""Batch requests fill what interactive ones leave of a limit, and nobody who waits for an answer notices."""

from typing import NamedTuple

import pytest

from schemas.envelope import Class
from tests.simulation.figures import quantile, served
from tests.simulation.parts import Api, Asked
from tests.simulation.world import LONG, WARM, Plan, World, one, world

RATE = 12.0  # calls per second
BACKLOG = 48  # batch requests that are never answered yet
DAY = 86_400.0  # seconds


class Outcome(NamedTuple):
    """`interactive`: the 95th percentile of their seconds, and how many were served; `batch`: how many."""

    seconds: float
    interactive: int
    batch: int


def saturate(house: World) -> None:
    """As a feeder does: keep a backlog."""
    open_: list[Asked] = []

    def fill() -> None:
        open_[:] = [asked for asked in open_ if not asked.status]
        open_.extend(house.apis[0].ask("batch", Class.BATCH, DAY) for _ in range(BACKLOG - len(open_)))
        if house.time.now < LONG:
            house.at(house.time.now + 0.5, fill)

    fill()


def outcome(*, configured: bool, workers: int, batch: bool) -> Outcome:
    with world(Plan([one(RATE, configured=configured)], workers=workers)) as house:
        house.poisson(lambda _: RATE / 2, RATE / 2, Api.ask)
        if batch:
            saturate(house)
        house.run(LONG + 10)
    interactive = [asked for asked in house.asked if asked.klass is Class.INTERACTIVE]
    return Outcome(
        quantile([asked.ended - asked.at for asked in interactive if WARM <= asked.at < LONG], 0.95),
        served(interactive, WARM, LONG),
        served(house.asked, WARM, LONG, lambda asked: asked.klass is Class.BATCH),
    )


@pytest.mark.parametrize(("configured", "workers"), [(True, 1), (False, 2)], ids=["configured", "learned-by-two"])
def test_batch_takes_what_is_left_and_slows_nobody_down(configured: bool, workers: int) -> None:
    alone = outcome(configured=configured, workers=workers, batch=False)
    both = outcome(configured=configured, workers=workers, batch=True)
    assert both.seconds <= 1.1 * alone.seconds
    assert both.batch >= 0.9 * (RATE * (LONG - WARM) - both.interactive)
