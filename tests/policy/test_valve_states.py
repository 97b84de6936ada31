"""A valve in any state: what holds whatever was held, started, ended, refused, and cooled down before."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from policy.circuit import Circuit, Rules
from policy.limiter import Cost, Limiter, Mark
from policy.valve import End, Lane, Slots, Valve
from schemas.config import Limits
from schemas.failures import Kind

LIMITS = st.sampled_from([Limits(), Limits(rpm=3), Limits(rpm=600), Limits(tpm=60_000), Limits(rpm=120, otpm=6000)])
COSTS = st.builds(Cost, st.integers(0, 500), st.integers(0, 500))
KINDS = [None, None, None, Kind.PROVIDER_ERROR, Kind.PROVIDER_OVERLOADED, Kind.PROVIDER_RATE_LIMIT, Kind.PROVIDER_AUTH]
LONG = 600.0  # seconds
LOOK = 0.1  # seconds between two looks at a window that was too small


class Item:
    """A request."""

    def __init__(self, number: int, lane: Lane) -> None:
        self.number = number
        self.lane = lane


class Valves(RuleBasedStateMachine):
    """Two valves that share their slots, as the models of a wildcard do."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.slots = Slots(6)
        self.valves: list[Valve[Item]] = [
            Valve(Limiter(limits, 0.0), Circuit(Rules(3.0), 0.0), self.slots, 0.0)
            for limits in (Limits(), Limits(rpm=600))
        ]
        self.held: list[list[Item]] = [[], []]
        self.count = [0, 0]
        self.put = 0

    @rule(at=st.sampled_from([0, 1]), lane=st.sampled_from(Lane), cost=COSTS)
    def hold(self, at: int, lane: Lane, cost: Cost) -> None:
        self.put += 1
        item = Item(self.put, lane)
        self.valves[at].hold(item, lane, cost)
        self.held[at].append(item)

    @rule(target=running, at=st.sampled_from([0, 1]))
    def start(self, at: int) -> Any:
        valve, held = self.valves[at], self.held[at]
        room = valve.room(self.now)
        found = valve.start(self.now)
        if found is None:
            assert room == 0 or not any(item.lane is not Lane.BATCH for item in held)
            return None
        item, mark = found
        assert self.valves[at].circuit.cooling(self.now) == 0
        assert item is next(one for one in held if one.lane is item.lane), "each lane is in order"
        if item.lane is Lane.BATCH:
            assert all(one.lane is Lane.BATCH for one in held)
            assert self.slots.running < self.slots.most or self.slots.most == 1
        assert self.slots.running <= self.slots.most
        held.remove(item)
        self.count[at] += 1
        return at, mark

    @rule(entry=consumes(running), kind=st.sampled_from(KINDS), seconds=st.floats(0, 60) | st.just(5e-324))
    def end(self, entry: tuple[int, Mark] | None, kind: Kind | None, seconds: float) -> None:
        if entry is not None:
            at, mark = entry
            self.valves[at].ended(mark, End(kind, seconds, mark.cost, 1.5), self.now)
            self.count[at] -= 1

    @rule(at=st.sampled_from([0, 1]), which=st.integers(0, 100))
    def drop(self, at: int, which: int) -> None:
        held = self.held[at]
        if held:
            item = held.pop(which % len(held))
            assert self.valves[at].drop(item)
            assert not self.valves[at].drop(item)

    @rule(at=st.sampled_from([0, 1]), lanes=st.sets(st.sampled_from(Lane)))
    def give_up(self, at: int, lanes: set[Lane]) -> None:
        given = self.valves[at].give_up(*sorted(lanes))
        assert sorted(given, key=lambda item: item.number) == [one for one in self.held[at] if one.lane in lanes]
        self.held[at] = [one for one in self.held[at] if one.lane not in lanes]

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 5.0, 70.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(most=st.integers(0, 8))
    def change_slots(self, most: int) -> None:
        self.slots.most = most

    @invariant()
    def counts_are_right(self) -> None:
        assert [valve.running for valve in self.valves] == self.count
        assert self.slots.running == sum(self.count)
        assert [valve.held for valve in self.valves] == [len(held) for held in self.held]

    @invariant()
    def what_is_told_is_sane(self) -> None:
        for valve in self.valves:
            room, appetite, pace = valve.room(self.now), valve.appetite(self.now), valve.pace()
            assert 0 <= room <= max(0, self.slots.most - self.slots.running)
            assert 0 <= appetite <= max(1, self.slots.most)
            assert 0 <= pace < math.inf
            assert 0 <= valve.slowest(self.now + 60) <= valve.slowest(self.now)
            if valve.shut(self.now) > 1.0 or self.slots.most == 0:
                assert appetite == 0
            if valve.circuit.cooling(self.now):
                assert room == 0


