"""Who may call and pay, for the API role: keyring, purse, cashier, office, and the events that keep them true."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from api.addresses import Addresses
from api.authenticate import Gatekeeper
from api.estimate import Estimator
from api.keyring import Keyring
from api.management.keys import KeyDesk
from api.management.office import Office
from api.management.rights import Rights
from api.payers import Payers
from api.payment import Cashier
from api.purse import Purse
from api.signing_keys import SigningKeys
from api.tokens import Tokens
from broker.events import Events
from broker.seal import Seal
from ledger.access import find_user
from ledger.directory import Directory
from ledger.pepper import Pepper, pepper
from ledger.pool import Pool, ledger_needed
from ledger.prices import PriceBook
from ledger.terms import Rules
from penstock.house import House, ended
from penstock.jwks import fetcher
from penstock.rules import key_rules, rules_of, team_rules, user_rules
from schemas.access import Access, Account
from schemas.config import AccessSettings
from schemas.envelope import Changed, Event, Scarce
from schemas.failures import Kind, Refused

_AT_ONCE = 1000  # names in one event


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What the API role needs of it."""

    gatekeeper: Gatekeeper
    cashier: Cashier
    state: dict[str, Any]  # what management routes find in the application's state


async def open_tenancy(house: House, pool: Pool, prices: PriceBook, stack: AsyncExitStack) -> Tenancy:
    """Everything, listening to what other processes change."""
    config, clock = house.config, asyncio.get_running_loop().time
    zone, rules = ZoneInfo(config.tenants.timezone), rules_of(config.tenants)
    seal = None if config.settings.salt_key is None else Seal(config.settings.salt_key.get_secret_value())
    salted = _Salted(pool, seal)

    def tell(names: frozenset[str]) -> None:
        _tell(house.events, sorted(names))

    keyring = Keyring(pool, salted, rules, clock, time.time)
    purse = _purse(house, pool, zone)
    payers = Payers(pool, clock, config.tenants.customer_budget)
    tokens = await _tokens(config.access, pool, rules, tell, stack)
    purse.start()
    stack.push_async_callback(purse.close)
    gatekeeper = Gatekeeper(
        config.settings.master_key,
        keyring,
        tokens=tokens,
        addresses=Addresses(
            config.access.allowed_ips, config.access.trusted_proxies, use_forwarded=config.access.use_forwarded
        ),
        rights=Rights(config.access.allowed_routes, config.access.admin_only_routes, config.access.public_routes),
    )

    def changed(names: Sequence[str]) -> None:
        for forget in (keyring.changed, purse.changed, payers.changed):
            forget(names)
        if tokens is not None:
            tokens.forget(frozenset(names))

    house.events.listen(lambda event: _heard(event, house.name, changed, purse))
    following = asyncio.create_task(keyring.follow(changed), name="follow changes")
    stack.push_async_callback(ended, following)
    office = Office(pool, gatekeeper.dependency, tell, zone)
    try:
        state = {
            "office": office,
            "keys": KeyDesk(salted, key_rules(config.tenants), seal=seal),
            "users": user_rules(config.tenants),
            "teams": team_rules(config.tenants, seal),
        }
    except ValueError as wrong:
        raise Refused(Kind.INVALID_REQUEST, f"litellm_settings: {wrong}") from None
    return Tenancy(gatekeeper, Cashier(purse, Estimator(prices), payers), state)


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


async def _tokens(
    access: AccessSettings, pool: Pool, rules: Rules, tell: Callable[[frozenset[str]], None], stack: AsyncExitStack
) -> Tokens | None:
    if access.jwt is None:
        return None
    fetch = await stack.enter_async_context(fetcher(access.jwt))
    keys = SigningKeys(fetch, access.jwt.key_ttl, access.jwt.key_stale_ttl)

    async def find(user: str | None, team: str | None, organization: str | None) -> Access:
        with ledger_needed():
            return await find_user(pool, user, team, organization, rules)

    return Tokens(access.jwt, keys, Directory(pool, tell), find)


def _purse(house: House, pool: Pool, zone: tzinfo) -> Purse:
    def scarce(accounts: tuple[Account, ...]) -> None:
        house.events.tell(Scarce(house.name, accounts[:_AT_ONCE]))

    clock = asyncio.get_running_loop().time
    settings, status = house.config.settings, house.config.tenants.budget_exceeded_status
    return Purse(pool, house.name, clock, time.time, scarce, zone, settings.lease, status, settings.usage_lag)


def _heard(event: Event, own: str, changed: Callable[[Sequence[str]], None], purse: Purse) -> None:
    match event:
        case Changed(names=names):
            changed(names)
        case Scarce(by=by, accounts=accounts) if by != own:
            purse.recall(accounts)
        case _:
            pass


def _tell(events: Events, names: Sequence[str]) -> None:
    for first in range(0, len(names), _AT_ONCE):
        events.tell(Changed(tuple(names[first : first + _AT_ONCE])))
