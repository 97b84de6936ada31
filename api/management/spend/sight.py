"""What a caller may see of the spend, and which rows a key that is named in a query stands for."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from api.management.office import Caller, Desk, Office, forbidden, present
from ledger.pool import Pool
from ledger.sight import EVERYTHING, Sight
from ledger.sql import query
from schemas.access import Access

_GRANTS = frozenset({"/spend/logs", "/team/daily/activity"})


def seen(access: Access) -> Sight:
    """Admins and their viewers see everything; others what is their own, and what they administer.

    A team's whole spend is seen by its members too once it has granted them a report of it.
    """
    if access.reads_all:
        return EVERYTHING
    caller, teams = access.caller, set(access.admin_of_teams)
    if caller.team and access.member_rights & _GRANTS:
        teams.add(caller.team)
    return Sight(
        users=(caller.user,) if caller.user else (),
        keys=(caller.key_hash,) if caller.key_hash else (),
        teams=tuple(sorted(teams)),
        organizations=tuple(sorted(access.admin_of_organizations)),
    )


def own(access: Access) -> Sight:
    """The caller's own spend alone."""
    caller = access.caller
    return Sight(users=(caller.user,) if caller.user else (), keys=(caller.key_hash,) if caller.key_hash else ())


def only(asked: str | None, mine: str, access: Access, name: str) -> str:
    """Which one a report is about: the caller's own, or any one for who sees everything. Raises `Refused`."""
    if asked and asked != mine and not access.reads_all:
        raise forbidden(f"view spend for a {name} other than its own")
    return asked or mine


@dataclass(frozen=True, slots=True)
class View:
    """A reader of reports: who asks, the ledger, what may be seen."""

    office: Office
    access: Access
    pepper: Callable[[], Any]
    bases: Callable[[], Mapping[str, str]] = dict  # where deployments are called, without credentials, by their ids

    @property
    def sight(self) -> Sight:
        """See `seen`."""
        return seen(self.access)

    async def keys(self, given: str | None) -> list[str] | None:
        """The ids that rows have for a key (as its owner has it, its SHA-256, or its id); None for none given."""
        if not given:
            return None
        candidates = (await self.pepper()).candidates(given)
        with self.office.reading() as pool:
            found = await _ids(pool, candidates)
        plain = [hashlib.sha256(given.encode()).hexdigest()] if given.startswith("sk-") else []  # the master key's
        return list(dict.fromkeys([*found, *candidates, *plain]))


async def _ids(pool: Pool, hashes: tuple[str, ...]) -> list[str]:
    return [row["key_id"] for row in await pool.fetch(query("key_ids"), hashes)]


async def _view(desk: Desk, caller: Caller, request: Request) -> View:
    found = present(request)
    return View(desk, caller, found.keys.pepper, getattr(found, "bases", dict))


Viewer = Annotated[View, Depends(_view)]
"""The view, as a route's parameter."""