TestValves = Valves.TestCase
TestValves.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def in_some_state(limits: Limits, steps: list[tuple[float, Kind | None, Cost]]) -> tuple[Valve[Item], float]:
    """A valve after calls that began, took a while, and ended; the last few are under way."""
    valve: Valve[Item] = Valve(Limiter(limits, 0.0), Circuit(Rules(3.0), 0.0), Slots(6), 0.0)
    now, running = 0.0, []
    for pause, kind, cost in steps:
        now += pause
        valve.hold(Item(0, Lane.SHARED), Lane.SHARED, cost)
        while (found := valve.start(now)) is not None:
            running.append(found[1])
        if len(running) > 3:
            valve.ended(running.pop(0), End(kind, 1.0, cost, 2.0), now)
    valve.give_up(*Lane)
    return valve, now


STEPS = st.lists(st.tuples(st.floats(0, 20), st.sampled_from(KINDS), COSTS), max_size=30)


@given(LIMITS, STEPS, st.sampled_from(Lane), COSTS)
@settings(deadline=None)
def test_a_wait_never_lies(
    limits: Limits, steps: list[tuple[float, Kind | None, Cost]], lane: Lane, cost: Cost
) -> None:
    valve, now = in_some_state(limits, steps)
    assert valve.wait(now) is None, "there is nothing to wait for"
    valve.hold(Item(1, lane), lane, cost)
    started = valve.start(now)
    waits = looks = 0
    while started is None:
        wait = valve.wait(now)
        if wait is None:
            assert all(valve.start(now + later) is None for later in (0.0, 0.5, 5.0, LONG))
            return
        if wait == LOOK:
            looks += 1
        else:
            waits += 1
            assert wait < 1e-6 or valve.start(now + 0.9 * wait) is None
        now += wait + 1e-9
        started = valve.start(now)
        assert looks < 300, "a small window grows by a twentieth in a second"
        assert waits < 3, "what opens after a cooldown may wait for a limit"


@given(LIMITS, STEPS, st.integers(0, 5), st.integers(0, 3))
@settings(deadline=None)
def test_room_is_what_can_start_beside_what_is_in_hand(
    limits: Limits, steps: list[tuple[float, Kind | None, Cost]], held: int, batch: int
) -> None:
    alike = [(pause, kind, Cost(40, 10)) for pause, kind, _ in steps]
    known: list[tuple[float, Kind | None, Cost]] = [(20.0, None, Cost(40, 10))] * 5
    valve, now = in_some_state(limits, known + alike)
    for n in range(held):
        valve.hold(Item(n, Lane(n % 2)), Lane(n % 2), Cost(40, 10))
    for n in range(batch):
        valve.hold(Item(n, Lane.BATCH), Lane.BATCH, Cost(40, 10))
    room = valve.room(now)
    for n in range(room):
        valve.hold(Item(n, Lane.SHARED), Lane.SHARED, Cost(40, 10))
    lanes = []
    while (found := valve.start(now)) is not None:
        lanes.append(found[0].lane)
    interactive = sum(lane is not Lane.BATCH for lane in lanes)
    assert interactive >= room
    if room:
        assert interactive == held + room


@pytest.mark.parametrize("limits", [Limits(), Limits(rpm=60), Limits(tpm=6000)], ids=str)
def test_a_backlog_is_worked_off_in_order_by_the_waits_alone(limits: Limits) -> None:
    valve: Valve[Item] = Valve(Limiter(limits, 0.0), Circuit(Rules(), 0.0), Slots(4), 0.0)
    for n in range(100):
        valve.hold(Item(n, Lane.SHARED), Lane.SHARED, Cost(50, 50))
    now, found, running = 0.0, [], []
    while valve.held:
        entry = valve.start(now)
        if entry is not None:
            found.append(entry[0].number)
            running.append(entry[1])
            continue
        wait = valve.wait(now)
        if wait is None:
            valve.ended(running.pop(0), End(None, 1.0, Cost(50, 50)), now)
        else:
            assert wait > 0
            now += wait + 1e-9
    assert found == list(range(100))
