"""Who is next among many keys: nothing is lost, nobody overtakes within a key, and nobody waits behind a backlog."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from policy.fairness import FairQueue

KEYS = st.sampled_from("abcde")
COSTS = st.sampled_from([1.0, 1.0, 1.5, 2.0, 7.25]) | st.floats(0.1, 20)


def queue(lines: dict[str, int], cost: float = 1.0) -> FairQueue[str]:
    """So many items for each key: `a1 a2 b1`."""
    found: FairQueue[str] = FairQueue()
    for key, many in lines.items():
        for n in range(1, many + 1):
            found.put(key, f"{key}{n}", cost)
    return found


def drained(one: FairQueue[str], most: int = 10_000) -> list[str]:
    """What comes out."""
    found: list[str] = []
    while len(found) < most and (item := one.next()) is not None:
        found.append(item)
    return found


@pytest.mark.parametrize(
    ("lines", "order"),
    [
        ({}, ""),
        ({"a": 3}, "a1 a2 a3"),
        ({"a": 3, "b": 1}, "a1 b1 a2 a3"),
        ({"a": 3, "b": 2, "c": 1}, "a1 b1 c1 a2 b2 a3"),
        ({"a": 1, "b": 3}, "a1 b1 b2 b3"),
    ],
)
def test_keys_take_turns(lines: dict[str, int], order: str) -> None:
    assert drained(queue(lines)) == order.split()


def test_who_comes_later_is_served_in_the_same_round() -> None:
    one = queue({"a": 1000})
    assert drained(one, 5) == ["a1", "a2", "a3", "a4", "a5"]
    one.put("b", "b1")
    assert "b1" in drained(one, 2)


def test_who_comes_and_goes_gains_nothing() -> None:
    """A key that always has one item waiting gets no more turns than one with a backlog."""
    one, served = queue({"a": 500}), Counter[str]()
    one.put("b", "b0")
    for n in range(400):
        item = one.next() or ""
        served[item[0]] += 1
        if item[0] == "b":
            one.put("b", f"b{n + 1}")
    assert abs(served["a"] - served["b"]) <= 2


def test_large_items_cost_their_key_turns() -> None:
    one: FairQueue[str] = FairQueue()
    for n in range(40):
        one.put("a", f"a{n}", 3.0)
        one.put("b", f"b{n}", 1.0)
    served = Counter(item[0] for item in drained(one, 40))
    assert served == {"a": 10, "b": 30}


@given(st.lists(st.tuples(KEYS, COSTS), min_size=2, max_size=80))
def test_what_keys_with_a_backlog_get_differs_by_no_more_than_their_largest_items(
    puts: list[tuple[str, float]],
) -> None:
    one: FairQueue[int] = FairQueue()
    left: dict[str, list[float]] = {}
    for n, (key, cost) in enumerate(puts):
        one.put(key, n, cost)
        left.setdefault(key, []).append(cost)
    largest, served = max(cost for _, cost in puts), dict.fromkeys(left, 0.0)
    while all(left.values()):
        item = one.next()
        assert item is not None
        key, cost = puts[item]
        served[key] += cost
        left[key].remove(cost)
        assert max(served.values()) - min(served.values()) <= 1 + 2 * largest + 1e-9


@given(st.dictionaries(KEYS, st.integers(1, 12), min_size=1), st.integers(0, 20))
def test_every_key_with_a_backlog_is_served_in_every_round(lines: dict[str, int], start: int) -> None:
    one = queue(lines)
    left = Counter(lines)
    for item in drained(one, start):
        left[item[0]] -= 1
    waiting = {key for key, many in left.items() if many > 0}
    if waiting and min(left[key] for key in waiting) >= 2:
        assert {item[0] for item in drained(one, len(waiting))} == waiting


@given(st.lists(KEYS, max_size=40), st.integers(0, 30), st.integers(0, 3), KEYS)
def test_ahead_is_never_too_few(puts: list[str], served: int, first: int, key: str) -> None:
    one: FairQueue[str] = FairQueue()
    for n, of in enumerate(puts):
        one.put(of, f"{of}{n}")
    drained(one, served)
    for n in range(first):
        one.put_first(f"first{n}")
    ahead = one.ahead(key)
    one.put(key, "mine")
    found = drained(one)
    assert found.index("mine") <= ahead <= len(found) - 1


@pytest.mark.parametrize(
    ("lines", "key", "ahead"),
    [
        ({}, "x", 0),
        ({"a": 1000}, "x", 1),
        ({"a": 1000, "b": 1000, "c": 1}, "x", 3),
        ({"a": 1000, "b": 1}, "b", 3),
        ({"a": 1, "b": 5}, "b", 6),
        ({"a": 10, "b": 2, "c": 1, "d": 4}, "d", 4 + 5 + 2 + 1),
    ],
)
def test_ahead_is_reached_by_the_last_in_the_round(lines: dict[str, int], key: str, ahead: int) -> None:
    one = queue(lines)
    assert one.ahead(key) == ahead
    one.put(key, "mine")
    assert drained(one).index("mine") == ahead


def test_with_very_many_keys_ahead_is_a_bound() -> None:
    one = queue({f"k{n}-": 2 for n in range(100)})
    assert one.ahead("new") == 100
    assert one.ahead("k0-") == 200
    one.put("new", "mine")
    assert drained(one).index("mine") <= 100


def test_who_was_put_first_goes_first_and_in_order() -> None:
    one = queue({"a": 2})
    one.put_first("x")
    one.put_first("y")
    assert (len(one), one.ahead("b")) == (4, 3)
    assert one.remove("whoever", "y")
    one.put_first("z")
    assert drained(one) == ["x", "z", "a1", "a2"]


@pytest.mark.parametrize(
    ("sizes", "key", "size", "takes"),
    [
        ({}, "a", 100, True),
        ({}, "a", 101, False),
        ({"a": 50}, "a", 0, True),
        ({"a": 40}, "a", 20, True),
        ({"a": 40}, "a", 21, False),
        ({"a": 50}, "b", 50, True),
        ({"a": 50}, "b", 51, False),
        ({"a": 50, "b": 25}, "b", 0, True),
        ({"a": 50, "b": 25}, "b", 1, False),
        ({"a": 50, "b": 25}, "c", 25, True),
    ],
)
def test_a_key_may_have_half_of_what_is_free(sizes: dict[str, int], key: str, size: int, takes: bool) -> None:
    one: FairQueue[str] = FairQueue()
    for of, many in sizes.items():
        one.put(of, of, size=many)
    assert one.takes(key, size, 100) is takes


class Queue(RuleBasedStateMachine):
    """Every item comes out exactly once, or was removed; within a key in order."""

    def __init__(self) -> None:
        super().__init__()
        self.one: FairQueue[int] = FairQueue()
        self.lines: dict[str, list[tuple[int, int]]] = {}
        self.first: list[int] = []
        self.count = 0

    @rule(key=KEYS, cost=COSTS, size=st.integers(0, 50))
    def put(self, key: str, cost: float, size: int) -> None:
        self.count += 1
        self.one.put(key, self.count, cost, size)
        self.lines.setdefault(key, []).append((self.count, size))

    @rule()
    def put_first(self) -> None:
        self.count += 1
        self.one.put_first(self.count)
        self.first.append(self.count)

    @precondition(lambda self: self.count)
    @rule()
    def next(self) -> None:
        item = self.one.next()
        if self.first:
            assert item == self.first.pop(0)
            return
        heads = {line[0][0]: key for key, line in self.lines.items() if line}
        assert item in heads if heads else item is None
        if item is not None:
            self.lines[heads[item]].pop(0)

    @rule(key=KEYS, which=st.integers(0, 50))
    def remove(self, key: str, which: int) -> None:
        line = self.lines.get(key)
        if line:
            item, _ = line.pop(which % len(line))
            assert self.one.remove(key, item)
            assert not self.one.remove(key, item)
        elif self.first:
            item = self.first.pop(which % len(self.first))
            assert self.one.remove(key, item)

    @invariant()
    def counts_are_right(self) -> None:
        assert len(self.one) == len(self.first) + sum(map(len, self.lines.values()))
        own = sum(size for _, size in self.lines.get("a", []))
        all_of_them = sum(size for line in self.lines.values() for _, size in line)
        assert self.one.takes("a", 0, own + all_of_them)
        assert not self.one.takes("a", 1, own + all_of_them)


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
