"""What crosses the queue: one JSON head line, then the body as it came (`head\\nbody`), so that nobody parses twice.

Requests go from the API to a pool, frames come back to the API that asked, events go to every process.
No head ever holds a key; a client's own credentials travel sealed (`broker.seal`).
"""

from enum import StrEnum

import msgspec

from schemas.failures import Failure
from schemas.usage import Caller, Usage


class Endpoint(StrEnum):
    """What is asked for; the value is also the OpenAI path below `/v1/`."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


class Request(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One inference request. The message's body is the client's JSON less the control fields.

    `group` is the model group whose queue it waits in, `model` the concrete name in it (they differ for wildcards; an
    alias is replaced already). `deadline` is in seconds since the epoch: for the whole answer, or for a stream its
    first byte. `gap` is the longest silence between two chunks of a stream, in seconds.
    """

    id: str
    endpoint: Endpoint
    group: str
    model: str
    stream: bool = False
    include_usage: bool = False  # the client asked for the usage chunk
    received: float
    deadline: float
    gap: float = 600.0
    reply_to: str
    caller: Caller = Caller()
    mock_response: str | None = None
    credentials: str = ""  # sealed JSON object of what the deployment lets the client set
    metadata: dict[str, str] = {}


class Started(msgspec.Struct, frozen=True, omit_defaults=True, tag="started", kw_only=True):
    """An attempt is about to call its upstream. With `ask` the worker waits for `Verdict` first (a redelivery)."""

    attempt: str
    worker: str
    deployment: str
    provider: str
    model: str
    at: int  # microseconds since the epoch: the row's `started`
    ask: bool = False


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, tag="answer", kw_only=True):
    """The complete answer; the frame's body is its JSON. `more`: `Chunk`s follow, the last is an `Ended`."""

    attempt: str
    status: int = 200
    headers: dict[str, str] = {}
    usage: Usage = Usage()
    more: bool = False


class Opened(msgspec.Struct, frozen=True, omit_defaults=True, tag="opened", kw_only=True):
    """A stream's 200 and its first bytes."""

    attempt: str
    headers: dict[str, str] = {}


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True, tag="chunk", kw_only=True):
    """More bytes; `n` counts from 1 after `Opened` or `Answer`, so that a gap is noticed."""

    attempt: str
    n: int


class Ended(msgspec.Struct, frozen=True, omit_defaults=True, tag="ended", kw_only=True):
    """The last bytes of an answer that came in parts."""

    attempt: str
    n: int
    usage: Usage = Usage()


class Failed(msgspec.Struct, frozen=True, omit_defaults=True, tag="failed", kw_only=True):
    """The attempt's end without an answer. `attempt` is empty when no upstream call was announced."""

    failure: Failure
    attempt: str = ""


class Probe(msgspec.Struct, frozen=True, tag="probe"):
    """Says nothing: whether the bus can deliver it tells the worker whether the asker is still there."""


Frame = Started | Answer | Opened | Chunk | Ended | Failed | Probe


class Serving(msgspec.Struct, frozen=True, omit_defaults=True):
    """One (deployment, queue) that a process consumes: slots it has, slots in use."""

    queue: str
    deployment: str
    slots: int
    in_flight: int = 0


class Beat(msgspec.Struct, frozen=True, omit_defaults=True, tag="beat", kw_only=True):
    """A process is alive and says what it serves: nothing, before it leaves. A beat is due every `every` seconds."""

    process: str
    role: str
    every: float
    serving: tuple[Serving, ...] = ()


class RollCall(msgspec.Struct, frozen=True, tag="roll_call"):
    """A newcomer asks everybody to beat now."""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """The asker no longer wants `request`: drop it if it waits, stop it if it runs. With `attempt`, only that one."""

    request: str
    attempt: str = ""


class Verdict(msgspec.Struct, frozen=True, tag="verdict"):
    """The asker's word on an attempt that announced itself with `ask`."""

    attempt: str
    go: bool


Event = Beat | RollCall | Cancel | Verdict


def pack(head: Request | Frame | Event, body: bytes = b"") -> bytes:
    """`head\\nbody`; JSON never holds a raw line feed, so the first one ends the head."""
    return b"%b\n%b" % (_ENCODER.encode(head), body)


def unpack_request(data: bytes) -> tuple[Request, bytes]:
    """The request and the body to send. Raises `msgspec.ValidationError`, `msgspec.DecodeError`."""
    cut = data.index(b"\n")
    return _REQUEST.decode(data[:cut]), data[cut + 1 :]


def unpack_frame(data: bytes) -> tuple[Frame, bytes]:
    """The frame and the bytes behind it. Raises as `unpack_request`."""
    cut = data.index(b"\n")
    return _FRAME.decode(data[:cut]), data[cut + 1 :]


def unpack_event(data: bytes) -> Event:
    """The event. Raises as `unpack_request`."""
    return _EVENT.decode(data[: data.index(b"\n")])


_ENCODER = msgspec.json.Encoder()
_REQUEST = msgspec.json.Decoder(Request)
_FRAME: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)
_EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
