"""Events to every process over the fanout exchange, and the beat by which each says that it is alive."""

import asyncio
import contextlib
import math
from collections.abc import Callable

from broker.callbacks import tell
from broker.port import Address, Bus, Inbox, Message
from broker.topology import EVENTS
from schemas.envelope import Beat, Event, RollCall, pack, unpack_event


class Events:
    """One process's ear and voice on the events exchange."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._listeners: list[Callable[[Event], None]] = []
        self._inbox: Inbox | None = None
        self._since: float | None = None  # loop time from which on we have heard everything

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Have `listener` called with every event, our own included."""
        self._listeners.append(listener)

    def tell(self, event: Event) -> None:
        """Send to every process. An event is news, not a promise: it is lost when the bus is down."""
        self._bus.send(Address(EVENTS, ""), Message(pack(event)))

    async def open(self) -> None:
        """Start listening."""
        self._inbox = await self._bus.inbox(EVENTS, self._heard, self._deaf)
        self._since = asyncio.get_running_loop().time()

    def heard_for(self) -> float:
        """Seconds for which no event was missed; minus infinity while we may be missing some."""
        return -math.inf if self._since is None else asyncio.get_running_loop().time() - self._since

    async def close(self) -> None:
        """Stop listening."""
        if self._inbox is not None:
            await self._inbox.close()

    def _deaf(self) -> None:
        self._since = None

    def _heard(self, body: bytes, _correlation: str) -> None:
        if self._since is None:
            self._since = asyncio.get_running_loop().time()
        event = unpack_event(body)
        for listener in self._listeners:
            tell(listener, event)


class Pulse:
    """Beats for one process: at once when asked or when something changed, else every `last.every` seconds.

    `beat` makes the beat of now; `last` the one that says that we serve nothing any more.
    """

    def __init__(self, events: Events, beat: Callable[[], Beat], last: Beat) -> None:
        self._events = events
        self._make = beat
        self._last = last
        self._task: asyncio.Task[None] | None = None
        events.listen(self._answer)

    def start(self) -> None:
        """Begin to beat."""
        self._task = asyncio.create_task(self._run(), name="pulse")

    async def stop(self) -> None:
        """The last beat, which says that we serve nothing any more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            self._events.tell(self._last)

    def beat(self) -> None:
        """Beat now."""
        self._events.tell(self._make())

    def _answer(self, event: Event) -> None:
        if isinstance(event, RollCall) and self._task is not None:
            self.beat()

    async def _run(self) -> None:
        while True:
            self.beat()
            await asyncio.sleep(self._last.every)
