"""Calls with an `Idempotency-Key`: one upstream call, which outlives its client for a while, and its answer for all.

A call is claimed in the ledger before it runs (`ledger/idempotency.py`). It then runs in a task of its own, into a
`Recording` that its client watches like everybody who asks the same later: in this process while it runs, in any
process once it is kept. Only answers that asking again would not change are kept: successes and the client's mistakes.
"""

import asyncio
import hashlib
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import msgspec

from api.body import ClientGone, Receive
from api.recording import Audience, Recording, Watcher, Whole, present
from api.reply import Send
from broker.seal import Seal
from ledger import idempotency as ledger
from ledger.idempotency import Claim, State, Terms
from ledger.pool import AWAY, FAILED, Pool, described, ledger_needed
from schemas.envelope import Endpoint
from schemas.failures import Kind, Refused

Run = Callable[[Receive, Send], Awaitable[None]]
"""Makes one answer. Its `receive` says only `http.disconnect`, and only when nobody has waited for long."""

HEADER = "Idempotency-Key"
MOST_KEPT = 8 * 2**20
"""Bytes of an answer's body. A longer one is not kept: the next call with its key runs again."""

_LOG = logging.getLogger("penstock.api")
_KEY = re.compile(rb"[\x20-\x7e]{1,255}")
_CURABLE = {408, 409, 429, 499}  # client errors that may be none when the same is asked again
_LAST_WRITE = 2.0  # seconds for it while the process stops


class Call(NamedTuple):
    """What was asked with a key. `key` and `body` are SHA-256, in hex; `deadline` is in seconds since the epoch."""

    key: str
    body: str
    deadline: float


class Timing(NamedTuple):
    """In seconds: how long a claim holds and a call runs without a client, and the pauses between two questions.

    The first and the longest pause are for a call that runs elsewhere, `retry` is for a ledger that is away.
    """

    lease: float = 30.0
    grace: float = 60.0
    first_pause: float = 0.2
    longest_pause: float = 1.0
    retry: float = 1.0


USUAL = Timing()


def call_of(
    headers: Iterable[tuple[bytes, bytes]], caller: str, path: tuple[Endpoint, str | None], data: bytes, deadline: float
) -> Call | None:
    """The call behind a request that has the header, else None. Raises `Refused(INVALID_REQUEST)` for a bad one.

    `caller` is the hash of the caller's key, `path` the endpoint and the model that the path names, `data` the body
    as it was received.
    """
    given = [value.strip() for name, value in headers if name == b"idempotency-key"]
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        said = f"'{HEADER}' must be given once, with 1 to 255 printable ASCII characters."
        raise Refused(Kind.INVALID_REQUEST, said, param=HEADER)
    endpoint, model = path
    key = hashlib.sha256(b"\0".join((caller.encode(), endpoint.encode(), given[0])))
    body = hashlib.sha256(b"%d\0" % len(data))
    body.update(data)
    body.update((model or "").encode())
    return Call(key.hexdigest(), body.hexdigest(), deadline)


