"""Ten keys share a deployment, and one of them sends a hundred times what each of the others does."""

from random import Random
from typing import NamedTuple

from tests.simulation.figures import jain, quantile, served
from tests.simulation.ideal import Arrival, max_min_fair
from tests.simulation.world import LONG, REST, WARM, Plan, one, world

KEYS = [str(n) for n in range(10)]
RATE = 2.5  # calls per second
OWN = 0.075  # requests per second of each of the nine: less than a fair share, so all of it is due to them
SLOT = 1 / RATE
"""A service slot: the time between two calls that the limit lets begin.

A scheduler whose service cannot be interrupted is late by the one that has just begun, which for a link that sends
packets is a packet's time and here is this. It is the strictest choice: neither a round of all keys, which is what
deficit round robin itself may be late by, nor the time that a call takes.
"""


class Outcome(NamedTuple):
    """Of one seed: the 95th percentile of the nine's waits in seconds, ours and the ideal's, and their goodput."""

    waited: float
    ideal: float
    goodput: list[int]
    statuses: set[int]
    hot: int  # successes of the tenth


def arrivals(random: Random, hot: str) -> list[Arrival]:
    """Requests at random times. Of the nine each has equally many, so that what differs is not their own doing."""
    many = {key: round(OWN * LONG * (100 if key == hot else 1)) for key in KEYS}
    return sorted(Arrival(random.uniform(0.1, LONG), key) for key in KEYS for _ in range(many[key]))


def outcome(seed: int) -> Outcome:
    random = Random(seed)
    hot = random.choice(KEYS)
    nine = [key for key in KEYS if key != hot]
    coming = arrivals(random, hot)
    with world(Plan([one(RATE)], seed=seed)) as house:
        for arrival in coming:
            house.at(arrival.at, lambda key=arrival.key: house.apis[0].ask(key))  # type: ignore[misc]
        house.run(LONG + REST)
    theirs = [asked for asked in house.asked if asked.key != hot and WARM <= asked.at < LONG]
    ideal = [one for one in max_min_fair(coming, RATE) if one.arrival.key != hot and WARM <= one.arrival.at < LONG]
    return Outcome(
        quantile([asked.waited for asked in theirs], 0.95),
        quantile([one.seconds for one in ideal], 0.95),
        [served(theirs, WARM, LONG, lambda asked, key=key: asked.key == key) for key in nine],  # type: ignore[misc]
        {asked.status for asked in theirs},
        served(house.asked, WARM, LONG, lambda asked: asked.key == hot),
    )


def test_nobody_notices_the_one_that_sends_a_hundred_times_as_much() -> None:
    outcomes = [outcome(seed) for seed in range(20)]
    for one_of in outcomes:
        assert one_of.statuses == {200}
        assert one_of.waited <= 2 * one_of.ideal + SLOT
        assert jain(one_of.goodput) >= 0.97
        assert one_of.hot + sum(one_of.goodput) >= 0.9 * RATE * (LONG - WARM)  # it has what they leave
