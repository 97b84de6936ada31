"""Fetches the keys of tokens' issuers over HTTP; OIDC's discovery leads to them."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from api.signing_keys import Fetch, IssuerAway
from penstock.configuration.access import DISCOVERY
from schemas.config import Jwt

_PATIENCE = 5.0  # seconds
_MOST_BYTES = 2**20
_PIECE = 2**16
_ATTEMPTS = 2


def client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """What `fetcher` asks with. Redirects are not followed: the configuration says where keys are."""
    return httpx.AsyncClient(timeout=_PATIENCE, follow_redirects=False, transport=transport)


def fetcher(settings: Jwt, client: httpx.AsyncClient) -> Fetch:
    """What `SigningKeys` fetches with."""
    names = {one.name.rstrip("/") + DISCOVERY: one.name for one in settings.issuers if one.name is not None}

    async def fetch(url: str) -> Any:
        if DISCOVERY not in url:
            return await _json(client, url)
        found = await _json(client, url)
        return await _json(client, _keys_url(found, url, names.get(url)))

    return fetch


def _keys_url(document: Any, url: str, issuer: str | None) -> str:
    """Where a discovery document says that the keys are. It must be the document of the issuer that we asked."""
    found = document.get("jwks_uri") if isinstance(document, dict) else None
    if not isinstance(found, str) or urlsplit(found).scheme not in ("http", "https"):
        raise IssuerAway(f"{_shown(url)} has no jwks_uri")
    if urlsplit(url).scheme == "https" and urlsplit(found).scheme != "https":
        raise IssuerAway(f"{_shown(url)} leads to keys without TLS")
    if issuer is not None and document.get("issuer") != issuer:
        raise IssuerAway(f"{_shown(url)} is the document of another issuer")
    return found


async def _json(client: httpx.AsyncClient, url: str) -> Any:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await _once(client, url)
        except httpx.TransportError as fault:
            if attempt == _ATTEMPTS:
                raise IssuerAway(f"{_shown(url)}: {type(fault).__name__}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise IssuerAway(f"{_shown(url)}: {type(fault).__name__}") from None
    raise AssertionError("the last attempt returns or raises")


async def _once(client: httpx.AsyncClient, url: str) -> Any:
    async with client.stream("GET", url, headers={"accept": "application/json"}) as response:
        if response.status_code != httpx.codes.OK:
            raise IssuerAway(f"{_shown(url)} answered {response.status_code}")
        body = await _read(response)
    if len(body) > _MOST_BYTES:
        raise IssuerAway(f"{_shown(url)} answered too much")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise IssuerAway(f"{_shown(url)} did not answer JSON") from None


async def _read(response: httpx.Response) -> bytes:
    """The body; when it is too long, as much of it as shows that."""
    body = bytearray()
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes(_PIECE))) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > _MOST_BYTES:
                break
    return bytes(body)


def _shown(url: str) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"
