"""The configuration of a running process: made anew when its file or the models in the ledger change.

Whatever works by the configuration follows it: a new one is brought to the bus, which declares its queues, then to one
follower after the other, in the order in which they came. `Settings` are not among what can change: what is held back
of a new configuration is told and waits for a restart (docs/adr/0015).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from broker.control import TopologyError
from broker.events import Events
from broker.port import Bus, BusError
from broker.seal import Seal
from broker.topology import topology_of
from ledger import credentials, models
from ledger.credentials import Credential
from ledger.models import Model, Row
from ledger.pool import FAILED, Pool, ledger_needed
from penstock.configuration.loading import Written
from penstock.configuration.problems import ConfigurationError, Wrong
from penstock.configuration.source import Node
from penstock.configuration.stored import entry, given, unsealed
from penstock.discovery import joined
from penstock.needs import Source
from schemas.config import Config, Deployment
from schemas.envelope import Event, ModelsChanged, Reload
from schemas.failures import Kind, Refused

_LOG = logging.getLogger("penstock")
_EVERY = 60.0  # seconds after which the models are read again even if nobody has said that they changed
_AGAIN = 2.0  # seconds after which what failed is tried again
_PATIENCE = 3.0  # seconds that a start waits for a ledger that it can do without
_WAITS = (0.05, 0.1, 0.2, 0.4)  # seconds between two looks for queues that another process declares

Follower = Callable[[Config], Awaitable[None]]
Judge = Callable[[Config], object]
"""Raises `ConfigurationError` for a configuration that it could not work by."""


class Change(NamedTuple):
    """What a new configuration brought. `ignored` are settings that are others now and wait for a restart."""

    added: tuple[Deployment, ...]
    removed: tuple[Deployment, ...]
    changed: tuple[Deployment, ...]
    ignored: tuple[str, ...]
    warnings: tuple[str, ...]


class Kept(NamedTuple):
    """What the ledger has beside the file."""

    rows: tuple[Row, ...] = ()
    credentials: tuple[Credential, ...] = ()

    def opened(self, seal: Seal | None) -> tuple[list[Node], dict[str, Node | None], list[str]]:
        """Models and credentials as the file would have them, and warnings of those that cannot be opened."""
        entries, named, warnings = list[Node](), dict[str, Node | None](), list[str]()
        for credential in self.credentials:
            try:
                named[credential.name] = given(credential, unsealed(credential, seal))
            except Wrong as wrong:
                warnings.append(f"the credential {credential.name} is left out: {wrong}")
        for model in (row.model for row in self.rows if not row.model.blocked):
            called = f"the model {model.id}"
            try:
                entries.append(entry(model, unsealed(model, seal), called))
            except Wrong as wrong:
                warnings.append(f"{called} is left out: {wrong}")
        return entries, named, warnings


class Current:
    """The present configuration of one process. `written` is its file as it was read, `config` what was made of it."""

    def __init__(
        self, source: Source, written: Written, config: Config, discovered: tuple[Deployment, ...] = ()
    ) -> None:
        self.source = source
        self.config = config
        self.kept = Kept()
        self.name = ""
        self.on_news: Callable[[], None] = lambda: None  # told when the configuration is about to change, and has
        self._written = written
        self._discovered = discovered
        self._followers: list[Follower] = []
        self._judges: list[Judge] = []
        self._bus: Bus | None = None
        self._events: Events | None = None
        self._pool: Pool | None = None
        self._lock = asyncio.Lock()
        self._unfinished = False  # a part did not get the configuration
        self._news = asyncio.Event()
        self._asked = False  # to read the file again
        self._heard_for = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """The models in the ledger."""
        return self.kept.rows

    def connect(self, bus: Bus, events: Events, name: str) -> None:
        """Declare queues on this bus, and hear and tell events as the process of this name."""
        self._bus, self._events, self.name = bus, events, name
        events.listen(self._heard)

    def follow(self, follower: Follower, judge: Judge | None = None) -> None:
        """Have `follower` brought every new configuration. It must stand being brought the same one twice.

        `judge` is asked before anybody is brought it, in a thread.
        """
        self._followers.append(follower)
        if judge is not None:
            self._judges.append(judge)

    async def begin(self, pool: Pool, *, needed: bool = True) -> None:
        """From now on the models in this ledger count. One that is not `needed` may be away, and be read later.

        Raises `Refused`: the ledger, or the message queue, is away.
        """
        if self._pool is not None:
            return
        self._pool = pool
        try:
            async with asyncio.timeout(None if needed else _PATIENCE):
                await self.reread()
        except (*FAILED, Refused, BusError) as problem:
            if needed:
                raise
            _LOG.warning("the models in the ledger are not known yet: %s", problem or type(problem).__name__)
            self._news.set()

    def start(self) -> None:
        """Begin to follow what other processes and the operator ask for."""
        self._task = asyncio.create_task(self._keep(), name="configuration")

    async def stop(self) -> None:
        """Stay as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def ask(self) -> None:
        """Read the file again, soon; what comes of it is logged."""
        self._asked = True
        self.look_again()

    def look_again(self) -> None:
        """Read the models again, soon."""
        self.on_news()
        self._news.set()

    async def reload(self) -> Change:
        """Read the file, and the models, again.

        Raises `ConfigurationError`, and then nothing has changed; `Refused(BUS_DOWN)` when it is right and has not
        reached everything yet, which it will.
        """
        async with self._lock:
            written = await asyncio.to_thread(self.source.read)
            kept = self.kept if self._pool is None else await _kept(self._pool)
            return await self._adopt(written, kept)

    async def reread(self) -> None:
        """Read what the ledger has again. Raises `Refused` as `reload` does, and when the ledger is away."""
        if self._pool is None:
            return
        async with self._lock:
            kept = await _kept(self._pool)
            if kept != self.kept or self._unfinished:
                await self._adopt(self._written, kept)

    async def judge(self, model: Model, secrets: Mapping[str, Any]) -> None:
        """Whether the model could be one of ours. Raises `ConfigurationError` with what is wrong with it."""
        others = self.kept._replace(rows=tuple(row for row in self.rows if row.model.id != model.id))
        try:
            judged = entry(model, secrets)
        except Wrong as wrong:
            raise ConfigurationError([str(wrong)]) from None
        await asyncio.to_thread(self._made, self._written, others, judged)

    async def judge_credential(self, name: str, values: Node | None) -> None:
        """Whether no model is lost when these are the values of a stored credential, or when it is no more (None).

        Raises `ConfigurationError` with what is lost, and why.
        """
        made, _ = await asyncio.to_thread(self._made, self._written, self.kept, None, {name: values})
        lost = {one.id for one in self.config.deployments} - {one.id for one in made.deployments}
        if lost:
            new = [warning for warning in made.warnings if warning not in self.config.warnings]
            raise ConfigurationError(new or [f"the model {id} is left out" for id in sorted(lost)])

    def tell_models(self) -> None:
        """Tell the other processes that the models have changed."""
        self.on_news()
        if self._events is not None:
            self._events.tell(ModelsChanged(self.name))

    def tell_reload(self) -> None:
        """Ask the other processes to read their files again."""
        if self._events is not None:
            self._events.tell(Reload(self.name))

    async def _adopt(self, written: Written, kept: Kept) -> Change:
        before = self.config
        self.on_news()
        made, ignored = await asyncio.to_thread(self._made, written, kept)
        self._written, self.kept, self._unfinished = written, kept, True
        try:
            await self._reach(made)
        except BusError as problem:
            said = f"The configuration is right, and counts as soon as the message queue allows it: {problem}"
            raise Refused(Kind.BUS_DOWN, said) from None
        self.config, self._unfinished = made, False
        self.on_news()
        change = _change(before, made, ignored)
        _log(change, before)
        return change

    def _made(
        self,
        written: Written,
        kept: Kept,
        judged: Node | None = None,
        instead: Mapping[str, Node | None] | None = None,
    ) -> tuple[Config, tuple[str, ...]]:
        """A configuration, and the settings that it wants to be others. Not on the event loop: it takes a while.

        `instead` are credentials that are to be others than those which are kept.
        """
        salt = self.config.settings.salt_key
        entries, named, warnings = kept.opened(None if salt is None else Seal(salt.get_secret_value()))
        named |= instead or {}
        present = {name: node for name, node in named.items() if node is not None}
        config = joined(self.source.config(written, entries, judged, present), self._discovered)
        for judge in self._judges:
            judge(config)
        known = {deployment.id: deployment for deployment in self.config.deployments}
        update = {
            "settings": self.config.settings,
            "deployments": tuple(_same(known.get(one.id), one) for one in config.deployments),
            "warnings": (*config.warnings, *warnings),
        }
        made = config.model_copy(update=update)
        return made, _held_back(config, made)

    async def _reach(self, config: Config) -> None:
        if self._bus is not None:
            await _arrange(self._bus, config)
        for follower in self._followers:
            await follower(config)

    def _heard(self, event: Event) -> None:
        match event:
            case ModelsChanged(by=by) if by != self.name:
                self.look_again()
            case Reload(by=by) if by != self.name:
                self.ask()
            case _:
                pass
        assert self._events is not None
        heard_for = self._events.heard_for()
        if heard_for < self._heard_for:  # for a while nothing was heard
            self._news.set()
        self._heard_for = heard_for

    async def _keep(self) -> None:
        patience = _EVERY
        while True:
            try:
                async with asyncio.timeout(patience):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            patience = _EVERY if await self._catch_up() else _AGAIN

    async def _catch_up(self) -> bool:
        """False when it did not succeed and may later."""
        asked, self._asked = self._asked, False
        try:
            if asked:
                await self._read_file()
            await self.reread()
        except (*FAILED, Refused, BusError) as problem:
            self._asked = self._asked or asked
            _LOG.warning("the configuration could not be brought up to date: %s", problem or type(problem).__name__)
            return False
        except Exception:  # noqa: BLE001 (whatever it was, the next change must find somebody who listens)
            _LOG.exception("the configuration could not be brought up to date")
        return True

    async def _read_file(self) -> None:
        try:
            await self.reload()
        except ConfigurationError as error:
            _LOG.error("the configuration has errors and stays as it was:\n%s", error)


