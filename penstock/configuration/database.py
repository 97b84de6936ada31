"""Where Postgres is: LiteLLM's forms (Prisma's URL, separate variables) as a URL that libpq and asyncpg understand."""

from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from penstock.configuration.environment import Environment
from penstock.configuration.known import words
from penstock.configuration.problems import Wrong

_SCHEMES = ("postgresql", "postgres")
_NO_URL = "is not a valid URL; characters like @ / ? # [ ] in the password must be percent-encoded"
_PRISMA_ONLY = words(
    """connection_limit max_idle_connection_lifetime pgbouncer pool_timeout single_use_connections socket_timeout
    sslaccept sslidentity statement_cache_size"""
)


def normalised(url: str) -> tuple[str, tuple[str, ...]]:
    """The URL, and the names of Prisma's parameters that were left out. Raises `Wrong`, never with the URL in it.

    `schema=x` becomes the session's search path; the pool's size and timeouts are ours, not the URL's.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Wrong(_NO_URL) from None
    if parts.scheme not in _SCHEMES:
        raise Wrong("must begin with postgresql://")
    _check_place(parts)
    kept, left_out = [], []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _PRISMA_ONLY:
            left_out.append(name)
        elif name == "connect_timeout":
            left_out.append(name)  # asyncpg would send it to the server as a setting, which refuses it
        elif name == "schema":
            kept += _search_path(value)
        else:
            kept.append((name, value))
    # quote, not quote_plus: libpq does not read "+" as a space
    return urlunsplit(parts._replace(query=urlencode(kept, quote_via=quote))), tuple(left_out)


def _check_place(parts: SplitResult) -> None:
    """A part of the password that became the host or a port would be told with what is wrong about it."""
    if parts.fragment or "@" in parts.path or parts.netloc.count("@") > 1:
        raise Wrong(_NO_URL)
    if not all(_has_port(host) for host in parts.netloc.rpartition("@")[2].split(",")):
        raise Wrong("has a port that is none")


def _has_port(host: str) -> bool:
    port = host.rpartition("]")[2].partition(":")[2]
    return not port or (len(port) <= 5 and port.isdecimal() and int(port) < 65536)


def _search_path(schema: str) -> list[tuple[str, str]]:
    if schema in ("", "public"):
        return []
    if not schema.replace("_", "").isalnum():
        raise Wrong("the schema's name may hold letters, digits and _ only")
    return [("options", f"-csearch_path={schema}")]


def from_parts(environment: Environment) -> str | None:
    """`DATABASE_HOST` (may hold a port), `DATABASE_USERNAME`, `DATABASE_PASSWORD`, `DATABASE_NAME`, `DATABASE_SCHEMA`.

    None unless host, user and name are set. Raises `Wrong` for an unreadable `DATABASE_PASSWORD_FILE`.
    """
    host, user, name = (environment.get(f"DATABASE_{part}") for part in ("HOST", "USERNAME", "NAME"))
    if not (host and user and name):
        return None
    password = environment.secret("DATABASE_PASSWORD")
    credentials = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    port = environment.get("DATABASE_PORT")
    place = f"{host}:{port}" if port and ":" not in host else host
    schema = environment.get("DATABASE_SCHEMA")
    query = f"?schema={quote(schema, safe='')}" if schema else ""
    return f"postgresql://{credentials}@{place}/{quote(name, safe='')}{query}"
