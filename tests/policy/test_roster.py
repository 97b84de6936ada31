"""Who is alive, and how deployments stand, from beats alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.roster import Roster
from policy.standing import NOWHERE
from schemas.envelope import Beat, Cancel, RollCall, Serving


class Clock:
    """One that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def worker(process: str, *rows: Serving) -> Beat:
    return Beat(process=process, role="worker", every=1, serving=rows)


def heard(*beats: Beat) -> tuple[Roster, Clock, list[str]]:
    """A roster that has heard them now, its clock, and who is gone."""
    clock, gone = Clock(), list[str]()
    roster = Roster(clock)
    roster.on_gone = gone.append
    for beat in beats:
        roster.heard(beat)
    return roster, clock, gone


def test_the_roster_forgets_who_falls_silent_but_not_while_we_are_deaf() -> None:
    roster, clock, gone = heard(worker("w", Serving("q", "d", 4)), Beat(process="x", role="accounting", every=1))
    assert (roster.serves("q"), roster.alive("w"), roster.alive("x")) == (True, True, False)
    clock.now = 10
    roster.sweep(deaf=True)
    assert roster.alive("w")
    clock.now = 12
    roster.sweep(deaf=False)
    assert roster.alive("w")
    clock.now = 14
    roster.sweep(deaf=False)
    assert (roster.serves("q"), roster.alive("w"), gone) == (False, False, ["w"])


def test_one_that_leaves_serves_nothing_and_is_gone_later() -> None:
    roster, clock, gone = heard(worker("w", Serving("q", "d", 4)), worker("w"))
    assert (roster.serves("q"), gone) == (False, [])
    clock.now = 5
    roster.sweep(deaf=False)
    assert gone == ["w"]


@pytest.mark.parametrize(
    ("every", "silent", "lives"), [(1, 3.0, True), (1, 3.1, False), (5, 15.0, True), (5, 15.1, False)]
)
def test_three_beats_may_be_missed(every: float, silent: float, lives: bool) -> None:
    roster, clock, gone = heard(Beat(process="w", role="worker", every=every))
    clock.now = silent
    roster.sweep(deaf=False)
    assert (roster.alive("w"), gone) == (lives, [] if lives else ["w"])


def test_only_workers_are_told_of_when_they_are_gone() -> None:
    roster, clock, gone = heard(Beat(process="a", role="api", every=1, waiting={"q": 3}), worker("w"))
    clock.now = 10
    roster.sweep(deaf=False)
    assert (gone, roster.askers("q"), roster.serving()) == (["w"], 0, {})


def test_other_events_say_nothing() -> None:
    roster, _, _ = heard(worker("w", Serving("q", "d", 4)))
    roster.heard(RollCall())
    roster.heard(Cancel("request"))
    assert roster.serving() == {"w": (Serving("q", "d", 4),)}


def test_who_could_serve_a_deployment() -> None:
    roster, _, _ = heard(
        worker("w", Serving("q", "d", 4), Serving("q", "e", 4)),
        worker("v", Serving("q", "d", 0)),
        Beat(process="x", role="api", every=1, serving=(Serving("q", "d", 4),)),
    )
    assert [roster.living(name) for name in ("d", "e", "f")] == [{"w", "v"}, {"w"}, set()]
    roster.heard(worker("w", Serving("q", "e", 4)))
    assert [roster.living(name) for name in ("d", "e", "f")] == [{"v"}, {"w"}, set()]


@pytest.mark.parametrize(("but", "askers"), [("", 2), ("a", 1), ("b", 1), ("c", 2), ("d", 2)])
def test_how_many_others_have_requests_waiting(but: str, askers: int) -> None:
    waiting = {"a": {"q": 1}, "b": {"q": 200, "p": 1}, "c": {"p": 5}, "d": {"q": 0}}
    roster, _, _ = heard(*(Beat(process=name, role="api", every=1, waiting=row) for name, row in waiting.items()))
    assert roster.askers("q", but) == askers


def test_how_a_deployment_stands_is_what_all_its_processes_say() -> None:
    roster, clock, _ = heard(
        worker("w", Serving("q", "d", 4, in_flight=1, room=3, pace=2.0)),
        worker("v", Serving("q", "d", 6, in_flight=2, room=1, pace=1.0), Serving("q", "e", 1)),
    )
    standing = roster.standing("d")
    assert (standing.slots, standing.in_flight, standing.room, standing.pace) == (10, 3, 4, 3)
    assert roster.standing("f") is NOWHERE
    clock.now = 2.0
    roster.heard(worker("w", Serving("q", "d", 4, in_flight=4, pace=2.0)))
    assert (roster.standing("d").in_flight, roster.standing("d").at) == (6, 2.0)
    roster.heard(worker("v", Serving("q", "e", 1)))
    assert roster.standing("d").slots == 4
    roster.heard(worker("w"))
    assert roster.standing("d") is NOWHERE


def test_calls_count_until_the_next_beat_tells_of_them() -> None:
    beat = worker("w", Serving("q", "d", 10, in_flight=2))
    roster, clock, _ = heard(beat)
    assert (roster.standing("d").room_now(0.0), roster.standing("d").busy) == (8, 2)
    roster.begun("d", "m", "w")
    roster.begun("d", "m", "w")
    roster.over("d", "m", "w")
    assert (roster.standing("d").room_now(0.0), roster.standing("d").busy) == (7, 3)
    roster.begun("unknown", "m", "w")
    roster.over("unknown", "m", "w")
    clock.now = 1.0
    roster.heard(beat)
    assert (roster.standing("d").room_now(1.0), roster.standing("d").busy) == (8, 2)


