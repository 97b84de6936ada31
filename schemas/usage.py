"""What a call used, and the one event that tells the ledger about it."""

from decimal import Decimal
from enum import StrEnum

import msgspec


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts of one upstream call, in OpenAI's sense.

    `prompt` includes `cached` (read from the provider's cache) and `cache_write`; `completion` includes
    `reasoning`. `estimated` says that the provider reported nothing and the counts are ours.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        """Prompt and completion together."""
        return self.prompt + self.completion


class Status(StrEnum):
    """How an attempt ended."""

    SUCCESS = "success"
    FAILURE = "failure"  # the upstream call failed, or what came back could not be used
    CANCELLED = "cancelled"  # the asker went away; what was used until then is counted
    LOST = "lost"  # announced, and nobody knows how it ended: estimated, replaced if its event arrives after all


KEY_ACTOR = "key:"
"""How the names begin by which keys without a user act."""


class Caller(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who pays: set once at the door, copied into every UsageEvent. Never holds a key, only its hash."""

    key_hash: str = ""
    key_alias: str = ""
    user: str = ""
    team: str = ""
    organization: str = ""
    end_user: str = ""  # the request's own `user` field
    tags: tuple[str, ...] = ()

    @property
    def payer(self) -> str:
        """Whose turn, answers and habits these are: the key's, or without one (a token) the user's in his team."""
        return self.key_hash or f"\0{self.user}\0{self.team}\0{self.organization}"

    @property
    def actor(self) -> str:
        """How the audit log names who does something: the user, or `key:` and the key that has none.

        Whoever makes a key chooses its alias, which by itself could be a user's id.
        """
        if self.user or not self.key_hash:
            return self.user or self.key_alias
        return f"{KEY_ACTOR}{self.key_alias or self.key_hash}"


class UsageEvent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One upstream attempt, exactly once in the ledger: its id is `attempt`, its row's key (attempt, started).

    Times are whole microseconds since the epoch, UTC. `cost` is US dollars; None is an unknown price, not zero.
    """

    attempt: str
    request: str
    started: int
    ended: int
    first_byte: int = 0  # 0: no byte came
    status: Status
    http_status: int = 0  # what the upstream answered; 0: nothing
    failure: str = ""  # a `schemas.failures.Kind`; empty on success
    endpoint: str = ""  # the value of a `schemas.envelope.Endpoint`
    stream: bool = False
    group: str = ""  # the model group
    model: str = ""  # what the provider calls it
    provider: str = ""
    deployment: str = ""
    worker: str = ""
    caller: Caller = Caller()
    usage: Usage = Usage()
    cost: Decimal | None = None
    metadata: dict[str, str] = {}
    leases: tuple[int, ...] = ()  # of the budgets that the call was reserved in (`ledger.leases`)
    reserved: int = 0  # nano-dollars, in each of them
    reservation: int = 0  # the request's; 0: it gives none back


def encode(event: UsageEvent) -> bytes:
    """The event as JSON; money as a decimal string."""
    return _ENCODER.encode(event)


def decode(data: bytes) -> UsageEvent:
    """The event from JSON. Raises `msgspec.ValidationError` or `msgspec.DecodeError`."""
    return _DECODER.decode(data)


_ENCODER = msgspec.json.Encoder(decimal_format="string")
_DECODER = msgspec.json.Decoder(UsageEvent)
