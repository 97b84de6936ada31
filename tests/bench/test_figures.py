"""What is read from records and logs, against small cases that can be counted by hand."""

import random
from itertools import pairwise

import pytest

from bench.overload.figures import (
    Calls,
    Figure,
    Window,
    at_least,
    at_most,
    below,
    bootstrap,
    calls_of,
    quantile,
    use_under_backlog,
)
from bench.overload.load import Record, arrivals
from bench.overload.probes import Probes


def served(at: float, seconds: float) -> Record:
    return Record(at, "interactive", 200, seconds)


def test_a_bound_includes_itself_unless_it_says_below() -> None:
    assert at_least("x", 0.97, 0.97) == Figure("x", 0.97, ">= 0.97", True)
    assert at_most("x", 1.05, 1.05).ok
    assert not below("x", 0.01, 0.01).ok
    assert "FAIL" in at_most("x", 1.06, 1.05).line()


def test_a_window_has_what_was_due_and_what_was_answered_in_it() -> None:
    window = Window(10.0, 20.0)
    early, inside, late = served(9.9, 1.0), served(19.9, 1.0), served(20.0, 1.0)
    assert window.due([early, inside, late]) == [inside]
    assert window.answered([early, inside, late, Record(12.0, "batch", 429, 0.1)]) == [early]


def test_calls_are_brought_to_the_loads_time() -> None:
    log = {"accepted": [101.0, 105.0], "refused": [103.0], "failed": [], "ended": [102.0]}
    stats = {"deployments": {"a": log, "b": {**log, "accepted": [104.0]}}}
    calls = calls_of(stats, 100.0)
    assert calls.accepted == [1.0, 4.0, 5.0]
    assert calls_of(stats, 100.0, "b").accepted == [4.0]
    assert calls.made == [1.0, 3.0, 3.0, 4.0, 5.0]
    assert calls.within(Window(3.0, 5.0)) == Calls([4.0], [3.0, 3.0], [], [])


def test_the_limit_is_judged_only_while_requests_wait() -> None:
    # At a limit of 2 per second: four seconds in which 4 wait and 1 call per second is made, then nothing waits.
    waiting = [served(0.0, 20.0) for _ in range(4)]
    quick = [served(second + 0.5, 0.3) for second in range(10)]
    accepted = [record.at for record in quick]
    calls = Calls(accepted, [], [], [record.end for record in quick])
    use = use_under_backlog([*waiting, *quick], calls, 2.0, Window(1.0, 5.0))
    assert (use.seconds, use.share) == (4, 0.5)
    assert use_under_backlog(quick, calls, 2.0, Window(1.0, 5.0)) == (0, 0.0)


def test_requests_whose_call_is_under_way_do_not_wait() -> None:
    records = [served(0.0, 20.0) for _ in range(4)]
    calls = Calls([0.1] * 4, [], [], [20.0] * 4)
    assert use_under_backlog(records, calls, 2.0, Window(1.0, 5.0)).seconds == 0


def test_quantiles_go_by_rank() -> None:
    assert quantile(range(100), 0.95) == 95
    assert quantile([], 0.5) == 0


def test_the_bound_is_above_the_median_and_closes_in() -> None:
    dice = random.Random(1)
    few = bootstrap([dice.gauss(0.05, 0.1) for _ in range(20)], dice, 2000)
    many = bootstrap([dice.gauss(0.05, 0.1) for _ in range(2000)], dice, 200)
    assert few.median < few.upper90 <= few.upper95
    assert many.upper90 - many.median < few.upper90 - few.median
    assert many.upper90 == pytest.approx(0.05, abs=0.01)


def test_arrivals_follow_the_rate_and_the_seed() -> None:
    def rate(at: float) -> float:
        return 100.0 if at < 50 else 10.0

    found = list(arrivals(rate, 100.0, 0.0, 100.0, random.Random(3)))
    assert found == list(arrivals(rate, 100.0, 0.0, 100.0, random.Random(3)))
    assert found == sorted(found)
    assert sum(at < 50 for at in found) == pytest.approx(5000, rel=0.05)
    assert sum(at >= 50 for at in found) == pytest.approx(500, rel=0.15)
    gaps = [b - a for a, b in pairwise(found[:4000])]
    # Of a Poisson process: the standard deviation of the gaps is their mean.
    assert (sum((gap - 0.01) ** 2 for gap in gaps) / len(gaps)) ** 0.5 == pytest.approx(0.01, rel=0.1)


def test_probes_without_anybody_refused_judge_nothing() -> None:
    assert [figure.ok for figure in Probes(10.0, 5.0).figures()] == [None, None, None]


def test_probes_judge_the_share_that_was_admitted() -> None:
    probes = Probes(10.0, 5.0)
    refused = Record(9.0, "interactive", 429, 0.0, 1.0)
    probes.pairs += [(refused, served(10.0, 5.0)), (refused, Record(10.5, "interactive", 429, 0.0, 1.0))]
    number, admitted, answered = probes.figures()
    assert (number.value, admitted.value, answered.value, admitted.ok) == (2, 0.5, 0.5, False)
