"""One deployment that takes 60 calls per second, and more requests than that, for a while or all the time."""

from typing import NamedTuple

import pytest

from tests.simulation.figures import between, served
from tests.simulation.parts import DEADLINE, Api, Asked
from tests.simulation.world import LONG, REST, WARM, Plan, one, world

SECONDS = LONG - WARM
LONG_CALL = 4.7  # seconds: 999 of 1000 calls take less


class Mode(NamedTuple):
    """What is known of the limit, how large it is, and what is asked of us then."""

    configured: bool
    headers: bool
    rate: float = 60.0  # calls per second
    answered: float = 1.0  # of the requests, as long as the limit allows them all
    refused: float = 0.01  # 429s of the provider's, per call
    goodput: float = 0.97  # successes, of what the limit allows
    calls: float = 1.05  # per success
    patience: float = 1.0  # seconds in which a refusal comes
    late: float = 0.0002  # of the requests: called in time, and the call took longer than nearly any
    certain: bool = True  # who is told when to come is admitted then


CONFIGURED = Mode(configured=True, headers=True)
LEARNED = Mode(configured=False, headers=True, refused=0.05)
SILENT = Mode(
    configured=False,
    headers=False,
    rate=20.0,
    answered=0.97,
    refused=0.02,
    goodput=0.95,
    patience=30.0,
    late=0.002,
    certain=False,
)
"""Only refusals tell of a limit, so it is looked for by passing it, and what is known is wrong by some per cent. Before
the first refusal a backlog is taken on that would be none without a limit: who is in it is told late that it is too
late."""
MODES = pytest.mark.parametrize("mode", [CONFIGURED, LEARNED, SILENT], ids=["configured", "learned", "silent"])


def plan(mode: Mode) -> Plan:
    return Plan([one(mode.rate, configured=mode.configured, headers=mode.headers)])


@MODES
def test_bursts_wait_and_every_request_is_answered(mode: Mode) -> None:
    peak = 3 * mode.rate

    def in_bursts(now: float) -> float:
        """0.9 of the limit on average: three times the limit for 10 s of every 40, a fifth of it between."""
        return peak if now % 40 < 10 else mode.rate / 5

    with world(plan(mode)) as house:
        house.poisson(in_bursts, peak, Api.ask)
        house.run(LONG + REST)
    calls = between(house.provider.sent(), WARM, LONG)
    assert {asked.status for asked in house.asked} <= {200, 429}
    assert sum(asked.status == 200 for asked in house.asked) >= mode.answered * len(house.asked)
    assert between(house.provider.refused, WARM, LONG) < mode.refused * calls


@MODES
def test_what_cannot_be_answered_in_time_is_refused_at_once(mode: Mode) -> None:
    with world(plan(mode)) as house:
        house.poisson(lambda _: 3 * mode.rate, 3 * mode.rate, Api.ask)
        house.run(LONG)
        last = [asked for asked in house.asked if asked.status == 429 and asked.ended - asked.at < 1][-10:]
        again: list[Asked] = []
        for asked in last:
            house.at(asked.at + asked.retry_after, lambda: again.append(house.apis[0].ask()))
        house.run(LONG + REST)
    asked_for = [asked for asked in house.asked if WARM <= asked.at < LONG]
    refused = [asked for asked in asked_for if asked.status == 429]
    late = [asked for asked in asked_for if asked.status not in (200, 429)]
    successes = served(house.asked, WARM, LONG)
    assert successes >= mode.goodput * mode.rate * SECONDS
    assert between(house.provider.sent(), WARM, LONG) <= mode.calls * successes
    assert len(late) <= mode.late * len(asked_for)
    assert not mode.certain or all(DEADLINE - asked.waited > LONG_CALL for asked in late)
    assert max(asked.ended - asked.at for asked in refused) <= mode.patience
    assert min(asked.retry_after for asked in refused) >= 1
    assert not mode.certain or [asked.status for asked in again] == [200] * len(last)
