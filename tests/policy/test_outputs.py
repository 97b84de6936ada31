"""What 99 of 100 answers stayed below: never lower, at most a fifth higher, and it follows what is lately."""

import random

from hypothesis import given
from hypothesis import strategies as st

from policy.outputs import Outputs


def fed(counts: list[int]) -> Outputs:
    """After these answers."""
    outputs = Outputs()
    for count in counts:
        outputs.add(count)
    return outputs


def test_little_is_believed_at_first() -> None:
    assert fed([10] * 19).p99() is None
    assert fed([10] * 20).p99() is not None


@given(st.lists(st.integers(0, 200_000), min_size=20, max_size=400))
def test_it_is_close_to_the_quantile_and_not_below(counts: list[int]) -> None:
    found = fed(counts).p99()
    exact = sorted(counts, reverse=True)[len(counts) // 100]
    assert found is not None
    assert exact <= found <= exact * 1.2 + 2


def test_it_forgets() -> None:
    outputs = fed([8000] * 1000)
    for _ in range(20_000):
        outputs.add(random.Random(1).randrange(90, 110))
    found = outputs.p99()
    assert found is not None
    assert found < 200
