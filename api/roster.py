"""Who is alive and what they serve, as their beats tell it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from schemas.envelope import Beat, Event, Serving

_MISSED = 3  # beats that may be missing before a process counts as gone


@dataclass(slots=True)
class _Known:
    serving: tuple[Serving, ...]
    patience: float
    seen: float


class Roster:
    """The living worker processes. `on_gone` is told of each that leaves or falls silent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._served: dict[str, int] = {}
        self.on_gone: Callable[[str], None] = lambda _process: None

    def heard(self, event: Event) -> None:
        """Take note of a beat; other events are ignored.

        One that leaves serves nothing, and is gone when it has been silent for a while: its last frames may still come.
        """
        if not isinstance(event, Beat) or event.role != "worker":
            return
        known = self._known.get(event.process)
        if known is not None and known.serving == event.serving:
            known.seen = self._clock()
            return
        self._known[event.process] = _Known(event.serving, event.every * _MISSED, self._clock())
        self._count()

    def serves(self, queue: str) -> bool:
        """True if a living process consumes this queue."""
        return queue in self._served

    def alive(self, process: str) -> bool:
        """True if this process beats."""
        return process in self._known

    def serving(self) -> dict[str, tuple[Serving, ...]]:
        """What each living process said last."""
        return {process: known.serving for process, known in self._known.items()}

    def sweep(self, *, deaf: bool) -> None:
        """Forget who fell silent. While we are `deaf` ourselves (no connection) nobody else is to blame."""
        now = self._clock()
        if deaf:
            for known in self._known.values():
                known.seen = now
            return
        for process, known in list(self._known.items()):
            if now - known.seen > known.patience:
                self._lose(process)

    def _lose(self, process: str) -> None:
        if self._known.pop(process, None) is not None:
            self._count()
            self.on_gone(process)

    def _count(self) -> None:
        self._served = {}
        for known in self._known.values():
            for serving in known.serving:
                self._served[serving.queue] = self._served.get(serving.queue, 0) + serving.slots
