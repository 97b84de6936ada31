"""Virtual time: one heap of what is to happen, and an event loop for each simulated process that runs on it."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

EPOCH = 1.8e9  # seconds since the epoch at which every simulation begins


class Alarm(asyncio.TimerHandle):
    """A callback at a time. Not `asyncio`'s own machinery: what runs here is counted in millions."""

    __slots__ = ()

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...], loop: "Loop") -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._loop = loop
        self._cancelled = False
        self._scheduled = False

    def cancel(self) -> None:
        """It shall not happen."""
        self._cancelled = True
        self._callback, self._args = _nothing, ()

    def run(self) -> None:
        """It happens."""
        self._callback(*self._args)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class Time:
    """What is to happen, in order. `now` is in seconds from 0."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Loop, Alarm]] = []
        self._ready: deque[tuple[Loop, Alarm]] = deque()
        self._count = 0

    def wall(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self.now

    def soon(self, loop: "Loop", alarm: Alarm) -> None:
        """Now, after what is to happen now already."""
        self._ready.append((loop, alarm))

    def at(self, when: float, loop: "Loop", alarm: Alarm) -> None:
        """At a time, after what is to happen then already."""
        self._count += 1
        heapq.heappush(self._due, (when, self._count, loop, alarm))

    def run(self, until: float) -> None:
        """Let everything happen that is due up to then."""
        ready, due = self._ready, self._due
        running: Loop | None = None
        try:
            while True:
                if ready:
                    loop, alarm = ready.popleft()
                elif due and due[0][0] <= until:
                    when, _, loop, alarm = heapq.heappop(due)
                    self.now = max(self.now, when)
                else:
                    break
                if loop is not running:
                    running = loop
                    asyncio._set_running_loop(loop)
                if loop.runs:
                    alarm.run()
                else:
                    loop.missed(alarm)
        finally:
            asyncio._set_running_loop(None)
        self.now = max(self.now, until)


class Loop(asyncio.AbstractEventLoop):
    """The event loop of one process, which can be stopped, continued and killed. What goes wrong in it is kept."""

    def __init__(self, time: Time) -> None:
        self.runs = True
        self.wrong: list[str] = []
        self._time = time
        self._dead = False
        self._missed: list[Alarm] = []

    def time(self) -> float:
        return self._time.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Alarm:
        alarm = Alarm(self._time.now, callback, args, self)
        self._time.soon(self, alarm)
        return alarm

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Alarm:
        alarm = Alarm(when, callback, args, self)
        self._time.at(when, self, alarm)
        return alarm

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Alarm:
        return self.call_at(self._time.now + delay, callback, *args)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[Any]":
        return asyncio.Task(coro, loop=self)

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._dead:
            self.wrong.append(f"{context.get('message')}: {context.get('exception')!r}")

    @contextmanager
    def current(self) -> Iterator[None]:
        """Be the running loop, for what is built outside of a callback."""
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def stop(self) -> None:
        """As by SIGSTOP: nothing happens until `go_on`."""
        self.runs = False

    def go_on(self) -> None:
        """As by SIGCONT: all that was due meanwhile happens now."""
        self.runs = True
        for alarm in self._missed:
            self._time.soon(self, alarm)
        self._missed.clear()

    def kill(self) -> None:
        """Nothing happens in this process any more."""
        self.runs, self._dead = False, True
        self._missed.clear()

    def missed(self, alarm: Alarm) -> None:
        """It was due, and the process does not run."""
        if not self._dead:
            self._missed.append(alarm)

    def cancel_all(self) -> None:
        """End what still runs, in a killed process too, so that nothing is left when the simulation is over."""
        self.runs = True
        with self.current():
            for task in asyncio.all_tasks(self):
                task.cancel()


def _nothing() -> None:
    """What a cancelled alarm does."""