class Idempotency:
    """The idempotent calls of one API process, whose name is `process`. Answers are kept for `keep` seconds."""

    def __init__(
        self,
        pool: Pool,
        seal: Seal,
        process: str,
        keep: float,
        now: Callable[[], float] = time.time,
        timing: Timing = USUAL,
    ) -> None:
        self._pool = pool
        self._seal = seal
        self._process = process
        self._terms = Terms(timing.lease, keep)
        self._now = now
        self._timing = timing
        self._runs: dict[str, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False

    def open(self) -> None:
        """Begin to renew the claims of this process, and to delete what has expired."""
        self._keeper = asyncio.create_task(self._keep_house(), name="idempotent calls' claims")

    async def close(self, patience: float) -> None:
        """Tell the running calls that nobody waits any more, and stop those that have not ended within `patience` s.

        Their claims are released, so that another process can run them at once. Call it before the pool is closed.
        """
        self._closing = True
        for running in self._runs.values():
            running.audience.abandon()
        left = set(self._tasks)
        if left:
            _, left = await asyncio.wait(left, timeout=patience)
        if self._keeper is not None:
            left.add(self._keeper)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=2 * _LAST_WRITE)

    async def serve(self, call: Call, run: Run, receive: Receive, send: Send) -> None:
        """Answer the call: by `run`, by a run of the same that is under way, or by what was kept of an earlier one.

        Returns when the answer has been sent, has ended otherwise, or its client has gone. Raises `Refused`
        (CONFLICT, DEADLINE, LEDGER_DOWN, DRAINING, INTERNAL) and `CancelledError` only while nothing has been sent.
        """
        answer = await self._answer(call, run, receive)
        if answer is None:
            return
        watcher = Watcher(send, replayed=not (isinstance(answer, _Running) and answer.call is call))
        try:
            async with present(receive):
                if isinstance(answer, _Running):
                    await self._watch(answer, call, watcher)
                else:
                    await answer.follow(watcher.send)
        except ClientGone:
            return
        except asyncio.CancelledError:  # by the HTTP server, whose time to drain is over
            if not watcher.begun:
                raise
            await watcher.break_off(_stopping().failure)

    async def _answer(self, call: Call, run: Run, receive: Receive) -> "_Running | Whole | None":
        """Where the answer comes from; None when the client has gone before that was known."""
        try:
            while True:
                if self._closing:
                    raise _stopping()
                found = self._here(call) or await self._claimed(call, run)  # a client that leaves does not stop a claim
                if found is not None:
                    return found
                async with present(receive):
                    await self._ends_elsewhere(call)
        except ClientGone:
            return None

    def _here(self, call: Call) -> "_Running | None":
        running = self._runs.get(call.key)
        if running is None or not running.open:
            return None
        if running.call.body != call.body:
            raise _other_body()
        return running

    async def _claimed(self, call: Call, run: Run) -> "_Running | Whole | None":
        """The call begun here, or its kept answer; None while it runs elsewhere."""
        claim = Claim(call.key, call.body, f"{self._process} {secrets.token_hex(8)}")
        with ledger_needed():
            found = await ledger.claim(self._pool, claim, self._terms)
        match found.state:
            case State.MINE:
                return self._begin(call, claim, run)
            case State.DONE:
                return _opened(self._seal, call.key, found.answer)
            case State.OTHER:
                raise _other_body()
            case _:
                return None

    def _begin(self, call: Call, claim: Claim, run: Run) -> "_Running":
        running = self._runs[call.key] = _Running(call, claim, self._timing.grace)
        if self._closing:
            running.audience.abandon()
        task = asyncio.create_task(self._carry_out(running, run), name="idempotent call")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return running

    async def _ends_elsewhere(self, call: Call) -> None:
        """Wait until it is worth asking for the call again. Raises `Refused(DEADLINE)`."""
        state, pause = State.RUNNING, self._timing.first_pause
        while state is State.RUNNING and self._here(call) is None and not self._closing:
            left = call.deadline - self._now()
            if left <= 0:
                raise _too_late()
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, self._timing.longest_pause)
            with ledger_needed():
                state = (await ledger.look(self._pool, call.key, call.body)).state

    async def _watch(self, running: "_Running", call: Call, watcher: Watcher) -> None:
        recording = running.recording
        with running.audience.joined():
            if running.call is not call:  # the one who runs it is told by the run itself
                await self._beginning(recording, call.deadline)
            await recording.follow(watcher.send)
        if recording.complete:
            return
        broken = _stopping() if self._closing else Refused(Kind.INTERNAL, "The request could not be processed.")
        if not watcher.begun:
            raise broken
        await watcher.break_off(broken.failure)

    async def _beginning(self, recording: Recording, deadline: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, deadline - self._now())):
                await recording.beginning()
        except TimeoutError:
            raise _too_late() from None

    async def _carry_out(self, running: "_Running", run: Run) -> None:
        try:
            await run(running.audience.receive, running.recording.send)
        except Exception:  # noqa: BLE001 (a bug there must not keep the claim)
            _LOG.exception("an idempotent call failed")
        finally:
            running.recording.close()
            try:
                await self._settle(running)
            finally:
                running.audience.abandon()
                if self._runs.get(running.call.key) is running:
                    del self._runs[running.call.key]

    async def _settle(self, running: "_Running") -> None:
        """Keep the answer or release the claim; while the ledger is away, try as long as the claim would have held."""
        answer = _worth_keeping(running.recording)
        running.kept = answer is not None
        sealed = None if answer is None else _sealed(self._seal, running.call.key, answer)
        try:
            async with asyncio.timeout(_LAST_WRITE if self._closing else self._timing.lease):
                await self._settled(running.claim, sealed)
        except TimeoutError:
            _LOG.warning("the end of an idempotent call could not be stored: it can be run again when its claim ends")

    async def _settled(self, claim: Claim, sealed: bytes | None) -> None:
        while True:
            try:
                if sealed is None:
                    await ledger.release(self._pool, claim)
                elif not await ledger.finish(self._pool, claim, sealed, self._terms.keep):
                    _LOG.warning("another process runs an idempotent call again: its claim was not renewed in time")
                return
            except AWAY:
                await asyncio.sleep(self._timing.retry)
            except FAILED as problem:
                _LOG.error("the end of an idempotent call cannot be stored: %s", described(problem))
                return

    async def _keep_house(self) -> None:
        """Renew every third of a lease what runs here, sooner after a failure, so that nobody takes it over."""
        third = pause = self._timing.lease / 3
        failing = False
        while True:
            await asyncio.sleep(pause)
            claims = [running.claim for running in self._runs.values()]
            try:
                async with asyncio.timeout(third):
                    if claims:
                        await ledger.renew(self._pool, claims, self._terms)
                    await ledger.purge(self._pool)
                pause, failing = third, False
            except FAILED as problem:
                if not failing:
                    _LOG.warning("the claims of idempotent calls could not be looked after: %s", described(problem))
                pause, failing = min(third, self._timing.retry), True


class _Running:
    """A call that runs in this process."""

    def __init__(self, call: Call, claim: Claim, grace: float) -> None:
        self.call = call
        self.claim = claim
        self.recording = Recording()
        self.audience = Audience(grace)
        self.kept = True  # False as soon as it is known that its answer will not be

    @property
    def open(self) -> bool:
        """True while others with the same key may join."""
        return self.kept and not self.audience.abandoned


def _worth_keeping(recording: Recording) -> Whole | None:
    """The answer, if it is whole, not too long, and would be the same if the call ran again."""
    answer = recording.whole() if recording.size <= MOST_KEPT else None
    if answer is None or answer.failed:
        return None
    lasting = 200 <= answer.status < 300 or (400 <= answer.status < 500 and answer.status not in _CURABLE)
    return answer if lasting else None


def _sealed(seal: Seal, key: str, answer: Whole) -> bytes:
    return seal.close_bytes(msgspec.msgpack.encode(answer), key.encode())


def _opened(seal: Seal, key: str, sealed: bytes) -> Whole:
    return msgspec.msgpack.decode(seal.open_bytes(sealed, key.encode()), type=Whole)


def _other_body() -> Refused:
    return Refused(Kind.CONFLICT, f"This {HEADER} was used with another request body.", param=HEADER)


def _too_late() -> Refused:
    return Refused(Kind.DEADLINE, "The request's deadline passed before the same call's answer came.")


def _stopping() -> Refused:
    return Refused(Kind.DRAINING, "The server is shutting down.")
