"""One connection to RabbitMQ that comes back: reconnecting, and whatever lives on its channels with it."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

from broker.amqp.channel import Channel, Closed
from broker.amqp.connection import Connection

_LOG = logging.getLogger("penstock.bus")
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 3.0  # seconds, before jitter


class Session(Protocol):
    """What lives on one channel of a link: a publisher, a consumer, an inbox."""

    vital: bool
    """Whether the bus is in trouble without it."""

    async def attach(self, connection: Connection) -> Channel:
        """Set up a channel. Raises Closed."""

    def detached(self, reason: Closed) -> None:
        """The channel, or the attempt to set it up, is lost."""


class Backoff:
    """Waits that double up to a bound, each shortened at random so that clients do not come back all at once."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._next = _FIRST_WAIT

    async def wait(self) -> None:
        """Sleep, longer each time."""
        wait = self._next * self._uniform(0.5, 1.0)
        self._next = min(self._next * 2, _LONGEST_WAIT)
        await asyncio.sleep(wait)


class Link:
    """Keeps a connection, and the sessions on it. `trouble` says why it cannot be used now, or is None."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Connection]],
        repair: Callable[[Closed], Awaitable[None]],
        on_change: Callable[[], None],
    ) -> None:
        self._dial = dial
        self._repair = repair  # before a session is set up again that RabbitMQ refused
        self._on_change = on_change
        self._connection: Connection | None = None
        self._sessions: dict[Session, str | None] = {}  # to why it is not attached, None if it is
        self._blocked: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost = asyncio.Event()
        self._closing = False

    @property
    def trouble(self) -> str | None:
        """Why this link cannot be used now."""
        connection = self._connection
        if connection is None or connection.closed is not None:
            return "not connected" if connection is None else f"not connected: {connection.closed}"
        if self._blocked is not None:
            return f"blocked: {self._blocked}"
        return next((why for session, why in self._sessions.items() if session.vital and why is not None), None)

    async def open(self) -> None:
        """Connect for the first time. Raises Closed."""
        await self._connect(first=True)
        self.spawn(self._keep())

    async def close(self, within: float) -> None:
        """Disconnect for good, in at most `within` seconds."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close(within)

    async def flushed(self) -> None:
        """Return when what was written has mostly left."""
        if self._connection is not None:
            await self._connection.flushed()

    async def add(self, session: Session) -> None:
        """Attach a session now if there is a connection, and with each later one.

        Raises Closed when RabbitMQ refuses; when the connection is lost meanwhile, the next one shall do.
        """
        if self._closing:
            raise Closed("closed")
        connection = self._connection
        self._sessions[session] = None  # what was never there is not missed
        if connection is None or connection.closed is not None:
            return
        try:
            await self._attach(session, connection)
        except Closed:
            if connection.closed is None:
                self.remove(session)
                raise

    def remove(self, session: Session) -> None:
        """Attach it no more; the channel that it has stays until it closes it."""
        self._sessions.pop(session, None)
        self._on_change()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run until done, or until the link is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("a task of the bus failed", exc_info=error)

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            backoff = Backoff()
            while True:
                await backoff.wait()
                try:
                    await self._connect(first=False)
                    break
                except Closed as error:
                    _LOG.warning("no connection to RabbitMQ: %s", error)
            _LOG.info("connected to RabbitMQ again")

    async def _connect(self, first: bool) -> None:
        connection = await self._dial()
        self._lost.clear()
        self._sessions = dict.fromkeys(self._sessions, "not attached yet")
        self._blocked = None
        self._connection = connection
        connection.on_closed = self._on_closed
        connection.on_blocked = self._on_blocked
        if connection.closed is not None:
            raise connection.closed
        for session in list(self._sessions):
            if session not in self._sessions:  # removed while an earlier one was attached
                continue
            try:
                await self._attach(session, connection)
            except Closed as error:
                if connection.closed is not None or first:
                    raise
                self.spawn(self._restore(session, connection, error))
        self._on_change()

    async def _attach(self, session: Session, connection: Connection) -> None:
        try:
            channel = await session.attach(connection)
            if channel.closed is not None:
                raise channel.closed
        except Closed as error:
            self._detached(session, error)
            raise

        def lost(reason: Closed) -> None:
            self._detached(session, reason)
            if connection.closed is None and session in self._sessions:
                _LOG.warning("RabbitMQ closed a channel: %s", reason)
                self.spawn(self._restore(session, connection, reason))

        channel.on_closed = lost
        if session in self._sessions:
            self._sessions[session] = None
            self._on_change()

    def _detached(self, session: Session, reason: Closed) -> None:
        if session in self._sessions:
            self._sessions[session] = str(reason)
            self._on_change()
        session.detached(reason)

    async def _restore(self, session: Session, connection: Connection, reason: Closed) -> None:
        backoff = Backoff()
        await self._repair(reason)
        while session in self._sessions and connection.closed is None:
            try:
                await self._attach(session, connection)
                return
            except Closed as error:
                await backoff.wait()
                await self._repair(error)

    def _on_closed(self, reason: Closed) -> None:
        if not self._closing:
            _LOG.warning("connection to RabbitMQ lost: %s", reason)
        self._lost.set()
        self._on_change()

    def _on_blocked(self, reason: str | None) -> None:
        self._blocked = reason
        self._on_change()
