"""Virtual time: one heap of what is to happen, and an event loop for each simulated process that runs on it."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, cast

EPOCH = 1.8e9  # seconds since the epoch at which every simulation begins


class Alarm:
    """A callback, and its loop. In place of `asyncio.TimerHandle`, because there are millions of them."""

    __slots__ = ("args", "callback", "loop")

    def __init__(self, loop: "Loop", callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.loop = loop
        self.callback = callback
        self.args = args

    def cancel(self) -> None:
        """It shall not happen."""
        self.callback, self.args = _nothing, ()


class Time:
    """What is to happen, in order. `now` is in seconds from 0."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Alarm]] = []
        self._ready: deque[Alarm] = deque()
        self._count = 0

    def wall(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self.now

    def soon(self, alarm: Alarm) -> None:
        """Now, after what is to happen now already."""
        self._ready.append(alarm)

    def at(self, when: float, alarm: Alarm) -> None:
        """At a time, after what is to happen then already."""
        self._count += 1
        heapq.heappush(self._due, (when, self._count, alarm))

    def run(self, until: float) -> None:
        """Let everything happen that is due up to then."""
        ready, due, running = self._ready, self._due, None
        try:
            while True:
                if ready:
                    alarm = ready.popleft()
                elif due and due[0][0] <= until:
                    when, _, alarm = heapq.heappop(due)
                    self.now = max(self.now, when)
                else:
                    break
                loop = alarm.loop
                if loop is not running:
                    running = loop
                    asyncio._set_running_loop(loop.itself)
                if loop.runs:
                    alarm.callback(*alarm.args)
                else:
                    loop.missed(alarm)
        finally:
            asyncio._set_running_loop(None)
        self.now = max(self.now, until)


class Loop:
    """The event loop of one process, which can be paused, and killed. `wrong` is what went wrong in its tasks.

    It has what tasks, futures, `asyncio.timeout` and `asyncio.sleep` need, and nothing of sockets and threads.
    """

    def __init__(self, time: Time) -> None:
        self.runs = True
        self.wrong: list[str] = []
        self.itself = cast(asyncio.AbstractEventLoop, self)
        self._time = time
        self._dead = False
        self._missed: list[Alarm] = []

    def time(self) -> float:
        """Seconds."""
        return self._time.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Alarm:
        """As asyncio's; contexts are not kept."""
        alarm = Alarm(self, callback, args)
        self._time.soon(alarm)
        return alarm

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Alarm:
        """As asyncio's."""
        alarm = Alarm(self, callback, args)
        self._time.at(when, alarm)
        return alarm

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Alarm:
        """As asyncio's."""
        alarm = Alarm(self, callback, args)
        self._time.at(self._time.now + delay, alarm)
        return alarm

    def create_future(self) -> "asyncio.Future[Any]":
        """As asyncio's."""
        return asyncio.Future(loop=self.itself)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[Any]":
        """As asyncio's."""
        return asyncio.Task(coro, loop=self.itself)

    def get_debug(self) -> bool:
        """As asyncio's."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep it for whoever judges the simulation; in a killed process nothing can go wrong."""
        if not self._dead:
            self.wrong.append(f"{context.get('message')}: {context.get('exception')!r}")

    @contextmanager
    def current(self) -> Iterator[None]:
        """Be the running loop, for what is built outside of a callback."""
        asyncio._set_running_loop(self.itself)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def pause(self) -> None:
        """As by SIGSTOP: nothing happens until `go_on`."""
        self.runs = False

    def go_on(self) -> None:
        """As by SIGCONT: all that was due meanwhile happens now."""
        self.runs = True
        for alarm in self._missed:
            self._time.soon(alarm)
        self._missed.clear()

    def kill(self) -> None:
        """As by SIGKILL: nothing happens any more."""
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
            for task in asyncio.all_tasks(self.itself):
                task.cancel()


def _nothing() -> None:
    """What a cancelled alarm does."""
