"""Usage events on their way to the ledger: kept here until the bus has taken them over, on disk if it must be.

An event is posted with confirmation and posted again after every failure, for as long as the process lives; its
attempt id makes a second delivery harmless. What is still here at shutdown goes to the spool, a folder of one file
per process, and is sent by the next process that opens the same folder.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Awaitable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from broker.port import Address, Bus, BusError, Message
from broker.topology import USAGE, USAGE_QUEUE
from schemas.usage import UsageEvent, decode, encode

_LOG = logging.getLogger("penstock.outbox")
_TO = Address(USAGE, USAGE_QUEUE)
_RETRY = 0.5  # seconds between two tries of what the bus refused
_AT_ONCE = 500  # spooled events that wait for their confirmation together


class Outbox:
    """The usage events of one process that the bus has not confirmed yet."""

    def __init__(self, bus: Bus, spool: Path) -> None:
        self._bus = bus
        self._spool = spool
        self._held: dict[str, bytes] = {}

    @property
    def held(self) -> int:
        """How many events are not confirmed yet."""
        return len(self._held)

    def report(self, event: UsageEvent) -> Coroutine[Any, Any, None]:
        """Post the event now, before whatever is sent after it.

        What is returned ends when the event is the bus's responsibility. Cancelled before, the event stays held.
        """
        data = encode(event)
        self._held[event.attempt] = data
        return self._confirmed(event.attempt, data, self._post(event.attempt, data))

    def take_back(self, events: Mapping[str, bytes]) -> None:
        """Hold events again that a bus had taken over and is about to lose; by attempt id."""
        self._held.update(events)

    def spill(self) -> int:
        """Write what is still held to the spool; the number of events. Called once, last, at shutdown."""
        if not self._held:
            return 0
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._spool / f"usage-{os.getpid()}-{os.urandom(4).hex()}.jsonl"
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.writelines(data + b"\n" for data in self._held.values())
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        return len(self._held)

    async def send_spooled(self) -> int:
        """Send what earlier processes left in the spool; each file is deleted once all of it is confirmed.

        Any number of processes may do so on one folder. Cancelled, or killed, whatever is not deleted is still there.
        """
        count = 0
        for path in sorted(self._spool.glob("usage-*.jsonl")):
            with _claimed(path) as file:
                if file is None:
                    continue
                events = _read(file, path)
                for at in range(0, len(events), _AT_ONCE):
                    batch = events[at : at + _AT_ONCE]
                    await asyncio.gather(*(self._delivered(event.attempt, encode(event)) for event in batch))
                path.unlink()
                count += len(events)
        if count:
            _LOG.info("%d usage events from the spool are on their way", count)
        return count

    async def _confirmed(self, attempt: str, data: bytes, posted: Awaitable[None]) -> None:
        await self._delivered(attempt, data, posted)
        self._held.pop(attempt, None)

    async def _delivered(self, attempt: str, data: bytes, posted: Awaitable[None] | None = None) -> None:
        while True:
            try:
                await (posted or self._post(attempt, data))
                return
            except BusError:
                posted = None
                await asyncio.sleep(_RETRY)

    def _post(self, attempt: str, data: bytes) -> Awaitable[None]:
        return self._bus.publish(_TO, Message(data, id=attempt, durable=True))


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[BinaryIO | None]:
    """The file, locked as long as we live; None when another process has the lock, or has sent and deleted it."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):
            yield None
            return
        yield file if path.exists() else None  # it may have been deleted between opening and locking


def _read(file: BinaryIO, path: Path) -> list[UsageEvent]:
    events = []
    for line in file:
        try:
            events.append(decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            bad = path.with_suffix(".bad")
            _LOG.error("a spooled usage event cannot be read: it is kept in %s", bad.name)
            with bad.open("ab") as kept:
                kept.write(line)
    return events
