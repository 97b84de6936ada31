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
        self.send = send
        self.id = rid
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
            await self._head(status, headers, _facts(pending, piece))
        await self.more(body, more=more)

    async def more(self, body: bytes, *, more: bool) -> None:
        """Further bytes."""
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

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
        rid = self.id.encode()
        ours = [*headers, (b"x-request-id", rid), (b"x-litellm-call-id", rid), *facts]
        await self.send({"type": "http.response.start", "status": status, "headers": ours})


def request_id() -> str:
    """A new request id."""
    return f"req_{secrets.token_hex(12)}"


def _facts(pending: Pending, piece: Answer | Opened | Chunk | Ended) -> Iterable[tuple[bytes, bytes]]:
    request, attempt, course = pending.request, pending.attempt, pending.course
    yield b"x-litellm-model-group", request.group.encode("latin-1", "replace")
    yield b"x-litellm-attempted-retries", b"%d" % course.retried
    yield b"x-litellm-attempted-fallbacks", b"%d" % course.fallbacks
    if attempt is not None:
        waited = max(0.0, attempt.at / 1e6 - request.received) * 1000
        yield b"x-litellm-model-id", attempt.deployment.encode("latin-1", "replace")
        yield b"x-litellm-overhead-duration-ms", b"%.3f" % waited
        yield b"x-penstock-attempt", attempt.attempt.encode()
        yield b"x-penstock-queue-wait-ms", b"%.3f" % waited
    if pending.ahead:
        yield b"x-penstock-queue-length", b"%d" % pending.ahead
    if isinstance(piece, Answer) and piece.cost is not None:
        yield b"x-litellm-response-cost", format(piece.cost, "f").encode()
    if pending.payment is not None:
        yield from pending.payment.facts()
    for name, value in getattr(piece, "headers", _NO_HEADERS).items():
        yield name.encode("latin-1", "replace"), value.encode("latin-1", "replace")


_NO_HEADERS: Mapping[str, str] = {}
