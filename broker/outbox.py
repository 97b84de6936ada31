"""Usage events on their way to the ledger: kept here until the bus has taken them over, on disk if it must be.

An event is posted with confirmation and posted again after every failure, for as long as the process lives; its
attempt id makes a second delivery harmless. What is still here at shutdown goes to the spool, a folder of one file
per process, and is sent by the next process that opens the same folder.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from broker.port import Address, Bus, BusError, Message
from broker.topology import USAGE, USAGE_QUEUE
from schemas.usage import UsageEvent, decode, encode

_LOG = logging.getLogger("penstock.outbox")
_TO = Address(USAGE, USAGE_QUEUE)
_RETRY = 0.5  # seconds between two tries of what the bus refused


class Outbox:
    """The usage events of one process that the bus has not confirmed yet."""

    def __init__(self, bus: Bus, spool: Path) -> None:
        self._bus = bus
        self._spool = spool
        self._held: dict[str, bytes] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def held(self) -> int:
        """How many events are not confirmed yet."""
        return len(self._held)

    async def report(self, event: UsageEvent) -> None:
        """Return when the event is the bus's responsibility. Cancelled before, the event stays held."""
        data = encode(event)
        self._held[event.attempt] = data
        self._empty.clear()
        while True:
            try:
                await self._bus.publish(_TO, Message(data, id=event.attempt, durable=True))
                break
            except BusError:
                await asyncio.sleep(_RETRY)
        self._forget(event.attempt)

    def report_soon(self, event: UsageEvent, keep: Callable[[asyncio.Task[None]], None]) -> None:
        """`report` in a task of its own, handed to `keep` so that somebody owns it."""
        keep(asyncio.create_task(self.report(event), name="report usage"))

    async def drained(self, patience: float) -> bool:
        """Wait up to `patience` seconds for everything to be confirmed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._empty.wait()
        return not self._held

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
        """Report what earlier processes left in the spool; each file is deleted once all of it is confirmed."""
        count = 0
        for path in sorted(self._spool.glob("usage-*.jsonl")):
            claimed = path.with_suffix(".sending")
            try:
                path.rename(claimed)  # so that of several processes on one folder only one sends it
            except FileNotFoundError:
                continue
            events = _read(claimed)
            await asyncio.gather(*(self.report(event) for event in events))
            claimed.unlink()
            count += len(events)
        return count

    def recover_claims(self) -> None:
        """Give files back that a process claimed and died over. Called once at start, before `send_spooled`."""
        for path in self._spool.glob("usage-*.sending"):
            path.rename(path.with_suffix(".jsonl"))

    def _forget(self, attempt: str) -> None:
        self._held.pop(attempt, None)
        if not self._held:
            self._empty.set()


def _read(path: Path) -> list[UsageEvent]:
    events = []
    for line in path.read_bytes().splitlines():
        try:
            events.append(decode(line))
        except (msgspec.DecodeError, msgspec.ValidationError):
            _LOG.error("a spooled usage event cannot be read and stays in %s.bad", path.name)
            path.with_suffix(".bad").write_bytes(line + b"\n")
    return events
