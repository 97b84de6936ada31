"""AMQP 0-9-1 on the wire. What each message pays for is packed by hand here; all other methods go through pamqp.

Layouts: AMQP 0-9-1 specification, 2.3.5 (frames), 4.2.6 (content), and the method ids of its XML.
"""

import math
import struct
from typing import NamedTuple

from pamqp import frame as pamqp_frame
from pamqp.base import Frame
from pamqp.exceptions import PAMQPException

from broker.port import Message

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
DEFAULT_FRAME_MAX = 131072

_METHOD, _HEADER, _BODY, _HEARTBEAT_KIND = 1, 2, 3, 8
_END = b"\xce"
_PUBLISH, _RETURN, _DELIVER, _ACK, _NACK = 0x3C0028, 0x3C0032, 0x3C003C, 0x3C0050, 0x3C0078
_DELIVERY_MODE, _CORRELATION, _REPLY_TO, _EXPIRATION, _ID, _APP = 1 << 12, 1 << 10, 1 << 9, 1 << 8, 1 << 7, 1 << 3

_FRAME = struct.Struct(">BHI")
_METHOD_HEAD = struct.Struct(">BHII")
_CONTENT_HEAD = struct.Struct(">BHIHHQH")
_TAG_AND_BITS = struct.Struct(">BHIIQBB")
_INDEX = struct.Struct(">I")
_TAG = struct.Struct(">Q")
_CODE = struct.Struct(">H")
_SIZE_AND_FLAGS = struct.Struct(">QH")

# What follows the content header's flags, in the order of their bits from 15 down. The names are those we keep.
_PROPERTIES: tuple[tuple[int, str, str], ...] = (
    (1 << 15, "text", ""),  # content-type
    (1 << 14, "text", ""),  # content-encoding
    (1 << 13, "table", ""),  # headers
    (1 << 12, "octet", ""),  # delivery-mode
    (1 << 11, "octet", ""),  # priority
    (1 << 10, "text", "correlation"),
    (1 << 9, "text", "reply_to"),
    (1 << 8, "text", ""),  # expiration
    (1 << 7, "text", "id"),
    (1 << 6, "time", ""),  # timestamp
    (1 << 5, "text", ""),  # type
    (1 << 4, "text", ""),  # user-id
    (1 << 3, "text", "app"),
    (1 << 2, "text", ""),  # cluster-id
)


class Garbled(Exception):
    """What came in is not AMQP 0-9-1, or not in the order the protocol has."""


class Properties(NamedTuple):
    """The content properties that we read."""

    id: str = ""
    correlation: str = ""
    reply_to: str = ""
    app: str = ""


class Delivered(NamedTuple):
    """basic.deliver with its content."""

    tag: int
    redelivered: bool
    properties: Properties
    body: bytes


class Returned(NamedTuple):
    """basic.return with its content: no queue took it."""

    code: int
    exchange: str
    key: str
    properties: Properties
    body: bytes


class Confirmed(NamedTuple):
    """basic.ack or basic.nack from the broker, on a channel in confirm mode."""

    tag: int
    multiple: bool
    taken: bool


Event = Delivered | Returned | Confirmed | Frame
"""What a channel is told of; everything off the fast path is a pamqp method."""


def short(text: str) -> bytes:
    """A short string. Raises ValueError over 255 bytes."""
    data = text.encode()
    if len(data) > 255:
        raise ValueError(f"an AMQP short string holds at most 255 bytes, this one has {len(data)}")
    return bytes((len(data),)) + data


def publish_method(channel: int, exchange: str, key: str) -> bytes:
    """The frame of a mandatory basic.publish: the same for every message to that address, so worth keeping."""
    arguments = b"\x00\x00" + short(exchange) + short(key) + b"\x01"
    return _METHOD_HEAD.pack(_METHOD, channel, 4 + len(arguments), _PUBLISH) + arguments + _END


def properties(message: Message, app: str = "") -> tuple[int, bytes]:
    """Flags and fields of a content header."""
    flags, fields = 0, b""
    if message.durable:
        flags, fields = _DELIVERY_MODE, b"\x02"
    if message.correlation:
        flags |= _CORRELATION
        fields += short(message.correlation)
    if message.reply_to:
        flags |= _REPLY_TO
        fields += short(message.reply_to)
    if message.ttl is not None:  # out of RabbitMQ's range is a channel error, which would take other messages along
        flags |= _EXPIRATION
        fields += short(str(min(max(math.ceil(message.ttl * 1000), 0), 2**32 - 1)))
    if message.id:
        flags |= _ID
        fields += short(message.id)
    if app:
        flags |= _APP
        fields += short(app)
    return flags, fields


def put_content(
    out: list[bytes | memoryview], channel: int, header: tuple[int, bytes], body: bytes, frame_max: int
) -> None:
    """Append the content header and the body's frames to `out`, without copying the body."""
    flags, fields = header
    size, room = len(body), frame_max - 8
    head = _CONTENT_HEAD.pack(_HEADER, channel, 14 + len(fields), 60, 0, size, flags)
    if 0 < size <= room:
        out += (head, fields, _END + _FRAME.pack(_BODY, channel, size), body, _END)
        return
    out += (head, fields, _END)
    view = memoryview(body)
    for start in range(0, size, room):
        part = view[start : start + room]
        out += (_FRAME.pack(_BODY, channel, len(part)), part, _END)


