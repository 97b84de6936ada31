"""What crosses the queue: one JSON head line, then the body as it came (`head\\nbody`), so that nobody parses twice.

Requests go from the API to a pool, frames come back to the API that asked, events go to every process.
No head ever holds a key; a client's own credentials travel sealed (`broker.seal`).
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from schemas.access import Account
from schemas.failures import Failure
from schemas.usage import Caller, Usage


class Endpoint(StrEnum):
    """What is asked for; the value is also the OpenAI path below `/v1/`."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


class Class(StrEnum):
    """What may wait for what: batch requests are served with the room that interactive ones leave."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Request(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One inference request. The message's body is the client's JSON less the control fields.

    `group` is the model group whose queue it waits in, `model` the concrete name in it (they differ for wildcards; an
    alias is replaced already). `deadline` is in seconds since the epoch: for the whole answer, or for a stream its
    first byte. `gap` is the longest silence between two chunks of a stream, in seconds. `n` counts how often it was
    published, `published` is when it was last.
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
    klass: Class = Class.INTERACTIVE
    n: int = 1
    published: float = 0.0
    caller: Caller = Caller()
    leases: tuple[int, ...] = ()  # of the budgets that this publication is reserved in, for the UsageEvent
    reserved: int = 0  # nano-dollars, in each of them
    reservation: int = 0  # which of the request's that is: publications that nobody has begun pass theirs on
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
    n: int = 1  # the request's
    ask: bool = False


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, tag="answer", kw_only=True):
    """The complete answer; the frame's body is its JSON. `more`: `Chunk`s follow, the last is an `Ended`."""

    attempt: str
    status: int = 200
    headers: dict[str, str] = {}
    usage: Usage = Usage()
    cost: Decimal | None = None  # US dollars
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
    cost: Decimal | None = None  # US dollars


class Failed(msgspec.Struct, frozen=True, omit_defaults=True, tag="failed", kw_only=True):
    """The attempt's end without an answer. `attempt` is empty when no upstream call was announced."""

    failure: Failure
    attempt: str = ""


class Probe(msgspec.Struct, frozen=True, tag="probe"):
    """Says nothing: whether the bus can deliver it tells the worker whether the asker is still there."""


Frame = Started | Answer | Opened | Chunk | Ended | Failed | Probe


class Serving(msgspec.Struct, frozen=True, omit_defaults=True):
    """One deployment that a process serves, and how it is doing there. Times in seconds.

    `queue` is its group's interactive queue. `model` is empty but for a wildcard's deployment, which has one more row
    for each concrete model that is held up by itself.
    """

    queue: str
    deployment: str
    slots: int  # calls that may be under way in this process
    in_flight: int = 0
    room: int = 0  # calls that could begin at once
    pace: float = 0.0  # calls per second that can go on beginning; 0: not known to be limited
    latency: float = 0.0  # of a call, smoothed
    slowest: float = 0.0  # of the calls lately
    cooling: float = 0.0  # until it may be called again after failures
    refused: float = 0.0  # until it may be called again after a 429
    shut: float = 0.0  # until anything may begin here, for whatever reason
    used: float = 0.0  # fraction of its limits used in the last minute, by everybody
    model: str = ""


class Beat(msgspec.Struct, frozen=True, omit_defaults=True, tag="beat", kw_only=True):
    """A process is alive and says what it serves: nothing, before it leaves. A beat is due every `every` seconds.

    An API process says how many requests wait in it for each interactive queue.
    """

    process: str
    role: str
    every: float
    serving: tuple[Serving, ...] = ()
    waiting: dict[str, int] = {}


class RollCall(msgspec.Struct, frozen=True, tag="roll_call"):
    """A newcomer asks everybody to beat now."""


class Cancel(msgspec.Struct, frozen=True, omit_defaults=True, tag="cancel"):
    """The asker no longer wants `request`: drop it if it waits, stop it if it runs.

    With `attempt` only that one, with `n` only what was published as that.
    """

    request: str
    attempt: str = ""
    n: int = 0


class Verdict(msgspec.Struct, frozen=True, tag="verdict"):
    """The asker's word on an attempt that announced itself with `ask`."""

    attempt: str
    go: bool


class ModelsChanged(msgspec.Struct, frozen=True, tag="models_changed"):
    """The models in the ledger are others now: whoever works by them reads them again. `by` changed them."""

    by: str


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """Every process is asked to read its configuration file again. `by` has done so."""

    by: str


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """Whatever was remembered about these is void: `key:<id>`, `team:<id>`, `user:<id>`, `budget:<id>` …"""

    names: tuple[str, ...]


class Scarce(msgspec.Struct, frozen=True, tag="scarce"):
    """`by` is short of these accounts: whoever holds more of them than it uses gives it back."""

    by: str
    accounts: tuple[Account, ...]


class SoftBudget(msgspec.Struct, frozen=True, tag="soft_budget"):
    """A soft budget was passed: an alert, once in each of its periods ("" is all time). US dollars."""

    account: Account
    period: str
    spent: Decimal
    soft: Decimal


Event = Beat | RollCall | Cancel | Verdict | ModelsChanged | Reload | Changed | Scarce | SoftBudget


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
