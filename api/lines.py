"""Requests that wait in this process: in fair order, until there is room for them or little ahead of them in the queue.

RabbitMQ keeps the order in which it is given requests. So only as many are given to it as can begin at once and a few
more; the rest waits here, where the next one can be any key's (docs/adr/0012).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from api.pending import Pending
from api.planner import Planner
from broker.topology import handoff_queue, requests_queue
from policy import admission
from policy.admission import Outlook
from policy.fairness import FairQueue
from policy.plan import Candidate, choose, soonest
from schemas.config import Deployment
from schemas.envelope import Class

_SMOOTHING = 0.02
_OTHERS = 1.15  # times as long between two turns of a key as between two calls: it is not alone
_UNSURE = 1.1  # times the wait that a key's own turns tell: who else will come is chance
_LOOK = 0.05  # seconds until the next look at a line that could not move
_SHUT = 0.25  # seconds: while nothing can begin for longer, nothing is sent
_OVERDUE = 0.25  # seconds after which what was handed to one deployment may go to another
_MOST_HANDS = 6
_HEAVIEST = 16.0
_MANY_BYTES = 65536  # of a body count as one more request in the turns


class Publish(Protocol):
    """Sends a request to a queue."""

    def __call__(self, pending: Pending, queue: str, deployment: str, /) -> None:
        """`deployment` is the one that it is handed to, or empty."""


class Turn(NamedTuple):
    """When a key's request left the line last, and the seconds between two of them, smoothed; 0: not known."""

    at: float
    interval: float = 0.0


@dataclass(slots=True, eq=False)
class Line:
    """The requests for one set of deployments. `out` counts those in the queue that have not begun."""

    key: tuple[str, ...]
    queue: str  # the group's, of their class
    model: str
    deployments: tuple[Deployment, ...]
    whole: bool  # they are the whole group: its queue serves them
    prefers: bool
    waiting: FairQueue[Pending] = field(default_factory=FairQueue)
    out: int = 0
    turns: dict[str, Turn] = field(default_factory=dict)  # of the keys that have requests waiting
    timer: asyncio.TimerHandle | None = None

    @property
    def single(self) -> bool:
        """Whether one deployment is the whole group."""
        return self.whole and len(self.deployments) == 1


