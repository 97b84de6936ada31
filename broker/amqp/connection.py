"""One AMQP connection: handshake, heartbeats, writes gathered per turn of the event loop, frames to their channels."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from pamqp import commands
from pamqp.base import Frame
from pamqp.common import FieldValue

from broker.amqp import wire
from broker.amqp.channel import Channel, Closed
from broker.amqp.endpoint import Endpoint
from broker.callbacks import tell

_LOG = logging.getLogger("penstock.bus")
_CAPABILITIES: dict[str, FieldValue] = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


@dataclass(frozen=True, slots=True)
class Options:
    """How a connection is made. Times in seconds; `name` is what RabbitMQ shows for it."""

    name: str
    heartbeat: int = 10
    timeout: float = 10.0


class Connection(asyncio.Protocol):
    """Made by `connect`. `on_blocked` gets RabbitMQ's reason, or None when it is over; `on_closed` is told once."""

    def __init__(self, endpoint: Endpoint, options: Options) -> None:
        self.loop = asyncio.get_running_loop()
        self.frame_max = wire.DEFAULT_FRAME_MAX
        self.out: list[bytes | memoryview] = []  # what is written at the end of this turn of the event loop
        self.closed: Closed | None = None
        self.on_blocked: Callable[[str | None], None] | None = None
        self.on_closed: Callable[[Closed], None] | None = None
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self._endpoint = endpoint
        self._options = options
        self._decoder = wire.Decoder()
        self._transport: asyncio.Transport | None = None
        self._channels: dict[int, Channel] = {}
        self._channel_max = 2047
        self._last_channel = 0
        self._woken = False
        self._drained = asyncio.Event()
        self._drained.set()
        self._gone = asyncio.Event()
        self._pulse: asyncio.TimerHandle | None = None
        self._silent = 0
        self._idle = False

    # What its owner does

    async def channel(self) -> Channel:
        """Open a channel. Raises Closed, also when as many are open as RabbitMQ allows."""
        if len(self._channels) >= self._channel_max:
            raise Closed(f"all {self._channel_max} channels of the connection are in use")
        number = self._last_channel % self._channel_max + 1
        while number in self._channels:
            number = number % self._channel_max + 1
        self._last_channel = number
        channel = self._channels[number] = Channel(self, number)
        if self.closed is not None:
            channel.lose(self.closed)
        await channel.call(commands.Channel.Open())
        return channel

    def forget(self, number: int) -> None:
        """The channel's number is free again."""
        self._channels.pop(number, None)

    def write(self, data: bytes) -> None:
        """Send at the end of this turn of the event loop."""
        self.out.append(data)
        self.wake()

    def wake(self) -> None:
        """Something was appended to `out`."""
        if not self._woken:
            self._woken = True
            self.loop.call_soon(self._flush)

    async def flushed(self) -> None:
        """Return when the transport has taken what was written, or is gone."""
        if self._woken:
            await asyncio.sleep(0)
        await self._drained.wait()

    async def close(self, within: float) -> None:
        """Say goodbye, flushing first, for at most `within` seconds."""
        if self.closed is None:
            goodbye = commands.Connection.Close(reply_code=200, reply_text="", class_id=0, method_id=0)
            self.write(wire.method(goodbye, 0))
            try:
                async with asyncio.timeout(within):
                    await self._gone.wait()
            except TimeoutError:
                self.abort("closed without an answer")
        await self._gone.wait()

    def abort(self, reason: str, code: int = 0) -> None:
        """Break the connection off, now."""
        self._lose(Closed(reason, code))
        if self._transport is not None:
            self._transport.abort()
        else:
            self._gone.set()

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        self._transport.write(wire.PROTOCOL_HEADER)

    def data_received(self, data: bytes) -> None:
        """Decode, and hand each event to its channel."""
        self._silent = 0
        try:
            events = self._decoder.feed(data)
        except wire.Garbled as error:
            self.abort(str(error))
            return
        channels = self._channels
        for number, event in events:
            try:
                if number:
                    channel = channels.get(number)
                    if channel is not None:
                        channel.take(event)
                elif isinstance(event, Frame):
                    self._method(event)
            except Exception:  # noqa: BLE001 - a callback's mistake must not end the connection for all the others
                _LOG.exception("a callback of the bus failed")

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._drained.clear()

    def resume_writing(self) -> None:
        """The transport's buffer is nearly empty."""
        self._drained.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody."""
        self._lose(Closed(f"connection lost: {exc}" if exc else "connection lost"))
        self._gone.set()

    # Inside

    def _flush(self) -> None:
        self._woken = False
        out, self.out = self.out, []
        if self.closed is None and self._transport is not None:
            self._idle = False
            self._transport.write(b"".join(out))

    def _method(self, method: Frame) -> None:
        if isinstance(method, commands.Connection.Close):
            self._part(Closed(method.reply_text, method.reply_code or 0), wire.method(commands.Connection.CloseOk(), 0))
        elif isinstance(method, commands.Connection.CloseOk):
            self._part(Closed("closed"), b"")
        elif isinstance(method, commands.Connection.Blocked | commands.Connection.Unblocked):
            if self.on_blocked is not None:
                self.on_blocked(method.reason if isinstance(method, commands.Connection.Blocked) else None)
        else:
            self._handshake(method)

    def _part(self, reason: Closed, last: bytes) -> None:
        self._lose(reason)
        if self._transport is not None:
            self._transport.write(last)
            self._transport.close()

    def _handshake(self, method: Frame) -> None:
        if isinstance(method, commands.Connection.Start):
            properties: dict[str, FieldValue] = {
                "product": "Penstock",
                "connection_name": self._options.name,
                "capabilities": _CAPABILITIES,
            }
            response = f"\0{self._endpoint.user}\0{self._endpoint.password}"
            self.write(wire.method(commands.Connection.StartOk(properties, "PLAIN", response, "en_US"), 0))
        elif isinstance(method, commands.Connection.Tune):
            self.frame_max = self._decoder.frame_max = min(method.frame_max or 2**17, 2**17)
            self._channel_max = min(method.channel_max or 2047, 2047)
            beat = min(self._options.heartbeat, method.heartbeat or self._options.heartbeat)
            self.write(wire.method(commands.Connection.TuneOk(self._channel_max, self.frame_max, beat), 0))
            self.write(wire.method(commands.Connection.Open(self._endpoint.vhost), 0))
            self._beat(beat / 2)
        elif isinstance(method, commands.Connection.OpenOk) and not self.ready.done():
            self.ready.set_result(None)

    def _beat(self, half: float) -> None:
        """Every half interval. Silence is counted in turns, so that a blocked loop of ours is not held against it."""
        if self.closed is not None:
            return
        if self._silent >= 4:
            self.abort("no heartbeat from RabbitMQ")
            return
        if self._idle:
            self.write(wire.HEARTBEAT)
        self._silent += 1
        self._idle = True
        self._pulse = self.loop.call_later(half, self._beat, half)

    def _lose(self, reason: Closed) -> None:
        if self.closed is not None:
            return
        self.closed = reason
        if self._pulse is not None:
            self._pulse.cancel()
        self._drained.set()
        if not self.ready.done():
            self.ready.set_exception(reason)
            self.ready.exception()  # whoever awaits it still gets it; nobody may
        if self.on_closed is not None:  # first: whoever is told by a channel finds the bus in trouble already
            tell(self.on_closed, reason)
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.lose(reason)


async def connect(endpoint: Endpoint, options: Options) -> Connection:
    """Connect, authenticate and open the vhost. Raises Closed, with a text that names no credentials."""
    loop = asyncio.get_running_loop()
    connection = Connection(endpoint, options)
    try:
        async with asyncio.timeout(options.timeout):
            await loop.create_connection(lambda: connection, endpoint.host, endpoint.port, ssl=endpoint.tls)
            await connection.ready
    except TimeoutError:
        connection.abort("timed out")
        raise Closed(f"no answer from {endpoint} within {options.timeout:g} s") from None
    except OSError as error:
        connection.abort("not connected")
        raise Closed(f"cannot connect to {endpoint}: {error}") from None
    except BaseException:
        connection.abort("given up")
        raise
    return connection
