"""One deployment that takes 60 calls per second, and more requests than that, for a while or all the time."""

from typing import NamedTuple

import pytest

from tests.simulation.figures import between, served
from tests.simulation.parts import Api, Asked
from tests.simulation.world import LONG, REST, WARM, Plan, one, world

RATE = 60.0
ALLOWED = RATE * (LONG - WARM)


class Mode(NamedTuple):
    """What is known of the limit, and what is asked of us then."""

    configured: bool
    headers: bool
    refusals: float  # of the provider's, per call
    goodput: float  # of what the limit allows, under overload
    calls: float  # per success


CONFIGURED = Mode(True, True, 0.01, 0.97, 1.05)
LEARNED = Mode(False, True, 0.05, 0.97, 1.05)
SILENT = Mode(False, False, 0.05, 0.90, 1.10)  # nothing but refusals tells of a limit
MODES = pytest.mark.parametrize("mode", [CONFIGURED, LEARNED, SILENT], ids=["configured", "learned", "silent"])


def plan(mode: Mode) -> Plan:
    return Plan([one(RATE, configured=mode.configured, headers=mode.headers)])


def in_bursts(now: float) -> float:
    """54 per second on average: three times the limit for 10 s of every 40."""
    return 3 * RATE if now % 40 < 10 else 12.0


@MODES
def test_bursts_wait_and_every_request_is_answered(mode: Mode) -> None:
    with world(plan(mode)) as house:
        house.poisson(in_bursts, 3 * RATE, Api.ask)
        house.run(LONG + REST)
        provider = house.provider
        statuses = {asked.status for asked in house.asked}
        refused = between(provider.refused, WARM, LONG)
        calls = between(provider.sent(), WARM, LONG)
        print("BURST", mode, refused / calls, len(provider.refused), len(provider.sent())/len(house.asked))
    assert statuses == {200}
    assert refused / calls < mode.refusals


@MODES
def test_what_cannot_be_answered_in_time_is_refused_at_once(mode: Mode) -> None:
    with world(plan(mode)) as house:
        house.poisson(lambda _: 3 * RATE, 3 * RATE, Api.ask)
        house.run(LONG)
        last = [asked for asked in house.asked if asked.status == 429][-10:]
        again: list[Asked] = []
        for asked in last:
            house.at(asked.at + asked.retry_after, lambda: again.append(house.apis[0].ask()))
        house.run(LONG + REST)
        counted = [asked for asked in house.asked if WARM <= asked.at < LONG]
        successes = served(house.asked, WARM, LONG)
        calls = between(house.provider.sent(), WARM, LONG)
        from collections import Counter
        print("FULL", mode, successes/ALLOWED, calls/successes, len(house.provider.refused), Counter(a.status for a in house.asked), [a.retry_after for a in last], [a.status for a in again])
    assert successes >= mode.goodput * ALLOWED
    assert calls <= mode.calls * successes
    assert {asked.status for asked in counted} == {200, 429}
    assert all(asked.retry_after >= 1 and asked.ended - asked.at <= 1 for asked in counted if asked.status == 429)
    assert [asked.status for asked in again] == [200] * len(last)
