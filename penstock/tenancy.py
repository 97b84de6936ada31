"""Who may call and pay, for the API role: keyring, purse, cashier, office, and the events that keep them true."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import tzinfo

import httpx

from api.authenticate import DoorRules, Gatekeeper
from api.estimate import Estimator
from api.keyring import Keyring
from api.management.keys import KeyDesk
from api.management.office import Office
from api.management.registrar import Registrar
from api.management.rules import TeamRules, UserRules
from api.payers import Payers
from api.payment import Cashier
from api.purse import Purse
from api.signing_keys import SigningKeys
from api.tokens import Tokens
from broker.seal import Seal
from ledger.access import find_user
from ledger.directory import Directory
from ledger.pepper import Pepper, pepper
from ledger.pool import Pool, ledger_needed
from ledger.prices import PriceBook
from ledger.terms import proxy_terms
from penstock.configuration.problems import ConfigurationError
from penstock.house import House, ended
from penstock.jwks import client, fetcher
from penstock.rules import Rulebook, rulebook
from schemas.access import Access, Account
from schemas.config import Config, Jwt
from schemas.envelope import Changed, Event, Scarce
from schemas.failures import Kind, Refused
from schemas.params import address
from workers.providers.registry import describe

_AT_ONCE = 1000  # names in one event


@dataclass(frozen=True, slots=True)
class Present:
    """What management routes work by; one object for each configuration."""

    office: Office
    keys: KeyDesk
    users: UserRules
    teams: TeamRules
    bases: Callable[[], Mapping[str, str]]  # where each deployment is called, by its id


class Tenancy:
    """Who may call and pay, of one API process. `present` and the gatekeeper's rules are replaced by `adopt`."""

    def __init__(self, house: House, pool: Pool, prices: PriceBook) -> None:
        config, clock = house.config, asyncio.get_running_loop().time
        salt = config.settings.salt_key
        self._house = house
        self._pool = pool
        self._seal = None if salt is None else Seal(salt.get_secret_value())
        self._salted = _Salted(pool, self._seal)
        self._client: httpx.AsyncClient | None = None
        self._keys: tuple[Jwt, SigningKeys] | None = None
        book = rulebook(config, self._seal)
        self.keyring = Keyring(pool, self._salted, book.terms, clock, time.time)
        self.purse = _purse(house, pool, book.zone)
        self._payers = Payers(pool, clock, config.tenants.customer_budget)
        self.gatekeeper = Gatekeeper(config.settings.master_key, self.keyring)
        self.cashier = Cashier(self.purse, Estimator(prices), self._payers)
        self._settle(config, book)

    def judge(self, config: Config) -> None:
        """Raises `ConfigurationError` for rules that make no sense."""
        rulebook(config, self._seal)

    def adopt(self, config: Config) -> None:
        """Go by the rules of this configuration from now on: all of them in one step."""
        if (config.access, config.tenants) == self._rules:
            return
        book, tenants = rulebook(config, self._seal), config.tenants
        self.keyring.adopt(book.terms)
        self.purse.adopt(book.zone, tenants.budget_exceeded_status)
        self._payers.adopt(tenants.customer_budget)
        self._settle(config, book)

    def changed(self, names: Sequence[str]) -> None:
        """These entities are others now."""
        for forget in (self.keyring.changed, self.purse.changed, self._payers.changed):
            forget(names)
        tokens = self.gatekeeper.rules.tokens
        if tokens is not None:
            tokens.forget(frozenset(names))

    def heard(self, event: Event) -> None:
        """What another process says."""
        match event:
            case Changed(names=names):
                self.changed(names)
            case Scarce(by=by, accounts=accounts) if by != self._house.name:
                self.purse.recall(accounts)
            case _:
                pass

    async def close(self) -> None:
        """Give back what is held."""
        await self.purse.close()
        if self._client is not None:
            await self._client.aclose()

    def _settle(self, config: Config, book: Rulebook) -> None:
        self._rules = config.access, config.tenants
        rules = DoorRules(
            book.addresses,
            book.rights,
            self._tokens(config.access.jwt, book),
            config.access.enforced_params,
            proxy_terms(book.terms),
            config.access.record_addresses,
        )
        self.gatekeeper.rules = rules
        self.present = Present(
            Office(self._pool, self.gatekeeper.admit_to_management(rules), self._tell, book.zone),
            KeyDesk(self._salted, book.keys, seal=self._seal),
            book.users,
            book.teams,
            self._bases,
        )

    def _tokens(self, jwt: Jwt | None, book: Rulebook) -> Tokens | None:
        if jwt is None:
            return None
        if self._keys is None or self._keys[0] != jwt:
            self._client = self._client or client()
            self._keys = jwt, SigningKeys(fetcher(jwt, self._client), jwt.key_ttl, jwt.key_stale_ttl)

        async def find(user: str | None, team: str | None, organization: str | None) -> Access:
            with ledger_needed():
                return await find_user(self._pool, user, team, organization, book.terms)

        directory = Directory(self._pool, self._tell, Registrar(book.users, book.teams))
        return Tokens(jwt, self._keys[1], directory, find)

    def _bases(self) -> Mapping[str, str]:
        deployments = self._house.current.config.deployments
        return {one.id: address(base) for one in deployments if (base := one.api_base or describe(one.provider).base)}

    def _tell(self, touched: frozenset[str]) -> None:
        names = sorted(touched)
        for first in range(0, len(names), _AT_ONCE):
            self._house.events.tell(Changed(tuple(names[first : first + _AT_ONCE])))


def open_tenancy(house: House, pool: Pool, prices: PriceBook, stack: AsyncExitStack) -> Tenancy:
    """Everything, listening to what other processes change. Raises `Refused` for rules that make no sense."""
    try:
        found = Tenancy(house, pool, prices)
    except ConfigurationError as wrong:
        raise Refused(Kind.INVALID_REQUEST, str(wrong)) from None
    found.purse.start()
    stack.push_async_callback(found.close)
    house.events.listen(found.heard)
    following = asyncio.create_task(found.keyring.follow(found.changed), name="follow changes")
    stack.push_async_callback(ended, following)
    return found


@dataclass(slots=True)
class _Salted:
    """The pepper, read when it is first needed."""

    pool: Pool
    seal: Seal | None
    known: Pepper | None = None

    async def __call__(self) -> Pepper:
        if self.known is None:
            self.known = await pepper(self.pool, self.seal)
        return self.known


def _purse(house: House, pool: Pool, zone: tzinfo) -> Purse:
    def scarce(accounts: tuple[Account, ...]) -> None:
        house.events.tell(Scarce(house.name, accounts[:_AT_ONCE]))

    clock = asyncio.get_running_loop().time
    settings, status = house.config.settings, house.config.tenants.budget_exceeded_status
    return Purse(pool, house.name, clock, time.time, scarce, zone, settings.lease, status, settings.usage_lag)
