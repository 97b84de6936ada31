"""Who is next among many keys: deficit round robin, so that no key's backlog delays another's few requests.

M. Shreedhar and G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin", SIGCOMM 1995.
"""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")
_QUANTUM = 1.0
_MANY = 64  # keys: beyond, the estimate of who goes first is a bound


class _Flow(Generic[T]):
    """One key's items in order, with their cost and size."""

    __slots__ = ("cost", "deficit", "items", "key", "size", "visited")

    def __init__(self, key: str) -> None:
        self.key = key
        self.items: dict[T, tuple[float, int]] = {}
        self.cost = 0.0
        self.size = 0
        self.deficit = 0.0
        self.visited = False  # it has its quantum of this round


class FairQueue(Generic[T]):
    """Items of many keys. An item must be hashable, and be in here once."""

    def __init__(self) -> None:
        self._flows: dict[str, _Flow[T]] = {}
        self._turns: deque[_Flow[T]] = deque()
        self._first: dict[T, None] = {}
        self._count = 0
        self._size = 0

    def __len__(self) -> int:
        return self._count + len(self._first)

    def waiting(self, key: str) -> int:
        """How many items of a key are here."""
        flow = self._flows.get(key)
        return len(flow.items) if flow is not None else 0

    def takes(self, key: str, size: int, bound: int) -> bool:
        """Whether one of this size has a place where all may have `bound`: a key may have half of what is free.

        So there is always a place for a key that has little here, however much another has.
        """
        flow = self._flows.get(key)
        own = flow.size if flow is not None else 0
        return own + size <= bound - self._size

    def put(self, key: str, item: T, cost: float = 1.0, size: int = 0) -> None:
        """At the end of its key's line."""
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(key)
            self._turns.append(flow)
        flow.items[item] = (cost, size)
        flow.cost += cost
        flow.size += size
        self._count += 1
        self._size += size

    def put_first(self, item: T) -> None:
        """Before everything else, behind others that were put first: it has waited for its turn before."""
        self._first[item] = None

    def next(self) -> T | None:
        """The next item, which leaves the queue."""
        if self._first:
            item = next(iter(self._first))
            del self._first[item]
            return item
        while self._turns:
            flow = self._turns[0]
            if not flow.visited:
                flow.deficit += _QUANTUM
                flow.visited = True
            item, (cost, _) = next(iter(flow.items.items()))
            if flow.deficit >= cost:
                flow.deficit -= cost
                self._take(flow, item)
                return item
            flow.visited = False
            self._turns.rotate(-1)
        return None

    def remove(self, key: str, item: T) -> bool:
        """It is wanted no more; False if it is not here."""
        if item in self._first:
            del self._first[item]
            return True
        flow = self._flows.get(key)
        if flow is None or item not in flow.items:
            return False
        self._take(flow, item)
        return True

    def ahead(self, key: str, cost: float = 1.0) -> float:
        """How many items leave before one that `key` would put now, as far as is known."""
        flow = self._flows.get(key)
        own = len(flow.items) if flow is not None else 0
        rounds = (flow.cost if flow is not None else 0.0) + cost
        if len(self._flows) > _MANY:
            return len(self._first) + min(self._count, own + rounds * len(self._flows))
        return (
            len(self._first)
            + own
            + sum(len(o.items) * min(1.0, rounds / o.cost) for o in self._turns if o is not flow and o.cost)
        )

    def _take(self, flow: _Flow[T], item: T) -> None:
        cost, size = flow.items.pop(item)
        flow.cost -= cost
        flow.size -= size
        self._count -= 1
        self._size -= size
        if not flow.items:
            del self._flows[flow.key]
            self._turns.remove(flow)