def test_a_beat_of_one_process_says_nothing_of_the_calls_of_another() -> None:
    roster, _, _ = heard(worker("w", Serving("q", "d", 10)))
    for _ in range(8):
        roster.begun("d", "", "w")
    roster.heard(worker("x", Serving("q", "d", 10)))
    assert roster.standing("d").room_now(0.0) == 12


def test_what_is_on_its_way_counts_until_it_has_arrived() -> None:
    beat = worker("w", Serving("q", "d", 10))
    roster, _, _ = heard(beat)
    for _ in range(3):
        roster.handed("d", 1)
    assert roster.standing("d").room_now(0.0) == 7
    roster.heard(beat)
    assert roster.standing("d").room_now(0.0) == 7, "no beat tells of it"
    roster.handed("d", -1)
    assert (roster.standing("d").room_now(0.0), roster.standing("d").busy) == (8, 2)
    for _ in range(5):
        roster.handed("d", -1)
    assert roster.standing("d").room_now(0.0) == 10


def test_a_refusal_that_we_were_told_of_ourselves_shuts_at_once() -> None:
    roster, clock, _ = heard(worker("w", Serving("q", "d", 10, room=10, pace=2.0), Serving("q", "e", 10)))
    roster.refused("d", "", 4.0)
    assert [roster.standing("d").shut_now(0.0), roster.standing("d").room_now(0.0)] == [4, 0]
    assert roster.standing("e").room_now(0.0) == 10
    roster.heard(worker("w", Serving("q", "d", 10, room=10, pace=2.0)))
    clock.now = 3.0
    assert [roster.standing("d").shut_now(3.0), roster.standing("d").room_now(3.0)] == [1, 0], "a beat may be older"
    clock.now = 4.0
    assert [roster.standing("d").shut_now(4.0), roster.standing("d").room_now(4.0)] == [0, 10]


def test_a_shorter_refusal_does_not_open_what_a_longer_one_shut() -> None:
    roster, _, _ = heard(worker("w", Serving("q", "d", 10)))
    roster.refused("d", "", 60.0)
    roster.refused("d", "", 1.0)
    assert roster.standing("d").shut_now(0.0) == 60


def test_a_model_that_is_held_up_by_itself_stands_by_itself() -> None:
    roster, _, _ = heard(
        worker("w", Serving("q", "d", 10, room=10, pace=9.0), Serving("q", "d", 10, shut=4.0, model="m"))
    )
    assert (roster.standing("d", "m").shut_now(0.0), roster.standing("d").shut_now(0.0)) == (4.0, 0.0)
    assert roster.standing("d", "other") is roster.standing("d")
    assert roster.living("d") == {"w"}
    roster.heard(worker("w", Serving("q", "d", 10)))
    assert roster.standing("d", "m") is roster.standing("d")


def test_a_queue_is_served_while_any_of_its_deployments_is() -> None:
    roster, clock, _ = heard(worker("w", Serving("q", "d", 1), Serving("q", "e", 1)), worker("v", Serving("q", "d", 1)))
    roster.heard(worker("w", Serving("q", "e", 1)))
    roster.heard(worker("v"))
    assert (roster.serves("q"), roster.serves("p")) == (True, False)
    roster.heard(worker("w"))
    assert not roster.serves("q")
    clock.now = 10
    roster.sweep(deaf=False)
    assert not roster.serves("q")


PROCESSES = ["u", "v", "w"]
ROWS = st.lists(
    st.builds(
        Serving,
        st.sampled_from(["p", "q"]),
        st.sampled_from(["d", "e"]),
        st.integers(0, 9),
        model=st.sampled_from(["", "", "m"]),
    ),
    max_size=4,
    unique_by=lambda row: (row.deployment, row.model),
)


@given(st.lists(st.tuples(st.sampled_from(PROCESSES), ROWS, st.floats(0, 4), st.booleans()), max_size=25))
def test_it_never_knows_more_or_less_than_the_last_beats_of_the_living(
    beats: list[tuple[str, list[Serving], float, bool]],
) -> None:
    roster, clock, gone = heard()
    last: dict[str, tuple[float, list[Serving]]] = {}
    for process, rows, pause, deaf in beats:
        clock.now += pause
        roster.sweep(deaf=deaf)
        if deaf:
            last = {name: (clock.now, said) for name, (_, said) in last.items()}
        else:
            silent = [name for name, (at, _) in last.items() if clock.now - at > 3]
            assert sorted(gone) == sorted(silent)
            last = {name: known for name, known in last.items() if name not in silent}
            gone.clear()
        roster.heard(worker(process, *rows))
        last[process] = clock.now, rows
        said = {name: tuple(rows) for name, (_, rows) in last.items()}
        assert roster.serving() == said
        every = [(name, row) for name, rows in said.items() for row in rows]
        for queue in ("p", "q"):
            assert roster.serves(queue) == any(row.queue == queue for _, row in every)
        for deployment in ("d", "e"):
            own = [(name, row) for name, row in every if row.deployment == deployment and not row.model]
            assert roster.living(deployment) == {name for name, _ in own}
            assert roster.standing(deployment).slots == sum(row.slots for _, row in own)
            assert roster.standing(deployment).alive is bool(own)


def test_one_process_may_be_worker_and_api() -> None:
    roster, clock, _ = heard(worker("w", Serving("q", "d", 10)))
    for _ in range(4):
        roster.heard(Beat(process="w", role="api", every=1, waiting={"q": 1}))
        clock.now += 1
    assert roster.alive("w")
    assert roster.serving()["w"]
    assert roster.askers("q", but="x") == 1
    roster.sweep(deaf=False)
    assert not roster.alive("w"), "as an API it beats, as a worker it is silent"
