"""Virtual keys as this process knows them: forgotten when an event, or the list of changes in the ledger, names them.

The list is asked for every quarter of a minute. While it answers, nothing that is remembered can be older than that;
when it does not, a key that was known works for a minute more.
"""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from api.guesses import Guesses
from ledger.access import find_key
from ledger.changes import KEPT, recent
from ledger.pepper import Pepper
from ledger.pool import FAILED, Pool, described, ledger_needed
from ledger.terms import Rules
from schemas.access import TEAM_GONE, Access
from schemas.failures import Kind, Refused

_LOG = logging.getLogger("penstock.keys")
KNOWN = 60.0
"""Seconds for which what was read of a key is believed, unless it is known that it has not changed."""
_ASK = 15.0  # seconds between two questions for changes
_OVERLAP = 120.0  # seconds of changes that are asked for more: transactions are seen when they end
_TRIES = 3  # lookups of a key while something changes
_MOST = 100_000  # keys remembered
_MOST_UNKNOWN = 10_000


@dataclass(slots=True)
class _Kept:
    access: Access
    until: float


@dataclass(slots=True)
class Keyring:
    """`clock` is monotonic, `now` in seconds since the epoch; `pepper` is asked until it has answered once."""

    pool: Pool
    pepper: Callable[[], Awaitable[Pepper]]
    rules: Rules
    clock: Callable[[], float]
    now: Callable[[], float]
    lookups: int = 0
    _salt: Pepper | None = None
    _kept: OrderedDict[str, _Kept] = field(default_factory=OrderedDict)
    _unknown: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _guesses: Guesses = field(init=False)
    _reading: dict[str, "asyncio.Task[Access | None]"] = field(default_factory=dict)
    _changes: int = 0
    _true_until: float = 0.0  # what is remembered is true until then, as far as changes tell
    _asked: float | None = None  # when the last answer was asked for

    def __post_init__(self) -> None:
        self._guesses = Guesses(self.clock)

    def known(self, key: bytes) -> Access | None:
        """The access of a key that was looked up within the last minute. Raises `Refused` as `find` does."""
        if self._salt is None:
            return None
        hash = self._salt.hash(key)
        kept = self._kept.get(hash)
        if kept is None:
            return None
        clock = self.clock()
        if clock >= kept.until and clock >= self._true_until:
            return None
        return self._usable(kept.access)

    async def find(self, key: bytes, address: str) -> Access:
        """The access of a key. Raises `Refused`: KEY_UNKNOWN, _EXPIRED, _BLOCKED, TEAM_GONE, TOO_MANY_UNKNOWN …"""
        with ledger_needed():
            if self._salt is None:
                self._salt = await self.pepper()
            hash = self._salt.hash(key)
            unknown = self._unknown.get(hash)
            if unknown is not None and self.clock() < unknown:
                raise _unknown_key()
            self._guesses.check(address)
            access = await asyncio.shield(self._read(hash))
        if access is None:
            self._guesses.count(address)
            raise _unknown_key()
        return self._usable(access)

    def changed(self, names: Iterable[str]) -> None:
        """Forget every key that depends on one of these (`key:<id>`, `team:<id>` …)."""
        self._changes += 1
        gone = set(names)
        for hash in [hash for hash, kept in self._kept.items() if not gone.isdisjoint(kept.access.depends)]:
            del self._kept[hash]
        if any(name.startswith("key:") for name in gone):
            self._unknown.clear()

    def adopt(self, rules: Rules) -> None:
        """From now on accesses are made by these; what was made by others is forgotten, lookups under way too."""
        self.rules = rules
        self._changes += 1
        self._kept.clear()

    async def follow(self, changed: Callable[[Sequence[str]], None]) -> None:
        """For ever: tell of changes that may have been missed."""
        while True:
            asked = self.clock()
            try:
                since = math.inf if self._asked is None else asked - self._asked
                names = await recent(self.pool, min(since, KEPT) + _OVERLAP)
                if since + _OVERLAP > KEPT:
                    self._kept.clear()
                changed(names)
                self._asked, self._true_until = asked, asked + KNOWN
            except FAILED as problem:
                _LOG.warning("changes of keys cannot be looked for: %s", described(problem))
            await asyncio.sleep(_ASK)

    def _usable(self, access: Access) -> Access:
        if access.expires is not None and self.now() >= access.expires:
            said = f"Authentication Error - Expired Key. Key={access.shown} has expired."
            raise Refused(Kind.KEY_EXPIRED, said, param=access.shown)
        refuse_blocked(access)
        return access

    def _read(self, hash: str) -> "asyncio.Task[Access | None]":
        """One lookup at a time for a key, however many ask."""
        task = self._reading.get(hash)
        if task is None:
            task = self._reading[hash] = asyncio.create_task(self._look_up(hash), name="read a key")
            task.add_done_callback(lambda done: self._was_read(hash, done))
        return task

    async def _look_up(self, hash: str) -> Access | None:
        self.lookups += 1
        for _ in range(_TRIES):
            before, asked = self._changes, self.clock()
            access = await find_key(self.pool, hash, self.rules)
            if before == self._changes:  # else it may be what it was before the change
                break
        else:  # others change all the time: it is good for those who wait, and for nobody later
            return access
        if access is None:
            self._kept.pop(hash, None)
            self._unknown[hash] = asked + KNOWN
            if len(self._unknown) > _MOST_UNKNOWN:
                self._unknown.popitem(last=False)
            return None
        self._kept[hash] = _Kept(access, asked + KNOWN)
        self._kept.move_to_end(hash)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return access

    def _was_read(self, hash: str, task: "asyncio.Task[Access | None]") -> None:
        del self._reading[hash]
        if not task.cancelled() and (problem := task.exception()) is not None:
            if not isinstance(problem, FAILED):
                _LOG.error("a key could not be read", exc_info=problem)
            else:
                _LOG.warning("a key could not be read: %s", described(problem))


def _unknown_key() -> Refused:
    return Refused(Kind.KEY_UNKNOWN, "Authentication Error, Invalid API key provided.", param="key")


def refuse_blocked(access: Access) -> None:
    """Raises `Refused`: KEY_BLOCKED when the key or its team is blocked, TEAM_GONE when its team does not exist."""
    if access.blocked.startswith(TEAM_GONE):
        team = access.blocked.removeprefix(TEAM_GONE)
        said = f"Team doesn't exist in db. Team={team}. Create team via `/team/new` call."
        raise Refused(Kind.TEAM_GONE, said, param="team_id")
    if access.blocked:
        raise Refused(Kind.KEY_BLOCKED, _blocked(access.blocked))


def _blocked(what: str) -> str:
    if what == "key":
        return "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin."
    team = what.removeprefix("team ")
    return f"Authentication Error, Team={team} is blocked. Update via `/team/unblock` if you're an admin."
