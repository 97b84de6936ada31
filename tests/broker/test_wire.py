"""The hand-written codec against pamqp, and against bytes that come in any pieces."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp import frame as pamqp_frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from broker.amqp import wire
from broker.port import Message

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
channels = st.integers(1, 65535)
exchanges = st.text("abcXYZ019-_.", max_size=60)
tags = st.integers(1, 2**63 - 1)  # pamqp reads them as signed
messages = st.builds(
    Message,
    body=st.binary(max_size=300),
    id=names,
    correlation=names,
    reply_to=names,
    ttl=st.none() | st.floats(0, 1e6),
    durable=st.booleans(),
)


def unmarshal_all(data: bytes) -> list[tuple[int, object]]:
    frames = []
    while data:
        used, channel, frame = pamqp_frame.unmarshal(data)
        frames.append((channel, frame))
        data = data[used:]
    return frames


@given(channels, exchanges, names, messages, names, st.integers(9, 400))
def test_what_we_publish_is_what_pamqp_reads(
    channel: int, exchange: str, key: str, message: Message, app: str, frame_max: int
) -> None:
    out: list[bytes | memoryview] = [wire.publish_method(channel, exchange, key)]
    wire.put_content(out, channel, wire.properties(message, app), message.body, frame_max)
    frames = unmarshal_all(b"".join(out))
    assert {number for number, _ in frames} == {channel}
    method, header, *bodies = [frame for _, frame in frames]
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory, method.immediate) == (exchange, key, True, False)
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(message.body)
    known = header.properties
    assert (known.message_id or "", known.correlation_id or "") == (message.id, message.correlation)
    assert (known.reply_to or "", known.app_id or "") == (message.reply_to, app)
    assert known.delivery_mode == (2 if message.durable else None)
    if message.ttl is None:
        assert known.expiration is None
    else:
        assert 0 <= int(known.expiration) / 1000 - message.ttl < 0.0011
    parts = [part.value for part in bodies if isinstance(part, ContentBody)]
    assert b"".join(parts) == message.body
    assert all(0 < len(part) <= frame_max - 8 for part in parts)


@given(channels, tags, st.booleans())
def test_acks(channel: int, tag: int, requeue: bool) -> None:
    [(_, ack), (_, nack)] = unmarshal_all(wire.ack(channel, tag) + wire.nack(channel, tag, requeue))
    assert isinstance(ack, commands.Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (tag, False)
    assert isinstance(nack, commands.Basic.Nack)
    assert (nack.delivery_tag, nack.multiple, nack.requeue) == (tag, False, requeue)


def content(channel: int, message: Message, extra: dict[str, object], cut: int) -> bytes:
    properties = commands.Basic.Properties(
        message_id=message.id or None,
        correlation_id=message.correlation or None,
        reply_to=message.reply_to or None,
        delivery_mode=2 if message.durable else None,
        expiration=None if message.ttl is None else str(int(message.ttl)),
        **extra,  # type: ignore[arg-type]
    )
    header = ContentHeader(0, len(message.body), properties)
    parts = [message.body[at : at + cut] for at in range(0, len(message.body), cut)]
    return pamqp_frame.marshal(header, channel) + b"".join(
        pamqp_frame.marshal(ContentBody(part), channel) for part in parts
    )


extras = st.fixed_dictionaries(
    {},
    optional={
        "content_type": names.filter(bool),
        "content_encoding": names.filter(bool),
        "headers": st.dictionaries(st.text("abc", min_size=1), st.integers(0, 9) | names),
        "priority": st.integers(0, 9),
        "message_type": names.filter(bool),
        "user_id": names.filter(bool),
        "app_id": names.filter(bool),
    },
)
Expected = tuple[bytes, list[tuple[int, wire.Event]]]


@st.composite
def arrivals(draw: st.DrawFn) -> Expected:
    """One message or method from the broker, as bytes and as what must be read from them."""
    channel, message, extra = draw(channels), draw(messages), draw(extras)
    cut = draw(st.integers(1, 200))
    known = wire.Properties(message.id, message.correlation, message.reply_to, str(extra.get("app_id", "")))
    kind = draw(st.sampled_from(["deliver", "return", "ack", "nack", "heartbeat", "other"]))
    tag, flag = draw(tags), draw(st.booleans())
    if kind == "deliver":
        method = pamqp_frame.marshal(commands.Basic.Deliver("c", tag, flag, draw(exchanges), draw(names)), channel)
        event: wire.Event = wire.Delivered(tag, flag, known, message.body)
        return method + content(channel, message, extra, cut), [(channel, event)]
    if kind == "return":
        exchange, key = draw(exchanges), draw(names)
        method = pamqp_frame.marshal(commands.Basic.Return(312, "NO_ROUTE", exchange, key), channel)
        event = wire.Returned(312, exchange, key, known, message.body)
        return method + content(channel, message, extra, cut), [(channel, event)]
    if kind == "ack":
        return pamqp_frame.marshal(commands.Basic.Ack(tag, flag), channel), [(channel, wire.Confirmed(tag, flag, True))]
    if kind == "nack":
        frame = commands.Basic.Nack(tag, flag, False)
        return pamqp_frame.marshal(frame, channel), [(channel, wire.Confirmed(tag, flag, False))]
    if kind == "heartbeat":
        return wire.HEARTBEAT, []
    close = commands.Channel.Close(404, draw(names), 60, 40)
    return pamqp_frame.marshal(close, channel), [(channel, close)]


@given(st.lists(arrivals(), max_size=8), st.data())
def test_whatever_the_pieces_the_events_are_the_same(came: list[Expected], data: st.DataObject) -> None:
    stream = b"".join(part for part, _ in came)
    expected = [event for _, events in came for event in events]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    decoder, got = wire.Decoder(), []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += decoder.feed(stream[start:stop])
    assert [(channel, comparable(event)) for channel, event in got] == [
        (channel, comparable(event)) for channel, event in expected
    ]


def comparable(event: wire.Event) -> object:
    return dict(event) if isinstance(event, commands.Channel.Close) else event


@given(st.binary(max_size=400))
def test_garbage_is_garbled_or_incomplete(data: bytes) -> None:
    decoder = wire.Decoder()
    with contextlib.suppress(wire.Garbled):
        decoder.feed(data)
        decoder.feed(data)


@given(arrivals(), st.data())
def test_a_damaged_frame_is_garbled_or_read_as_something_else(came: Expected, data: st.DataObject) -> None:
    stream = bytearray(came[0])
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    decoder = wire.Decoder()
    with contextlib.suppress(wire.Garbled):
        decoder.feed(bytes(stream))


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"AMQP\x00\x00\x09\x01",
        b"\x03\x00\x01\x00\x00\x00\x01x\xce",  # a body of nothing
        b"\x08\x00\x00\x00\x00\x00\x00\x00",  # no end octet
        b"\x01\x00\x01\xff\xff\xff\xff",  # larger than any frame
    ],
)
def test_what_is_not_amqp_is_refused(data: bytes) -> None:
    with pytest.raises(wire.Garbled):
        wire.Decoder().feed(data + b"\x00" * 8)


def test_a_name_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="255"):
        wire.publish_method(1, "x" * 256, "")
    with pytest.raises(ValueError, match="255"):
        wire.properties(Message(b"", id="ä" * 128))
