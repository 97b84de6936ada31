"""What every management route works with: who asks, the ledger, and changes that are audited and told to everybody.

Routes take `Desk` and `Caller` as parameters; what is `present` holds the one `Office`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request, Response
from msgspec import structs

from ledger import audit, changes
from ledger.pool import Connection, Pool, ledger_needed, storable
from schemas.access import Access
from schemas.failures import Kind, Refused

_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=str)
_CHANGED_BY = "litellm-changed-by"
_LONGEST_NAME = 150


@dataclass(slots=True)
class Change:
    """One transaction of a management call. What it `touches` is told to every process once it is committed."""

    connection: Connection
    access: Access
    touched: set[str] = field(default_factory=set)

    def touches(self, entity: str, *ids: str | None) -> None:
        """What was remembered about these is void. `entity`: key, team, user, organization, customer, budget, tag."""
        self.touched.update(f"{entity}:{one}" for one in ids if one)

    async def record(
        self,
        action: str,
        entity: str,
        id: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Into the audit log; and the entity is touched."""
        self.touches(entity, id)
        entry = audit.Entry(self.access.actor, self.access.caller.key_hash, action, entity, id, before, after)
        await audit.record(self.connection, entry)


@dataclass(frozen=True, slots=True)
class Office:
    """The desk of the management routes; one per process.

    `admit` gives the access behind a request's key once its role allows the route. `tell` sends the names of touched
    entities to every process.
    """

    pool: Pool
    admit: Callable[[Request], Awaitable[Access]]
    tell: Callable[[frozenset[str]], None]
    zone: tzinfo = UTC  # whose calendar budgets follow
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @contextmanager
    def reading(self) -> Iterator[Pool]:
        """The pool; what it raises becomes `Refused`: 503 when Postgres is away, 400 for a value that cannot be."""
        with ledger_needed(), storable():
            yield self.pool

    @asynccontextmanager
    async def change(self, access: Access) -> AsyncIterator[Change]:
        """A transaction, committed when the block ends well. Raises `Refused` as `reading` does."""
        with ledger_needed(), storable():
            async with self.pool.acquire() as connection, connection.transaction():
                change = Change(connection, access)
                yield change
                if change.touched:
                    await changes.note(connection, change.touched)
        if change.touched:
            self.tell(frozenset(change.touched))


def present(request: Request) -> Any:
    """What routes work by, as it was when the request came: a new configuration counts for those that come later."""
    return request.scope.get(PRESENT) or request.app.state


async def _office(request: Request) -> Office:
    found: Office = present(request).office
    return found


async def admit(request: Request) -> Access:
    """Who asks. Raises `Refused` when that is nobody, or may not call the route."""
    access = await (await _office(request)).admit(request)
    named = request.headers.get(_CHANGED_BY)
    return access if named is None else _on_behalf(access, named)


def _on_behalf(access: Access, named: str) -> Access:
    """With the name under which a proxy admin has its changes logged. One without a key, by which it would still be
    known who that was, acts under its own."""
    if not access.is_admin or not access.caller.key_hash or not named:
        return access
    if len(named) > _LONGEST_NAME or not named.isprintable():
        said = f"{_CHANGED_BY} must be printable, of at most {_LONGEST_NAME} characters."
        raise Refused(Kind.INVALID_REQUEST, said, param=_CHANGED_BY)
    return structs.replace(access, changes_as=named)


PRESENT = "penstock.present"
"""Where the door puts what is present into the scope of a request."""
Desk = Annotated[Office, Depends(_office)]
"""The office, as a route's parameter."""
Caller = Annotated[Access, Depends(admit)]
"""Who asks, as a route's parameter; a route without it is open to everybody."""


def answer(value: Any, status: int = 200) -> Response:
    """JSON: times as ISO 8601, money as a number."""
    return Response(_ENCODER.encode(value), status, media_type="application/json")


def missing(entity: str, id: object) -> Refused:
    """There is no such thing: a 404."""
    return Refused(Kind.NOT_FOUND, f"There is no {entity} '{str(id)[:200]}'.", param=f"{entity}_id")


def forbidden(what: str) -> Refused:
    """The caller's role does not allow it: a 403."""
    return Refused(Kind.FORBIDDEN, f"This key may not {what}.")