class Lines:
    """Every line of one API process. Needs a running event loop."""

    def __init__(self, planner: Planner, publish: Publish, ready: Callable[[], bool], bound: int) -> None:
        self._planner = planner
        self._roster = planner.roster
        self._publish = publish
        self._bound = bound  # bytes of what may wait in one line
        self._ready = ready  # whether anything can be published now
        self.late: Callable[[Pending, float], bool] = lambda _pending, _latency: False  # tells it so, if it is
        self._lines: dict[tuple[str, ...], Line] = {}
        self._handed: dict[Pending, float] = {}  # to when it was
        self.others: Callable[[str], int] = lambda _queue: 0  # other processes that have requests waiting for a queue

    def outlook(self, pending: Pending) -> tuple[Outlook, float]:
        """What its deployments can do, and how many requests would be before it if it joined now."""
        line, key = self._find(pending), pending.request.caller.payer
        before = line.out + line.waiting.ahead(key, _weight(pending))
        ahead = self._look(line, self._roster.clock())[1]
        turn = line.turns.get(key)
        slower = 0.0 if turn is None else turn.interval * ahead.pace
        if slower > _OTHERS:  # others that come meanwhile go before a key that has much here
            before = max(before, line.waiting.waiting(key) * slower * _UNSURE)
        return ahead, before

    def full(self, pending: Pending) -> bool:
        """Whether so much waits already that it has no place here."""
        return not self._find(pending).waiting.takes(pending.request.caller.payer, len(pending.body), self._bound)

    def join(self, pending: Pending, *, first: bool = False) -> None:
        """Send it now, or have it wait for its turn; `first`: it has waited before."""
        line = self._find(pending)
        self._lines[line.key] = pending.line = line
        pending.ahead = line.out + len(line.waiting)
        if first:
            line.waiting.put_first(pending)
        else:
            line.waiting.put(pending.request.caller.payer, pending, _weight(pending), len(pending.body))
        self._move(line)

    def left(self, pending: Pending) -> None:
        """It has begun, or nobody wants it any more: whoever is next may take its place."""
        line = pending.line
        if line is None:
            return
        pending.line = None
        if pending.out:
            pending.out = False
            line.out -= 1
            if self._handed.pop(pending, None) is not None:
                self._roster.handed(pending.handed, -1)
        else:
            line.waiting.remove(pending.request.caller.payer, pending)
        if line.waiting:
            self._move(line)
        elif not line.out:
            self._forget(line)

    def overdue(self) -> list[Pending]:
        """What was handed to a deployment that did not take it, as far as others have room for it now.

        Each time it is handed on it is left alone for longer. Batch requests wait for more than room.
        """
        now, room, found = self._roster.clock(), dict[str, float](), []
        for pending, at in self._handed.items():
            line = pending.line
            if line is None or now - at < _OVERDUE * 2**pending.hands or pending.request.klass is Class.BATCH:
                continue
            for one in self._planner.candidates(line.deployments, line.model):
                name = one.deployment.id
                room.setdefault(name, one.standing.room_now(now))
                if name != pending.handed and room[name] >= 1:
                    room[name] -= 1
                    pending.hands = min(pending.hands + 1, _MOST_HANDS)
                    found.append(pending)
                    break
        return found

    def waiting(self) -> dict[str, int]:
        """How many wait here, by queue."""
        found: dict[str, int] = {}
        for line in self._lines.values():
            if line.waiting:
                found[line.queue] = found.get(line.queue, 0) + len(line.waiting)
        return found

    def overview(self) -> list[dict[str, object]]:
        """Each line that is not empty: how many wait here, how many in the queue, and how long a new one would wait."""
        now = self._roster.clock()
        return [
            {
                "queue": line.queue,
                "waiting": len(line.waiting),
                "queued": line.out,
                "wait": round(self._look(line, now)[1].wait(line.out + len(line.waiting)), 3),
            }
            for line in self._lines.values()
            if line.waiting or line.out
        ]

    def news(self) -> None:
        """The beats may have told of room."""
        for line in list(self._lines.values()):
            if line.waiting:
                self._move(line)

    def close(self) -> None:
        """No further looks."""
        for line in self._lines.values():
            if line.timer is not None:
                line.timer.cancel()

    def _move(self, line: Line) -> None:
        """Send what may be sent."""
        while line.waiting and self._ready():
            now = self._roster.clock()
            candidates, ahead = self._look(line, now)
            if ahead.shut > _SHUT:
                break
            chosen = self._choose(line, candidates, now)
            if chosen is None and (line.out >= admission.window(ahead) or not self._may_queue(line, candidates)):
                break
            pending = line.waiting.next()
            if pending is None:
                break
            self._note_turn(line, pending, now)
            if line.waiting and self.late(pending, ahead.latency):
                continue
            if chosen is None and not line.whole:
                chosen = soonest(candidates, now)
            self._send(line, pending, chosen, now)
        if line.waiting and line.timer is None:
            line.timer = asyncio.get_running_loop().call_later(_LOOK, self._again, line)

    def _again(self, line: Line) -> None:
        line.timer = None
        if line.waiting:
            self._move(line)

    def _note_turn(self, line: Line, pending: Pending, now: float) -> None:
        key = pending.request.caller.payer
        last = line.turns.pop(key, None)
        if not line.waiting.waiting(key):
            return
        passed = 0.0 if last is None else now - last.at
        interval = (
            passed if last is None or not last.interval else last.interval + _SMOOTHING * (passed - last.interval)
        )
        line.turns[key] = Turn(now, interval)

    def _may_queue(self, line: Line, candidates: list[Candidate]) -> bool:
        """Others of the group must not get what is for these alone."""
        return line.whole or any(one.standing.alive for one in candidates)

    def _choose(self, line: Line, candidates: list[Candidate], now: float) -> Deployment | None:
        """Who is asked first; None leaves it to the queue."""
        if line.single:
            return None
        if line.whole and not line.prefers and all(one.standing.room_now(now) >= 1 for one in candidates):
            return None
        return choose(candidates, self._planner.preference(line.model), now)

    def _send(self, line: Line, pending: Pending, deployment: Deployment | None, now: float) -> None:
        line.out += 1
        klass = pending.request.klass
        if deployment is None or line.single:
            self._publish(pending, requests_queue(pending.request.group, klass), "")
            return
        pending.handed = deployment.id
        self._handed[pending] = now
        self._roster.handed(deployment.id, 1)
        self._publish(pending, handoff_queue(deployment.id, klass), deployment.id)

    def _look(self, line: Line, now: float) -> tuple[list[Candidate], Outlook]:
        candidates = self._planner.candidates(line.deployments, line.model)
        standings = [one.standing for one in candidates]
        return candidates, admission.outlook(standings, 1 + self.others(line.queue), now)

    def _find(self, pending: Pending) -> Line:
        """Its line, or a new one, which is kept only once something joins it."""
        request, course = pending.request, pending.course
        queue = requests_queue(request.group, request.klass)
        may = course.untried()
        whole = len(may) == len(self._planner.catalog.groups.get(request.group, ()))
        key = (queue, request.model, *(() if whole else (d.id for d in may)))
        line = self._lines.get(key)
        return line or Line(key, queue, request.model, may, whole, self._planner.prefers(may))

    def _forget(self, line: Line) -> None:
        if line.timer is not None:
            line.timer.cancel()
        if self._lines.get(line.key) is line:
            del self._lines[line.key]


def _weight(pending: Pending) -> float:
    """What a request counts in the turns: a large one counts more, up to a bound."""
    return min(1.0 + len(pending.body) / _MANY_BYTES, _HEAVIEST)
