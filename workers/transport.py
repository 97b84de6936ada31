"""Upstream calls over HTTP: the only place that knows aiohttp.

Deadlines are the caller's (`asyncio.timeout` around it); only connecting has a limit of its own. Redirects are not
followed (the key would go along), cookies are not kept.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from typing import Any
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from schemas.failures import Kind, Refused
from workers.providers.port import Call, Script

_CONNECT = 15.0  # seconds for DNS, TCP and TLS together
_IDLE = 30.0  # seconds that an unused connection is kept
_BUFFER = 2**18  # bytes read ahead of a slow consumer, at most twice
_REMEMBERED = 4096  # parsed URLs
_SKIPPED = ("User-Agent", "Accept")
_REUSED: ContextVar[bool] = ContextVar("reused")


class Response(ABC):
    """An upstream's answer whose head has arrived. `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises `Refused`: ANSWER_TOO_LARGE beyond `limit` bytes, or as `chunks`."""
        if self._length() > limit:
            raise _too_large()
        parts, size = [], 0
        while part := await self._next():
            size += len(part)
            if size > limit:
                raise _too_large()
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `Refused`: PROVIDER_BROKE_OFF, PROVIDER_GARBLED."""
        while part := await self._next():
            yield part

    @abstractmethod
    def close(self) -> None:
        """Let go: the connection is kept when the body was read to its end, else aborted."""

    @abstractmethod
    async def _next(self) -> bytes:
        """What has arrived, at least a byte; b"" at the end."""

    def _length(self) -> int:
        text = self.headers.get("content-length", "")
        return int(text) if text.isdecimal() else 0


def _too_large() -> Refused:
    return Refused(Kind.ANSWER_TOO_LARGE, "The provider's answer is larger than this server takes.")


class _Live(Response):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    async def _next(self) -> bytes:
        try:
            return await self._response.content.readany()
        except aiohttp.ClientError as error:
            raise _in_the_body(error) from None
        except OSError:
            raise Refused(Kind.PROVIDER_BROKE_OFF, "The provider closed the connection in mid-answer.") from None

    def close(self) -> None:
        self._response.close()


class _Scripted(Response):
    def __init__(self, script: Script) -> None:
        self._pause = script.pause
        self._left = iter(script.chunks)
        self.status = script.status
        self.headers = {name.lower(): value for name, value in script.headers.items()}

    async def _next(self) -> bytes:
        await asyncio.sleep(self._pause)
        return next(self._left, b"")

    def close(self) -> None:
        """Nothing is held."""


class Transport:
    """A process's connections to its upstreams. Needs a running event loop."""

    def __init__(self, *, connect_timeout: float = _CONNECT) -> None:
        self._urls: dict[str, tuple[URL, str | None]] = {}
        self._proxies = getproxies()
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=0, keepalive_timeout=_IDLE, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout, ceil_threshold=connect_timeout + 1),
            skip_auto_headers=_SKIPPED,
            read_bufsize=_BUFFER,
        )

    async def open(self, call: Call | Script) -> Response:
        """Send the request and wait for the answer's head.

        Raises `Refused`: PROVIDER_UNREACHABLE (DNS, connecting, TLS), PROVIDER_BROKE_OFF, PROVIDER_GARBLED.
        """
        if isinstance(call, Script):
            return _Scripted(call)
        url, proxy = self._target(call.url)
        _REUSED.set(False)
        try:
            return await self._send(call, url, proxy)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # A kept connection that the server had already given up: no byte of an answer came, so ask once more.
            if isinstance(error, aiohttp.ClientConnectorError) or not _REUSED.get():
                raise _before_the_head(error) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _before_the_head(error) from None
        return await self._again(call, url, proxy)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def _again(self, call: Call, url: URL, proxy: str | None) -> Response:
        try:
            return await self._send(call, url, proxy)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _before_the_head(error) from None

    async def _send(self, call: Call, url: URL, proxy: str | None) -> Response:
        return _Live(
            await self._session.request(
                call.method, url, data=call.body, headers=call.headers, allow_redirects=False, proxy=proxy
            )
        )

    def _target(self, url: str) -> tuple[URL, str | None]:
        found = self._urls.get(url)
        if found is None:
            if len(self._urls) >= _REMEMBERED:
                self._urls.clear()
            found = self._urls[url] = self._parse(url)
        return found

    def _parse(self, text: str) -> tuple[URL, str | None]:
        """The URL, and the proxy that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` want for it."""
        try:
            url = URL(text)
        except ValueError:
            raise Refused(Kind.PROVIDER_UNREACHABLE, "The deployment's api_base is not a URL.") from None
        proxy = self._proxies.get(url.scheme)
        if proxy and url.host and proxy_bypass(url.host):
            proxy = None
        return url, proxy


class _Connector(aiohttp.TCPConnector):
    """Says, through `_REUSED`, whether the connection in use had carried a request before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(self, *args: Any, **options: Any) -> Connection:
        connection = await super().connect(*args, **options)
        protocol = connection.protocol
        if protocol in self._used:
            _REUSED.set(True)
        elif protocol is not None:
            self._used.add(protocol)
        return connection


_UNREACHABLE, _GARBLED, _BROKE_OFF = Kind.PROVIDER_UNREACHABLE, Kind.PROVIDER_GARBLED, Kind.PROVIDER_BROKE_OFF
_CAUSES: tuple[tuple[type[Exception], Kind, str], ...] = (
    (aiohttp.ClientSSLError, _UNREACHABLE, "No secure connection to the provider could be made (TLS)."),
    (aiohttp.ClientConnectorDNSError, _UNREACHABLE, "The provider's host name could not be resolved."),
    (aiohttp.ClientConnectorError, _UNREACHABLE, "The provider could not be reached."),
    (aiohttp.ConnectionTimeoutError, _UNREACHABLE, "Connecting to the provider took too long."),
    (aiohttp.ServerDisconnectedError, _BROKE_OFF, "The provider closed the connection without an answer."),
    (aiohttp.ClientOSError, _BROKE_OFF, "The provider closed the connection without an answer."),
    (aiohttp.ClientHttpProxyError, _UNREACHABLE, "The proxy to the provider refused the connection."),
    (aiohttp.ClientResponseError, _GARBLED, "The provider's answer is not valid HTTP."),
    (aiohttp.ClientPayloadError, _GARBLED, "The provider's answer is not valid HTTP."),
    (ValueError, _UNREACHABLE, "The deployment's api_base or headers cannot be used."),  # InvalidURL too
)
"""The first that fits; subclasses before their bases. No text of the exception: it may name a URL with a password."""


def _before_the_head(error: Exception) -> Refused:
    for kind, failure, message in _CAUSES:
        if isinstance(error, kind):
            return Refused(failure, message)
    return Refused(Kind.PROVIDER_UNREACHABLE, "The provider could not be reached.")


def _in_the_body(error: aiohttp.ClientError) -> Refused:
    cause = error.__cause__
    if isinstance(cause, aiohttp.http_exceptions.ContentEncodingError):
        return Refused(Kind.PROVIDER_GARBLED, "The provider's answer is badly encoded.")
    return Refused(Kind.PROVIDER_BROKE_OFF, "The provider closed the connection in mid-answer.")
