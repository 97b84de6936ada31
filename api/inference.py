"""The inference routes: one request from its bytes to its answer. Follow it from `Inference.__call__` downwards.

Plain ASGI: this is the path that decides the CPU per request (docs/adr/0005). Only `api.errors` renders failures.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from api import errors
from api.asker import Asker
from api.authenticate import Gatekeeper
from api.intake import Intake, take_in
from api.limits import caller_of, deadline_of, metadata_of
from api.pending import Pending
from broker.seal import Seal
from schemas.catalog import Catalog, Resolution
from schemas.config import Settings
from schemas.envelope import Answer, Chunk, Ended, Endpoint, Opened, Request
from schemas.failures import Failure, Kind, Refused

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_LOG = logging.getLogger("penstock.api")
_JSON = (b"content-type", b"application/json")
_SSE = (b"content-type", b"text/event-stream; charset=utf-8")
_COMMENT = b": waiting\n\n"
_BETWEEN_COMMENTS = 1.0  # seconds at least: the first may be wanted at once


@dataclass(frozen=True, slots=True)
class Desk:
    """What the inference routes work with; one per process."""

    settings: Settings
    catalog: Catalog
    gatekeeper: Gatekeeper
    asker: Asker
    seal: Seal | None
    now: Callable[[], float] = time.time


class Inference:
    """An ASGI endpoint for one of OpenAI's inference paths."""

    def __init__(self, endpoint: Endpoint, desk: Desk) -> None:
        self._endpoint = endpoint
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        rid = request_id()
        reply = _Reply(send, rid)
        try:
            pending = await self._ask(scope, receive, rid)
        except Refused as refused:
            await reply.fail(refused.failure)
            return
        except _ClientGone:
            return
        except Exception:  # noqa: BLE001 (a bug here must end as an answer)
            _LOG.exception("request %s failed at the door", rid)
            await reply.fail(Failure(Kind.INTERNAL, "The request could not be processed."))
            return
        await self._answer(pending, receive, reply)

    async def _ask(self, scope: Scope, receive: Receive, rid: str) -> Pending:
        """Everything between the bytes and the queue."""
        desk, headers = self._desk, scope["headers"]
        received = desk.now()
        key = desk.gatekeeper.admit(headers)
        data = await read_body(headers, receive, desk.settings.max_request_bytes)
        intake = take_in(self._endpoint, data, scope.get("path_params", {}).get("model"))
        found = desk.catalog.resolve(intake.model)
        if found is None:
            raise _unknown_model(intake.model)
        deadline = deadline_of(intake, headers, received, desk.settings.request_timeout)
        mock = intake.controls.get("mock_response")
        request = Request(
            id=rid,
            endpoint=self._endpoint,
            group=found.group,
            model=found.model,
            stream=intake.stream,
            include_usage=intake.include_usage,
            received=received,
            deadline=deadline,
            gap=desk.settings.stream_gap,
            reply_to=desk.asker.address,
            caller=caller_of(key, intake, headers),
            mock_response=mock if isinstance(mock, str) else None,
            credentials=self._sealed(intake, found),
            metadata=metadata_of(intake.controls),
        )
        return desk.asker.ask(request, intake.body, deadline - received)

    def _sealed(self, intake: Intake, found: Resolution) -> str:
        if not intake.credentials:
            return ""
        for name in intake.credentials:
            if not all(name in deployment.client_may_set for deployment in found.deployments):
                raise Refused(
                    Kind.INVALID_REQUEST,
                    f"The parameter '{name}' may not be set by clients for this model "
                    "(configurable_clientside_auth_params).",
                    param=name,
                )
        if self._desk.seal is None:
            raise Refused(Kind.INVALID_REQUEST, "Client-side credentials need PENSTOCK_SALT_KEY to be set.")
        return self._desk.seal.close(intake.credentials)

    async def _answer(self, pending: Pending, receive: Receive, reply: "_Reply") -> None:
        """Hand the answer on as it comes, until it ends, fails, or the client goes away."""
        loop = asyncio.get_running_loop()
        seconds = pending.request.deadline - self._desk.now()
        alarm = loop.call_later(max(0.0, seconds), _expire, pending)
        listener = asyncio.create_task(_disconnected(receive, pending))
        failure = None
        try:
            async with asyncio.timeout(None) as patience:
                pending.cut_off = lambda: patience.reschedule(loop.time())
                await self._forward(pending, reply)
        except Refused as refused:
            failure = refused.failure
        except TimeoutError:
            failure = Failure(Kind.SLOW_READER, "The client did not read its answer fast enough.")
        finally:
            alarm.cancel()
            listener.cancel()
            self._desk.asker.dismiss(pending)
        if failure is not None:  # last: a client that does not read keeps nobody else waiting
            await reply.fail(failure)

    async def _forward(self, pending: Pending, reply: "_Reply") -> None:
        if pending.request.stream:
            patience = self._desk.settings.stream_comment_after
            piece, body = await _first(pending, patience, reply)
        else:
            piece, body = await pending.next()
        more = isinstance(piece, Opened) or (isinstance(piece, Answer) and piece.more)
        await reply.start(piece, pending, body, more=more)
        while more:
            piece, body = await pending.next()
            more = not isinstance(piece, Ended)
            await reply.more(body, more=more)


async def _first(pending: Pending, patience: float, reply: "_Reply") -> tuple[Answer | Opened | Chunk | Ended, bytes]:
    """The first piece of a stream; while it does not come, comments keep the client's read timeout from firing."""
    while True:
        try:
            async with asyncio.timeout(patience):
                return await pending.next()
        except TimeoutError:
            await reply.comment()
            patience = max(patience, _BETWEEN_COMMENTS)


class _Reply:
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


class _ClientGone(Exception):
    """The client disconnected before its request was complete."""


def request_id() -> str:
    """A new request id."""
    return f"req_{secrets.token_hex(12)}"


async def read_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int) -> bytes:
    """The request's body. Raises `Refused(TOO_LARGE)` beyond `limit` bytes, before reading where that is known."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)


async def _disconnected(receive: Receive, pending: Pending) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    pending.abandon()


def _expire(pending: Pending) -> None:
    if not pending.opened:
        pending.fail(Failure(Kind.DEADLINE, "The request's deadline passed before it was answered."))


def _facts(pending: Pending, provider: Mapping[str, str]) -> Iterable[tuple[bytes, bytes]]:
    request, attempt = pending.request, pending.attempt
    yield b"x-litellm-model-group", request.group.encode("latin-1", "replace")
    if attempt is not None:
        yield b"x-litellm-model-id", attempt.deployment.encode("latin-1", "replace")
        yield b"x-penstock-attempt", attempt.attempt.encode()
    for name, value in provider.items():
        yield name.encode("latin-1", "replace"), value.encode("latin-1", "replace")


def _too_large(limit: int) -> Refused:
    return Refused(Kind.TOO_LARGE, f"The request body is larger than the {limit} bytes that are allowed.")


def _unknown_model(model: str) -> Refused:
    return Refused(
        Kind.UNKNOWN_MODEL,
        f"The model '{model[:200]}' does not exist or you have no access to it. GET /v1/models lists what there is.",
        param="model",
    )
