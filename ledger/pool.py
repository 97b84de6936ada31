"""Connections to Postgres: the address as users write it, a pool, and what "the ledger is away" means."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from schemas.failures import Kind, Refused

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Asked: TypeAlias = "Pool | Connection"
"""Whatever a single statement can be put to."""

AWAY = (
    OSError,  # refused, reset, no such socket, no such host, TLS, and `TimeoutError`
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,  # the connection or the pool was closed under us
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,  # no such database
    asyncpg.OperatorInterventionError,  # shutting down, starting up, crashed
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.ReadOnlySQLTransactionError,  # a standby: the primary has moved
)
"""What says that Postgres cannot be used now, and that the same statement may succeed later."""

UNFIT = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
"""What says that some value given can never be stored."""

FAILED = (*AWAY, asyncpg.PostgresError, asyncpg.InternalClientError)
"""Everything that a statement can raise."""


async def open_pool(url: str, *, size: int = 8, patience: float = 30.0) -> Pool:
    """A pool that connects when it is first used, so that Postgres may be away now. `patience` bounds a statement.

    Takes libpq's URLs (`sslmode`, `sslrootcert`, `sslcert`, `sslkey`, …) and Prisma's, which LiteLLM's users have.
    """
    dsn, options = address(url)
    return await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        command_timeout=patience,
        max_inactive_connection_lifetime=300.0,
        reset=_keep,
        **options,
    )


async def connect(url: str, *, patience: float = 10.0) -> Connection:
    """One connection, for what must not share one."""
    dsn, options = address(url)
    found: Connection = await asyncpg.connect(dsn, **{"timeout": patience, **options})
    return found


@contextmanager
def storable() -> Iterator[None]:
    """Turn "this value can never be stored" into `Refused(INVALID_REQUEST)`; other errors pass."""
    try:
        yield
    except (*UNFIT, UnicodeEncodeError, OverflowError) as problem:
        raise Refused(Kind.INVALID_REQUEST, _unfit(problem)) from None


@contextmanager
def ledger_needed() -> Iterator[None]:
    """Turn "Postgres is away" into `Refused(LEDGER_DOWN)`; other errors pass."""
    try:
        yield
    except AWAY as problem:
        raise Refused(Kind.LEDGER_DOWN, "The ledger cannot be reached.") from problem


async def reachable(pool: Pool, within: float = 1.0) -> str | None:
    """None when Postgres answers within `within` seconds, else one line that says why not, without any secret."""
    try:
        async with pool.acquire(timeout=within) as connection:
            await connection.execute("SELECT 1", timeout=within)
    except TimeoutError:
        return f"ledger: no answer within {within:g} s"
    except AWAY as problem:
        return described(problem)
    return None


def _unfit(problem: Exception) -> str:
    """What a client may know of it: no value, no name of a table."""
    if isinstance(problem, asyncpg.UniqueViolationError):
        return "There is one with this id or alias already."
    return "A value of the request cannot be stored."


def described(problem: BaseException) -> str:
    """One line about what Postgres, or the way to it, said: without values, which could be anybody's."""
    words = str(problem).splitlines() or ["no answer"]
    return f"ledger: {type(problem).__name__}: {words[0]}"


def address(url: str) -> tuple[str, dict[str, Any]]:
    """The URL that asyncpg understands, and the options that it wants apart from it.

    asyncpg sends every parameter it does not know to the server, which refuses the connection for it.
    """
    parts = urlsplit(url)
    options: dict[str, Any] = {}
    kept: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _DROPPED:
            continue
        if name == "schema":
            options["server_settings"] = {"search_path": value}
        elif name == "connect_timeout":
            options["timeout"] = float(value) or 60.0
        elif name == "pgbouncer":
            options["statement_cache_size"] = 0 if value == "true" else 100
        elif (name, value) == ("sslrootcert", "system"):
            options["ssl"] = ssl.create_default_context()
        else:
            kept[name] = value
    if "ssl" in options:
        kept.pop("sslmode", None)
    scheme = parts.scheme.partition("+")[0]  # SQLAlchemy's `postgresql+asyncpg`
    return urlunsplit((scheme, parts.netloc, parts.path, urlencode(kept), "")), options


_DROPPED = {"connection_limit", "pool_timeout", "socket_timeout", "sslaccept", "statement_cache_size"}
"""Prisma's own parameters that mean nothing here."""


async def _keep(connection: Any) -> None:
    """Nothing is reset between uses: we leave no session state, and asyncpg's reset is a round trip each time."""
