"""Who serves a deployment with which part of it: every process comes to the same answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.share import Share, share

NAMES = [f"worker-{n}" for n in range(12)]
SUBSETS = st.sets(st.sampled_from(NAMES), min_size=1)
RATES = st.sampled_from([0.0, 0.01, 0.4, 1.0, 3.5, 1000.0]) | st.floats(0.001, 10)
PARALLELS = st.none() | st.integers(1, 40)


def shares(living: set[str], rate: float, parallel: int | None, deployment: str = "d") -> dict[str, Share]:
    """Each one's own answer."""
    return {name: share(name, living, deployment, rate, parallel) for name in living}


@given(SUBSETS, RATES, PARALLELS)
def test_the_parts_make_the_whole(living: set[str], rate: float, parallel: int | None) -> None:
    found = shares(living, rate, parallel)
    serving = [one for one in found.values() if one.serves]
    assert serving, "somebody always serves"
    assert {one.copies for one in serving} == {len(serving)}, "they know how many they are"
    assert {one for one in found.values() if not one.serves} <= {Share(0, 0)}
    if parallel is None:
        assert {one.slots for one in serving} == {None}
    else:
        slots = [one.slots or 0 for one in serving]
        assert sum(slots) == parallel
        assert max(slots) - min(slots) <= 1


@pytest.mark.parametrize(
    ("living", "rate", "parallel", "serving"),
    [
        (1, 0, None, 1),
        (12, 0, None, 12),
        (12, 60, None, 12),
        (12, 47, None, 11),  # fewer than four calls in a second for each
        (12, 9, None, 2),
        (12, 1, None, 1),
        (12, 0.01, None, 1),
        (12, 0, 100, 12),
        (12, 0, 5, 5),
        (12, 12, 5, 3),
        (3, 12, 5, 3),
        (2, 12, 5, 2),
    ],
)
def test_how_many_serve(living: int, rate: float, parallel: int | None, serving: int) -> None:
    found = shares(set(NAMES[:living]), rate, parallel)
    assert sum(one.serves for one in found.values()) == serving


@given(SUBSETS, RATES, PARALLELS, st.sampled_from(NAMES))
def test_when_one_leaves_few_things_move(living: set[str], rate: float, parallel: int | None, gone: str) -> None:
    before = shares(living | {gone}, rate, parallel)
    after = shares((living | {gone}) - {gone} or {"x"}, rate, parallel)
    stayed = [name for name in before if name in after]
    assert all(after[name].serves for name in stayed if before[name].serves), "nobody who served must stop"
    began = [name for name in stayed if after[name].serves and not before[name].serves]
    assert len(began) <= (1 if before[gone].serves else 0)
    if not before[gone].serves:
        assert all(after[name] == before[name] for name in stayed)


def test_every_subset_of_five_shares_every_number_of_slots() -> None:
    for mask in range(1, 2**5):
        living = {name for n, name in enumerate(NAMES[:5]) if mask >> n & 1}
        for parallel in range(1, 12):
            assert sum(one.slots or 0 for one in shares(living, 0.0, parallel).values()) == parallel


def test_deployments_are_spread_over_the_processes() -> None:
    living = set(NAMES[:4])
    count = dict.fromkeys(living, 0)
    for n in range(400):
        (serving,) = [name for name, one in shares(living, 0.1, None, f"d{n}").items() if one.serves]
        count[serving] += 1
    assert min(count.values()) >= 70


def test_when_one_leaves_only_its_own_deployments_move() -> None:
    living = set(NAMES[:4])
    moved = 0
    for n in range(400):
        before = {name for name, one in shares(living, 0.1, None, f"d{n}").items() if one.serves}
        after = {name for name, one in shares(living - {NAMES[0]}, 0.1, None, f"d{n}").items() if one.serves}
        moved += before != after
        assert before == after or before == {NAMES[0]}
    assert 70 <= moved <= 130


def test_nobody_serves_where_nobody_lives() -> None:
    assert not share("w", set(), "d", 1.0, 4).serves
    assert not share("w", set(), "d", 0.0, None).serves
