"""The inference routes: one request from its bytes to its answer. Follow it from `Inference.__call__` downwards.

Plain ASGI: this is the path that decides the CPU per request (docs/adr/0005). Only `api.errors` renders failures.
"""

import asyncio
import logging
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from msgspec import structs

from api.asker import Asker
from api.authenticate import Gatekeeper
from api.body import ClientGone, Receive, read_body
from api.course import wishes
from api.idempotency import Idempotency, call_of
from api.intake import Intake, take_in
from api.model_access import MODEL_DENIED, check_model, denied, scopes_of
from api.payment import Cashier
from api.pending import Pending
from api.planner import Planner
from api.refusals import BudgetSpent
from api.reply import Reply, Send, request_id
from api.terms import Extras, caller_of, deadline_of, extras_of, metadata_of
from broker.seal import Seal
from schemas.access import Access, Account
from schemas.catalog import Resolution
from schemas.config import Settings
from schemas.envelope import Answer, Chunk, Ended, Endpoint, Opened, Request
from schemas.failures import Failure, Kind, Refused

Scope = MutableMapping[str, Any]

_LOG = logging.getLogger("penstock.api")
_NOT_THIS_MODEL = frozenset({Kind.BUDGET_EXCEEDED, Kind.UNKNOWN_MODEL, *MODEL_DENIED})
"""Why one of a key's `budget_fallbacks` is passed over."""
_BETWEEN_COMMENTS = 1.0  # seconds at least: the first may be wanted at once


@dataclass(frozen=True, slots=True)
class Desk:
    """What the inference routes work with; one per process."""

    settings: Settings
    planner: Planner
    gatekeeper: Gatekeeper
    asker: Asker
    seal: Seal | None
    idempotency: Idempotency | None = None
    cashier: Cashier | None = None
    now: Callable[[], float] = time.time


class Asked(NamedTuple):
    """One request as it was received. Times in seconds since the epoch."""

    headers: list[tuple[bytes, bytes]]
    access: Access
    data: bytes
    intake: Intake
    extras: Extras
    received: float
    deadline: float
    address: str  # the client's


