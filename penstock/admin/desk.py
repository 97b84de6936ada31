"""The management routes in this process, asked by the administrator: the commands do what HTTP does, word for word."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import httpx

from api.app import bare
from api.management.keys import KeyDesk
from api.management.office import Office
from api.management.routers import ROUTERS
from broker.seal import Seal
from ledger.pepper import Pepper, pepper
from ledger.pool import Pool
from penstock.admin.running import config, database, ledger, run
from penstock.admin.telling import tell
from penstock.configuration.problems import ConfigurationError
from penstock.rules import rulebook
from penstock.version import VERSION
from schemas.access import Access, Role
from schemas.config import Config
from schemas.usage import Caller

T = TypeVar("T")
_ADMIN = Access(caller=Caller(key_alias="penstock admin"), role=Role.ADMIN)
_PAGE = 100
_MOST_TEAMS = 1000  # of one alias, or with it in theirs


class Desk:
    """Asks the routes. All raise `click.ClickException` with what a route refuses."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, **query: Any) -> Any:
        """The answer to a GET; what is None is not asked for."""
        given = {name: value for name, value in query.items() if value is not None}
        return _read(await self._http.get(path, params=given))

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a POST."""
        return _read(await self._http.post(path, json=body))

    async def pages(self, path: str, rows: str, limit: int, **query: Any) -> list[dict[str, Any]]:
        """The first `limit` rows of a list that comes in pages; `rows` is what the answer calls them."""
        found: list[dict[str, Any]] = []
        size = "size" if path == "/key/list" else "page_size"
        for page in range(1, -(-limit // _PAGE) + 1):
            part = (await self.get(path, page=page, **{size: min(_PAGE, limit)}, **query))[rows]
            found += part
            if len(part) < _PAGE:
                break
        return found[:limit]


async def team_named(desk: Desk, given: str) -> str:
    """The id of the only team that has this as its id or its alias. Raises `click.ClickException`.

    Ids are chosen, too: that of one team may be the alias of another, which was meant.
    """
    found = set[str]()
    for name in ("team_id", "team_alias"):
        rows = await desk.pages("/v2/team/list", "teams", _MOST_TEAMS, **{name: given})
        found.update(row["team_id"] for row in rows if row[name] == given)
    if len(found) > 1:
        raise click.ClickException(f"Several teams have the id or the alias '{given}': {', '.join(sorted(found))}.")
    if not found:
        raise click.ClickException(f"There is no team with the id or the alias '{given}'.")
    return found.pop()


async def with_team(desk: Desk, fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a request, with the id of the team that they name."""
    team = fields.get("team_id")
    return {**fields, "team_id": await team_named(desk, team)} if isinstance(team, str) and team else fields


def at_desk(path: Path | None, work: Callable[[Desk], Awaitable[T]]) -> T:
    """What the work gives. Processes that are running are told of what it changes, also when its end fails."""
    found: T = run(_at_desk(config(path), work))
    return found


async def _at_desk(of: Config, work: Callable[[Desk], Awaitable[T]]) -> T:
    touched: set[str] = set()
    async with ledger(database(of), size=2) as pool, _opened(of, pool, touched.update) as desk:
        try:
            return await work(desk)
        finally:
            await tell(of, frozenset(touched))


@asynccontextmanager
async def _opened(of: Config, pool: Pool, heard: Callable[[frozenset[str]], None]) -> AsyncIterator[Desk]:
    salt = of.settings.salt_key
    seal = None if salt is None else Seal(salt.get_secret_value())

    async def admit(_: object) -> Access:
        return _ADMIN

    async def salted() -> Pepper:
        return await pepper(pool, seal)

    try:
        book = rulebook(of, seal)
    except ConfigurationError as wrong:
        raise click.ClickException(str(wrong)) from None
    app = bare(
        ROUTERS,
        VERSION,
        office=Office(pool, admit, heard, book.zone),
        keys=KeyDesk(salted, book.keys, seal=seal),
        users=book.users,
        teams=book.teams,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin", timeout=None) as http:  # noqa: S113
        yield Desk(http)


def _read(response: httpx.Response) -> Any:
    if response.status_code >= 400:
        raise click.ClickException(" ".join(response.json()["error"]["message"].split()))
    return response.json()