def ack(channel: int, tag: int) -> bytes:
    """basic.ack of one delivery."""
    return _TAG_AND_BITS.pack(_METHOD, channel, 13, _ACK, tag, 0, 0xCE)


def nack(channel: int, tag: int, requeue: bool) -> bytes:
    """basic.nack of one delivery: back to the queue, or to the dead letters."""
    return _TAG_AND_BITS.pack(_METHOD, channel, 13, _NACK, tag, 2 if requeue else 0, 0xCE)


def method(frame: Frame, channel: int) -> bytes:
    """Any other method, by pamqp."""
    return pamqp_frame.marshal(frame, channel)


def _text(data: bytes, at: int) -> tuple[str, int]:
    stop = at + 1 + data[at]
    return data[at + 1 : stop].decode("utf-8", "replace"), stop


def read_properties(flags: int, data: bytes, at: int) -> Properties:
    """Properties from a content header, `at` being the first byte after the flags."""
    if not flags:
        return _NONE
    if flags & 1:
        raise Garbled("a content header with more than one word of flags")
    found: dict[str, str] = {}
    for bit, kind, name in _PROPERTIES:
        if not flags & bit:
            continue
        if kind == "text":
            value, at = _text(data, at)
            if name:
                found[name] = value
        elif kind == "octet":
            at += 1
        else:
            at += 8 if kind == "time" else 4 + _INDEX.unpack_from(data, at)[0]
    return Properties(**found)


_NONE = Properties()


class _Content:
    """A basic.deliver or basic.return whose content is on its way."""

    __slots__ = ("missing", "parts", "properties", "start")

    def __init__(self, start: tuple[int, bool] | tuple[int, str, str]) -> None:
        self.start = start
        self.missing = -1  # the content header has not come yet
        self.properties = _NONE
        self.parts: list[bytes] = []

    def event(self, body: bytes) -> Event:
        if len(self.start) == 2:
            tag, redelivered = self.start
            return Delivered(tag, redelivered, self.properties, body)
        code, exchange, key = self.start
        return Returned(code, exchange, key, self.properties, body)


class Decoder:
    """Bytes as they come, in whatever pieces, to events with their channel; heartbeats yield nothing."""

    def __init__(self) -> None:
        self.frame_max = DEFAULT_FRAME_MAX
        self._rest = b""
        self._contents: dict[int, _Content] = {}

    def feed(self, data: bytes) -> list[tuple[int, Event]]:
        """Everything that is complete now. Raises Garbled, after which the connection is of no use."""
        if self._rest:
            data = self._rest + data
        events: list[tuple[int, Event]] = []
        at, end = 0, len(data)
        while end - at >= 8:
            kind, channel, size = _FRAME.unpack_from(data, at)
            if size > self.frame_max or kind not in (1, 2, 3, 8):
                raise Garbled("not an AMQP 0-9-1 frame")
            stop = at + 7 + size
            if stop >= end:
                break
            if data[stop] != 0xCE:
                raise Garbled("a frame without its end octet")
            try:
                event = self._frame(kind, channel, data, at + 7, stop)
            except (IndexError, ValueError, struct.error, PAMQPException) as error:
                raise Garbled(f"a frame that cannot be read: {type(error).__name__}") from error
            if event is not None:
                events.append((channel, event))
            at = stop + 1
        self._rest = data[at:] if at else data
        return events

    def _frame(self, kind: int, channel: int, data: bytes, at: int, stop: int) -> Event | None:
        if kind == _METHOD:
            return self._method(channel, data, at, stop)
        if kind == _HEARTBEAT_KIND:
            return None
        content = self._contents.get(channel)
        if content is None or (kind == _HEADER) != (content.missing < 0):
            raise Garbled("content out of order")
        if kind == _HEADER:
            content.missing, flags = _SIZE_AND_FLAGS.unpack_from(data, at + 4)
            content.properties = read_properties(flags, data, at + 14)
            body = b""
        else:
            body = data[at:stop]
            content.missing -= len(body)
        if content.missing > 0:
            if body:
                content.parts.append(body)
            return None
        return self._complete(channel, content, body)

    def _complete(self, channel: int, content: _Content, body: bytes) -> Event:
        if content.missing < 0:
            raise Garbled("a body longer than its header says")
        del self._contents[channel]
        return content.event(b"".join((*content.parts, body)) if content.parts else body)

    def _method(self, channel: int, data: bytes, at: int, stop: int) -> Event | None:
        index = _INDEX.unpack_from(data, at)[0]
        at += 4
        if index == _DELIVER:
            at += 1 + data[at]  # the consumer tag: each consumer has a channel of its own
            self._begin(channel, (_TAG.unpack_from(data, at)[0], data[at + 8] & 1 == 1))
            return None
        if index in (_ACK, _NACK):
            return Confirmed(_TAG.unpack_from(data, at)[0], data[at + 8] & 1 == 1, index == _ACK)
        if index == _RETURN:
            code = _CODE.unpack_from(data, at)[0]
            _, at = _text(data, at + 2)
            exchange, at = _text(data, at)
            key, _ = _text(data, at)
            self._begin(channel, (code, exchange, key))
            return None
        frame = pamqp_frame.unmarshal(data[at - 11 : stop + 1])[2]
        if not isinstance(frame, Frame):
            raise Garbled("not a method")
        return frame

    def _begin(self, channel: int, start: tuple[int, bool] | tuple[int, str, str]) -> None:
        if channel in self._contents:
            raise Garbled("content out of order")
        self._contents[channel] = _Content(start)