async def _kept(pool: Pool) -> Kept:
    with ledger_needed():
        return Kept(await models.everything(pool), await credentials.everything(pool))


async def _arrange(bus: Bus, config: Config) -> None:
    """Who may not declare waits for who may: all of them have heard of the change."""
    plan = topology_of(config.deployments, config.settings.queue_bytes)
    for wait in (*_WAITS, None):
        try:
            await bus.extend(plan)
        except TopologyError as problem:
            if wait is None:
                _LOG.warning("requests for some models are refused until their queues are there: %s", problem)
                return
            await asyncio.sleep(wait)
        else:
            return


def _held_back(wanted: Config, made: Config) -> tuple[str, ...]:
    """What is not as the file wants it: looked for in all of it, so that nothing can be held back in silence."""
    found: list[str] = []
    for name in (name for name in Config.model_fields if name != "warnings"):
        here, there = getattr(made, name), getattr(wanted, name)
        if here != there and isinstance(here, BaseModel):
            found += (one for one in type(here).model_fields if getattr(here, one) != getattr(there, one))
        elif here != there:
            found.append(name)
    return tuple(found)


def _same(old: Deployment | None, new: Deployment) -> Deployment:
    return old if old is not None and old == new else new


def _change(before: Config, now: Config, ignored: tuple[str, ...]) -> Change:
    old = {deployment.id: deployment for deployment in before.deployments}
    new = {deployment.id: deployment for deployment in now.deployments}
    return Change(
        added=tuple(one for name, one in new.items() if name not in old),
        removed=tuple(one for name, one in old.items() if name not in new),
        changed=tuple(one for name, one in new.items() if name in old and one != old[name]),
        ignored=ignored,
        warnings=now.warnings,
    )


def _log(change: Change, before: Config) -> None:
    for warning in change.warnings:
        if warning not in before.warnings:
            _LOG.warning(warning)
    for name in change.ignored:
        _LOG.warning("the setting %s is another one now, which counts after a restart", name)
    counts = len(change.added), len(change.removed), len(change.changed)
    _LOG.info("the configuration is a new one: %d deployments added, %d removed, %d changed", *counts)
