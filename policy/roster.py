"""Who is alive, what they serve and how it stands there, as their beats tell it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from policy.standing import NOWHERE, Row, Standing, summed
from schemas.envelope import Beat, Event, Serving

_MISSED = 3  # beats that may be missing before a process counts as gone
Key = tuple[str, str]
"""A deployment's id, and a model of a wildcard's deployment or an empty string."""


@dataclass(slots=True)
class _Known:
    serving: tuple[Serving, ...]
    waiting: dict[str, int]
    patience: float
    seen: float


class Roster:
    """The living processes. `on_gone` is told of each worker that leaves or falls silent; `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.on_gone: Callable[[str], None] = lambda _process: None
        self._known: dict[tuple[str, str], _Known] = {}  # by role and process: one process may have several roles
        self._queues: dict[str, int] = {}
        self._rows: dict[Key, dict[str, Row]] = {}  # to the process's row
        self._standings: dict[Key, Standing] = {}
        self._handed: dict[str, int] = {}  # by deployment
        self._refused: dict[Key, float] = {}  # to when it may be called again, by what we were told ourselves

    def heard(self, event: Event) -> None:
        """Take note of a beat; other events are ignored.

        One that leaves serves nothing, and is gone when it has been silent for a while: its last frames may still come.
        """
        if not isinstance(event, Beat):
            return
        now, known = self.clock(), self._known.get((event.role, event.process))
        before = known.serving if known is not None else ()
        self._known[event.role, event.process] = _Known(event.serving, event.waiting, event.every * _MISSED, now)
        if event.role == "worker":
            self._replace(event.process, before, event.serving)

    def serves(self, queue: str) -> bool:
        """True if a living process consumes this queue."""
        return queue in self._queues

    def alive(self, process: str) -> bool:
        """True if this worker process beats."""
        return ("worker", process) in self._known

    def serving(self) -> dict[str, tuple[Serving, ...]]:
        """What each living worker process said last."""
        return {process: known.serving for (role, process), known in self._known.items() if role == "worker"}

    def living(self, deployment: str) -> set[str]:
        """The processes that could serve a deployment."""
        return set(self._rows.get((deployment, ""), ()))

    def askers(self, queue: str, but: str = "") -> int:
        """How many processes other than `but` have requests waiting for this queue."""
        return sum(1 for (_, name), known in self._known.items() if name != but and known.waiting.get(queue))

    def standing(self, deployment: str, model: str = "") -> Standing:
        """How a deployment stands, and a model of it where that is held up by itself; not alive: nobody serves it."""
        key = (deployment, model)
        if model and key not in self._rows:
            key = (deployment, "")
        found = self._standings.get(key)
        if found is None:
            rows = self._rows.get(key)
            if not rows:
                return NOWHERE
            found = self._standings[key] = summed(rows.values(), self.clock())
            found.handed = self._handed.get(deployment, 0)
        return self._shut(found, (deployment, model)) if self._refused else found

    def refused(self, deployment: str, model: str, seconds: float) -> None:
        """A provider refused a call there for so long: known here before all its workers say so."""
        key = (deployment, model)
        self._refused[key] = max(self._refused.get(key, 0.0), self.clock() + seconds)

    def _shut(self, standing: Standing, key: Key) -> Standing:
        until, now = self._refused.get(key, 0.0), self.clock()
        if until > now:
            return replace(standing, at=now, room=0.0, shut=max(standing.shut_now(now), until - now))
        self._refused.pop(key, None)
        return standing

    def handed(self, deployment: str, change: int) -> None:
        """One more request, or one less, is on its way to a deployment."""
        self._handed[deployment] = max(0, self._handed.get(deployment, 0) + change)
        for (owner, _), standing in self._standings.items():
            if owner == deployment:
                standing.handed = self._handed[deployment]

    def begun(self, deployment: str, model: str, process: str) -> None:
        """A call has begun there, in that process."""
        for key in {(deployment, ""), (deployment, model)}:
            row = self._rows.get(key, {}).get(process)
            if row is not None:
                row.begun += 1
            if key in self._standings:
                self._standings[key].begun += 1

    def over(self, deployment: str, model: str, process: str) -> None:
        """A call there is over."""
        for key in {(deployment, ""), (deployment, model)}:
            row = self._rows.get(key, {}).get(process)
            if row is not None:
                row.over += 1
            if key in self._standings:
                self._standings[key].over += 1

    def sweep(self, *, deaf: bool) -> None:
        """Forget who fell silent. While we are `deaf` ourselves (no connection) nobody else is to blame."""
        now = self.clock()
        if deaf:
            for known in self._known.values():
                known.seen = now
            return
        for (role, process), known in list(self._known.items()):
            if now - known.seen > known.patience:
                del self._known[role, process]
                if role == "worker":
                    self._replace(process, known.serving, ())
                    self.on_gone(process)

    def _replace(self, process: str, before: tuple[Serving, ...], after: tuple[Serving, ...]) -> None:
        for row in before:
            key = (row.deployment, row.model)
            rows = self._rows.get(key, {})
            rows.pop(process, None)
            if not rows:
                self._rows.pop(key, None)
            self._standings.pop(key, None)
            self._queues[row.queue] = self._queues.get(row.queue, 0) - 1
            if self._queues[row.queue] <= 0:
                del self._queues[row.queue]
        for row in after:
            key = (row.deployment, row.model)
            self._rows.setdefault(key, {})[process] = Row(row, self.clock())
            self._standings.pop(key, None)
            self._queues[row.queue] = self._queues.get(row.queue, 0) + 1
