"""Whether a request can be answered in time, and how much may be under way to the workers ahead of their room."""

from collections.abc import Sequence
from typing import NamedTuple

from policy.standing import Standing

_AHEAD = 0.05  # seconds' worth of requests to have in the queue: the way there and the way of the word that they began
_EACH = 2  # requests for each further process that serves: the queue hands them out in turn, not to who can begin
_SURE = 0.97  # of the pace: limits are kept with a margin
_SLOW = 1.25  # times the slowest call lately: what an answer may take
_COMPANY = 0.5  # of the time in which the backlog shrinks enough: others come meanwhile
_LIKELY = 3.0  # times the usual latency: nearly all answers are there by then
_PART = 0.5  # of the time that is left: an answer is not expected to take more


class Flow(NamedTuple):
    """What one deployment can do: `pace` calls per second (0: not known to be limited) once `shut` seconds are over."""

    shut: float
    pace: float


class Outlook(NamedTuple):
    """What the deployments that may serve a request can do together; flows in the order in which they open."""

    flows: tuple[Flow, ...]
    room: float
    slowest: float
    processes: int = 1
    latency: float = 0.0  # usual, of the slower ones
    askers: int = 1

    @property
    def shut(self) -> float:
        """Seconds until the first of them opens."""
        return self.flows[0].shut if self.flows else 0.0

    @property
    def pace(self) -> float:
        """Calls per second of those that are open by then; 0: not known to be limited."""
        paces = [flow.pace for flow in self.flows if flow.shut <= self.shut]
        return 0.0 if 0 in paces else sum(paces)

    def wait(self, before: float) -> float:
        """Seconds until a request begins that has so many before it."""
        left = max(0.0, before + 1 - self.room)
        pace = begin = 0.0
        for flow in self.flows:
            done = pace * (flow.shut - begin)
            if pace and left <= done:
                break
            left -= done
            if not flow.pace:
                return flow.shut
            begin, pace = flow.shut, pace + flow.pace * _SURE
        return begin + left / pace if pace else begin


def outlook(standings: Sequence[Standing], askers: int, now: float) -> Outlook:
    """The outlook of one of `askers` processes that have requests waiting."""
    alive = [one for one in standings if one.alive]
    flows = (Flow(one.shut_now(now), one.pace / max(1, askers)) for one in alive)
    return Outlook(
        flows=tuple(sorted(flows)),
        room=sum(max(0.0, one.room_now(now, max(1, askers))) for one in alive),
        slowest=max((one.slowest for one in alive), default=0.0),
        processes=sum(one.processes for one in alive),
        latency=max((one.latency for one in alive), default=0.0),
        askers=max(1, askers),
    )


def window(ahead: Outlook) -> float:
    """How many requests may be in the queue and not begun: what has room and little more, for their order is fixed."""
    return max(ahead.room, 0.0) + (1 + _EACH * max(0, ahead.processes - 1)) / ahead.askers + ahead.pace * _AHEAD


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


def hopeless(left: float, patience: float, latency: float) -> bool:
    """Whether a request whose turn has come is too late for its answer, while others wait who are not.

    `left` of the `patience` that it came with, in seconds. Without this a line that was once late stays late, and its
    calls are made for nobody.
    """
    return left < min(latency * _LIKELY, patience * _PART)
