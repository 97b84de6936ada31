"""The `Adapter` port: what a provider's file must say. Pure: bytes in, bytes out; no IO, no clock.

A provider is one module in this folder with a class `Adapter`, or one row in `catalog.yaml` for those that speak
OpenAI's dialect. `workers.execute` drives it; `workers.transport` does the calling.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas.config import Deployment
from schemas.envelope import Request
from schemas.failures import Failure
from schemas.usage import Usage


@dataclass(frozen=True, slots=True)
class Call:
    """One outgoing HTTP request. `headers` may hold the provider's key: never logged, never sent on."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Script:
    """An answer that needs no upstream (the demo provider, `mock_response`), in the form an upstream would give it."""

    chunks: tuple[bytes, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.0  # seconds between two chunks


@dataclass(frozen=True, slots=True)
class About:
    """What configuration must know of a provider. Each module with an `Adapter` names one as `ABOUT`.

    `keys` and `bases` are environment variables, the first one set wins. Without `base` a deployment needs `api_base`.
    """

    names: tuple[str, ...]
    base: str | None = None
    keys: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer in OpenAI's form."""

    body: bytes
    usage: Usage
    headers: Mapping[str, str] = field(default_factory=dict)  # facts of the provider worth showing: its request id …


class Translation(Protocol):
    """One stream on its way: upstream bytes in, OpenAI's SSE events out."""

    @property
    def usage(self) -> Usage:
        """What was used so far: the provider's word once it came, else an estimate of what passed, flagged."""

    def feed(self, data: bytes) -> bytes:
        """Translate what arrived, however it was cut; b"" while no event is complete.

        Raises `Refused` when the upstream reports an error inside the stream or sends what cannot be understood.
        """

    def end(self) -> bytes:
        """The upstream closed the connection: the last bytes. Raises `Refused(PROVIDER_BROKE_OFF)` if it was early."""


class Adapter(Protocol):
    """One deployment of a provider."""

    def __init__(self, deployment: Deployment) -> None:
        """Everything that does not depend on a request is computed here, once."""

    def call(self, request: Request, body: bytes, credentials: Mapping[str, Any]) -> Call | Script:
        """The provider's request for an OpenAI body (control fields already removed).

        `credentials` are what the deployment lets this client set (`api_key`, `api_base`, …), as JSON; usually empty.
        Raises `Refused(INVALID_REQUEST)` naming the parameter for what the provider cannot do.
        """

    def answer(self, request: Request, headers: Mapping[str, str], body: bytes, asked: bytes = b"") -> Answered:
        """The answer to a non-streaming call that came with a 2xx; `asked` is the client's body.

        Raises `Refused(PROVIDER_GARBLED)`, or with the error that the body holds.
        """

    def stream(self, request: Request, body: bytes) -> Translation:
        """A translation for the stream of a 2xx; `body` is the client's, for estimating the prompt."""

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a status that is not 2xx means. `headers` have lower-case names; `body` may be anything, HTML too."""
