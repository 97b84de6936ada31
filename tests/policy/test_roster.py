"""Who is alive, and how deployments stand, from beats alone."""

from policy.roster import Roster
from schemas.envelope import Beat, Serving


def test_the_roster_forgets_who_falls_silent_but_not_while_we_are_deaf() -> None:
    now, gone = [0.0], []
    roster = Roster(lambda: now[0])
    roster.on_gone = gone.append
    roster.heard(Beat(process="w", role="worker", every=1, serving=(Serving("q", "d", 4),)))
    roster.heard(Beat(process="x", role="accounting", every=1))
    assert (roster.serves("q"), roster.alive("w"), roster.alive("x")) == (True, True, False)
    now[0] = 10
    roster.sweep(deaf=True)
    assert roster.alive("w")
    now[0] = 12
    roster.sweep(deaf=False)
    assert roster.alive("w")
    now[0] = 14
    roster.sweep(deaf=False)
    assert (roster.serves("q"), roster.alive("w"), gone) == (False, False, ["w"])


def test_one_that_leaves_serves_nothing_and_is_gone_later() -> None:
    now, gone = [0.0], []
    roster = Roster(lambda: now[0])
    roster.on_gone = gone.append
    roster.heard(Beat(process="w", role="worker", every=1, serving=(Serving("q", "d", 4),)))
    roster.heard(Beat(process="w", role="worker", every=1))
    assert (roster.serves("q"), gone) == (False, [])
    now[0] = 5
    roster.sweep(deaf=False)
    assert gone == ["w"]