class Inference:
    """An ASGI endpoint for one of OpenAI's inference paths."""

    def __init__(self, endpoint: Endpoint, desk: Desk) -> None:
        self._endpoint = endpoint
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = Reply(send, request_id())
        try:
            await self._serve(scope, receive, reply)
        except asyncio.CancelledError:  # by the HTTP server, whose time to drain is over
            await reply.fail(Failure(Kind.DRAINING, "The server is shutting down."))

    async def _serve(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        try:
            asked = await self._take(scope, receive)
            if asked.extras.idempotent and self._desk.idempotency is not None:
                await self._serve_once(asked, scope, receive, reply)
            else:
                await self._run(asked, receive, reply)
        except Refused as refused:
            await reply.fail(refused.failure)
        except ClientGone:
            return
        except Exception:  # noqa: BLE001 (a bug here must end as an answer)
            _LOG.exception("request %s failed at the door", reply.id)
            await reply.fail(Failure(Kind.INTERNAL, "The request could not be processed."))

    async def _serve_once(self, asked: Asked, scope: Scope, receive: Receive, reply: Reply) -> None:
        """With an `Idempotency-Key`: the answer of the one call that is made for it, here or elsewhere."""
        assert self._desk.idempotency is not None
        path = (self._endpoint, scope.get("path_params", {}).get("model"))
        call = call_of(asked.headers, asked.access.caller.payer, path, asked.data, asked.deadline)
        assert call is not None

        async def run(receive: Receive, send: Send) -> None:
            await self._run(asked, receive, Reply(send, reply.id))

        await self._desk.idempotency.serve(call, run, receive, reply.send)

    async def _run(self, asked: Asked, receive: Receive, reply: Reply) -> None:
        try:
            pending = await self._ask(asked, reply.id)
        except Refused as refused:
            await reply.fail(refused.failure)
            return
        await self._answer(pending, receive, reply)

    async def _take(self, scope: Scope, receive: Receive) -> Asked:
        """The request's key, body and terms."""
        desk, headers = self._desk, scope["headers"]
        received = desk.now()
        access = await desk.gatekeeper.admit_to_inference(scope)
        data = await read_body(headers, receive, desk.settings.max_request_bytes)
        intake = take_in(self._endpoint, data, scope.get("path_params", {}).get("model"), access.enforced)
        deadline = deadline_of(intake, headers, desk.settings, received)
        address = desk.gatekeeper.address(scope)
        return Asked(headers, access, data, intake, extras_of(headers), received, deadline, address)

    async def _ask(self, asked: Asked, rid: str) -> Pending:
        """Everything between the request and the queue, and what follows when a budget of the key is spent."""
        access, model = asked.access, asked.intake.model
        name = access.aliases.get(model, model) if access.aliases else model
        try:
            return await self._ask_for(name, asked, rid)
        except BudgetSpent as spent:
            if spent.account.kind == "key" and access.throttled is not None:
                slower = structs.replace(access, terms=access.throttled, throttled=None)
                return await self._ask(asked._replace(access=slower), rid)
            for other in _budget_fallbacks(name, asked, spent.account):
                try:
                    return await self._ask_for(other, asked, rid)
                except Refused as refused:
                    if refused.failure.kind not in _NOT_THIS_MODEL:
                        raise
            raise

    async def _ask_for(self, name: str, asked: Asked, rid: str) -> Pending:
        desk, intake, extras, access = self._desk, asked.intake, asked.extras, asked.access
        found = desk.planner.catalog.resolve(name)
        if found is None:
            raise _unknown_model(intake.model)
        caller = caller_of(access.caller, intake, asked.headers)
        beside = () if desk.cashier is None else await desk.cashier.beside(caller, access.customer_budget)
        scopes = scopes_of(access, beside)
        check_model(scopes, name, found)
        mock = intake.controls.get("mock_response")
        request = Request(
            id=rid,
            endpoint=self._endpoint,
            group=found.group,
            model=found.model,
            stream=intake.stream,
            include_usage=intake.include_usage,
            received=asked.received,
            deadline=asked.deadline,
            gap=desk.settings.stream_gap,
            reply_to=desk.asker.address,
            klass=extras.klass,
            caller=caller,
            mock_response=mock if isinstance(mock, str) else None,
            credentials=self._sealed(intake, found),
            metadata=metadata_of(intake.controls, asked.headers, asked.address),
        )
        if extras.is_retry:
            running = desk.asker.attach(request, intake.body)
            if running is not None:
                return running
        course = desk.planner.course(found, caller, intake.body, wishes(intake.controls, extras.retries))
        if scopes:
            course.allowed = lambda fallback, found: not denied(scopes, fallback, found)
        payment = None if desk.cashier is None else desk.cashier.payment(access, beside, name, intake.output)
        if payment is None:
            return desk.asker.ask(request, intake.body, course)
        return desk.asker.ask(await payment.first(request, course), intake.body, course, payment)

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

    async def _answer(self, pending: Pending, receive: Receive, reply: Reply) -> None:
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

    async def _forward(self, pending: Pending, reply: Reply) -> None:
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


async def _first(pending: Pending, patience: float, reply: Reply) -> tuple[Answer | Opened | Chunk | Ended, bytes]:
    """The first piece of a stream; while it does not come, comments keep the client's read timeout from firing."""
    while True:
        try:
            async with asyncio.timeout(patience):
                return await pending.next()
        except TimeoutError:
            await reply.comment()
            patience = max(patience, _BETWEEN_COMMENTS)


async def _disconnected(receive: Receive, pending: Pending) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    pending.abandon()


def _expire(pending: Pending) -> None:
    if not pending.opened:
        pending.fail(Failure(Kind.DEADLINE, "The request's deadline passed before it was answered."))


def _budget_fallbacks(name: str, asked: Asked, spent: Account) -> tuple[str, ...]:
    """What the key calls instead when this account is spent. Credentials are for the model that they came with."""
    payer, model = spent.parted()
    if not model or payer.kind not in ("key", "member") or asked.intake.credentials:
        return ()
    fallbacks = asked.access.budget_fallbacks
    return fallbacks.get(name) or fallbacks.get(model, ())


def _unknown_model(model: str) -> Refused:
    return Refused(
        Kind.UNKNOWN_MODEL,
        f"The model '{model[:200]}' does not exist or you have no access to it. GET /v1/models lists what there is.",
        param="model",
    )
