"""Envelopes: what is packed comes out again, and the body is not touched."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import envelope
from schemas.envelope import (
    Answer,
    Beat,
    Cancel,
    Chunk,
    Ended,
    Failed,
    ModelsChanged,
    Opened,
    Reload,
    Request,
    Serving,
    Started,
    Verdict,
)
from schemas.failures import Failure, Kind
from schemas.usage import Caller, Usage

REQUEST = Request(
    id="req_1",
    endpoint=envelope.Endpoint.CHAT,
    group="gpt-4o\n",
    model="gpt-4o",
    stream=True,
    received=1.5,
    deadline=2.5,
    reply_to="inbox.x",
    caller=Caller(key_hash="ab", tags=("a", "b")),
    metadata={"line": "one\ntwo"},
)
FRAMES = [
    Started(attempt="a", worker="w", deployment="d", provider="p", model="m", at=7, ask=True),
    Answer(attempt="a", status=201, headers={"x": "y"}, usage=Usage(prompt=3), more=True),
    Opened(attempt="a", headers={"x": "y"}),
    Chunk(attempt="a", n=4),
    Ended(attempt="a", n=5, usage=Usage(completion=9, estimated=True)),
    Failed(failure=Failure(Kind.DEADLINE, "late", provider_error='{"message":\n"x"}'), attempt="a"),
]
EVENTS = [
    Beat(process="w", role="worker", every=1.0, serving=(Serving("q", "d", 4, 1),)),
    Cancel("req_1", "a"),
    Verdict("a", go=True),
    ModelsChanged("w"),
    Reload("w"),
]


@given(st.binary())
def test_a_request_and_its_body_survive(body: bytes) -> None:
    assert envelope.unpack_request(envelope.pack(REQUEST, body)) == (REQUEST, body)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_and_its_bytes_survive(frame: envelope.Frame) -> None:
    got, body = envelope.unpack_frame(envelope.pack(frame, b"data: {}\n\n"))
    assert msgspec.json.encode(got) == msgspec.json.encode(frame)
    assert body == b"data: {}\n\n"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_survives(event: envelope.Event) -> None:
    assert envelope.unpack_event(envelope.pack(event)) == event


@pytest.mark.parametrize("garbage", [b"", b"no line", b"{}\n", b'{"type":"nonsense"}\n', b"\xff\n"])
def test_garbage_is_an_error_that_callers_catch(garbage: bytes) -> None:
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        envelope.unpack_request(garbage)
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        envelope.unpack_frame(garbage)
