"""Whether a request can be answered in time, and how much may be under way to the workers ahead of their room."""

from collections.abc import Sequence
from typing import NamedTuple

from policy.standing import Standing

_AHEAD = 0.05  # seconds' worth of requests to have in the queue: the way there and the way of the word that they began
_LEAST_AHEAD = 2
_SURE = 0.97  # of the pace: limits are kept with a margin
_SLOW = 1.25  # times the slowest call lately: what an answer may take
_COMPANY = 0.25  # of the time in which the backlog shrinks enough: others come meanwhile
_PART = 0.5  # of the time that is left: an answer is not expected to take more


class Outlook(NamedTuple):
    """What the deployments that may serve a request can do together. `pace` 0: not known to be limited."""

    pace: float
    room: float
    slowest: float
    shut: float  # seconds until the first of them opens

    def wait(self, ahead: float) -> float:
        """Seconds until a request begins that has so many before it."""
        if not self.pace:
            return self.shut
        return self.shut + max(0.0, ahead + 1 - self.room) / (self.pace * _SURE)


def outlook(standings: Sequence[Standing], askers: int, now: float) -> Outlook:
    """The outlook of one of `askers` processes that have requests waiting."""
    alive = [one for one in standings if one.alive]
    pace = 0.0 if any(not one.pace for one in alive) else sum(one.pace for one in alive) / max(1, askers)
    return Outlook(
        pace=pace,
        room=sum(max(0.0, one.room_now(now)) for one in alive),
        slowest=max((one.slowest for one in alive), default=0.0),
        shut=min((one.shut_now(now) for one in alive), default=0.0),
    )


def window(ahead: Outlook) -> float:
    """How many requests may be in the queue and not begun: what has room and little more, for their order is fixed."""
    return max(ahead.room, 0.0) + _LEAST_AHEAD + ahead.pace * _AHEAD


def too_late(ahead: Outlook, before: float, left: float) -> float:
    """Seconds after which a request could be taken that has `before` others before it and `left` seconds; 0: now.

    The answer itself takes time too: as long as the slowest lately and a quarter, at most half of what is left.
    """
    wait = ahead.wait(before)
    late = wait + min(ahead.slowest * _SLOW, left * _PART) - left
    if late <= 0 or wait <= 0:
        return 0.0
    backlog = min(late, wait - ahead.shut)
    return late + backlog * _COMPANY if backlog > 0 else late
