"""Where RabbitMQ is and how to get in: the parts of an `amqp://` or `amqps://` URL."""

import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed URL. `tls` is None for `amqp://`; credentials stay out of the repr."""

    host: str
    port: int
    vhost: str
    user: str = field(repr=False)
    password: str = field(repr=False)
    tls: ssl.SSLContext | None = field(repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}{'' if self.vhost == '/' else '/' + self.vhost}"


def endpoint(url: str) -> Endpoint:
    """Parse `amqp[s]://user:password@host:port/vhost?cafile=…&certfile=…&keyfile=…&no_verify_ssl=1`.

    The query parameters are aio-pika's (`capath` too); `verify=verify_none` is RabbitMQ's own word for the last. An
    empty path is the vhost `/`. Raises ValueError, without the URL in its text, for what is not such a URL, and
    OSError (ssl.SSLError among them) for certificates that cannot be read.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the AMQP URL cannot be parsed") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("an AMQP URL starts with amqp:// or amqps:// and has a host")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return Endpoint(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        vhost=unquote(parts.path[1:]) or "/",
        user=unquote(parts.username) if parts.username is not None else "guest",
        password=unquote(parts.password) if parts.password is not None else "guest",
        tls=_tls(query) if parts.scheme == "amqps" else None,
    )


def _tls(query: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=query.get("cafile"), capath=query.get("capath"))
    if "certfile" in query:
        context.load_cert_chain(query["certfile"], query.get("keyfile"))
    if query.get("no_verify_ssl", "0") != "0" or query.get("verify") == "verify_none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
