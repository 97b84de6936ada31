"""The HTTP answer to one inference request, as ASGI messages: begun once, ended once, whatever happens between."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from api import errors
from api.pending import Pending
from schemas.envelope import Answer, Chunk, Ended, Opened
from schemas.failures import Failure, Kind

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_SSE = (b"content-type", b"text/event-stream; charset=utf-8")
_COMMENT = b": waiting\n\n"


class Reply:
    """The HTTP answer under way."""

    def __init__(self, send: Send, rid: str) -> None:
        self._send = send
        self._rid = rid.encode()
        self._begun = False
        self._stream = False

    async def start(self, piece: Answer | Opened | Chunk | Ended, pending: Pending, body: bytes, *, more: bool) -> None:
        """Status, headers and the first bytes."""
        if not self._begun:
            stream = self._stream = isinstance(piece, Opened)
            headers = [_SSE, (b"cache-control", b"no-cache")] if stream else [_JSON]
            if not more:
                headers.append((b"content-length", str(len(body)).encode()))
            status = piece.status if isinstance(piece, Answer) else 200
            await self._head(status, headers, _facts(pending, getattr(piece, "headers", {})))
        await self.more(body, more=more)

    async def more(self, body: bytes, *, more: bool) -> None:
        """Further bytes."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def comment(self) -> None:
        """A comment on a stream that still waits; sends the 200 first."""
        if not self._begun:
            self._stream = True
            await self._head(200, [_SSE, (b"cache-control", b"no-cache")], ())
        await self.more(_COMMENT, more=True)

    async def fail(self, failure: Failure) -> None:
        """The failure: as the status while there is none yet, as a last event in a stream, else by breaking off."""
        if failure.kind is Kind.CANCELLED:
            return
        if not self._begun:
            body = errors.render(failure)
            headers = [_JSON, (b"content-length", str(len(body)).encode()), *errors.headers(failure)]
            await self._head(errors.status_of(failure), headers, ())
            await self.more(body, more=False)
        elif self._stream:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):  # a client that does not read gets no last word
                    await self.more(errors.event(failure), more=False)

    async def _head(self, status: int, headers: Headers, facts: Iterable[tuple[bytes, bytes]]) -> None:
        self._begun = True
        ours = [*headers, (b"x-request-id", self._rid), (b"x-litellm-call-id", self._rid), *facts]
        await self._send({"type": "http.response.start", "status": status, "headers": ours})


def request_id() -> str:
    """A new request id."""
    return f"req_{secrets.token_hex(12)}"


def _facts(pending: Pending, provider: Mapping[str, str]) -> Iterable[tuple[bytes, bytes]]:
    request, attempt = pending.request, pending.attempt
    yield b"x-litellm-model-group", request.group.encode("latin-1", "replace")
    if attempt is not None:
        yield b"x-litellm-model-id", attempt.deployment.encode("latin-1", "replace")
        yield b"x-penstock-attempt", attempt.attempt.encode()
    for name, value in provider.items():
        yield name.encode("latin-1", "replace"), value.encode("latin-1", "replace")
