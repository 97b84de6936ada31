"""The ideal that fairness is measured against: a max-min fair scheduler that knows everything at once."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple


class Arrival(NamedTuple):
    """One request."""

    at: float
    key: str


class Wait(NamedTuple):
    """How long one waited. In seconds."""

    arrival: Arrival
    seconds: float


def max_min_fair(arrivals: Sequence[Arrival], rate: float) -> list[Wait]:
    """The waits when `rate` requests per second may begin, evenly, and keys that have some take turns.

    Turns are max-min fair for requests of equal cost: a key that asks for less than its share gets all of it, and the
    others have equal parts of the rest. Nobody is refused: what one key has too much of delays that key alone.
    """
    waits: list[Wait] = []
    lines: dict[str, deque[Arrival]] = {}
    turns: deque[str] = deque()
    now, n = 0.0, 0
    while n < len(arrivals) or turns:
        if not turns:
            now = max(now, arrivals[n].at)
        while n < len(arrivals) and arrivals[n].at <= now:
            arrival = arrivals[n]
            line = lines.setdefault(arrival.key, deque())
            if not line:
                turns.append(arrival.key)
            line.append(arrival)
            n += 1
        key = turns.popleft()
        first = lines[key].popleft()
        waits.append(Wait(first, now - first.at))
        if lines[key]:
            turns.append(key)
        now += 1 / rate
    return waits
