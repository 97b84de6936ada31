"""The keys of issuers over HTTP: discovery is followed, and what is not an answer is an issuer that is away."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api.signing_keys import IssuerAway
from penstock.jwks import client, fetcher
from schemas.config import Issuer, Jwt

KEYS = {"keys": [{"kty": "RSA"}]}
DISCOVERED = "https://id.example/.well-known/openid-configuration"
DOCUMENT = {"issuer": "https://id.example", "jwks_uri": "https://id.example/keys"}
SETTINGS = Jwt(issuers=(Issuer(name="https://id.example", key_urls=(DISCOVERED,)),))

Answer = Callable[[httpx.Request], httpx.Response]


async def fetched(url: str, answer: Answer, settings: Jwt = SETTINGS) -> Any:
    async with client(httpx.MockTransport(answer)) as http:
        return await fetcher(settings, http)(url)


def provider(document: Any) -> Answer:
    answers = {DISCOVERED: document, "https://id.example/keys": KEYS, "https://other.example/keys": KEYS}
    return lambda request: httpx.Response(200, json=answers[str(request.url)])


async def test_keys_and_discovery() -> None:
    assert await fetched("https://id.example/keys", provider(None)) == KEYS
    assert await fetched(DISCOVERED, provider(DOCUMENT)) == KEYS
    assert await fetched(DISCOVERED, provider({**DOCUMENT, "jwks_uri": "https://other.example/keys"})) == KEYS


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {**DOCUMENT, "jwks_uri": 7},
        {**DOCUMENT, "jwks_uri": "file:///etc/passwd"},
        {**DOCUMENT, "jwks_uri": "http://id.example/keys"},
        {**DOCUMENT, "issuer": "https://evil.example"},
    ],
)
async def test_a_discovery_that_is_not_the_issuers(document: Any) -> None:
    with pytest.raises(IssuerAway):
        await fetched(DISCOVERED, provider(document))


async def test_the_document_of_an_address_without_a_named_issuer_may_be_anybodys() -> None:
    nameless = Jwt(issuers=(Issuer(key_urls=(DISCOVERED,)),))
    assert await fetched(DISCOVERED, provider({**DOCUMENT, "issuer": "https://{tenant}.example"}), nameless) == KEYS


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(500),
        httpx.Response(404, json=KEYS),
        httpx.Response(302, headers={"location": "https://other.example/keys"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(200, content=b" " * (2**20 + 1)),
    ],
)
async def test_what_is_no_answer(response: httpx.Response) -> None:
    with pytest.raises(IssuerAway) as caught:
        await fetched("https://user:secret@id.example/keys?token=secret", lambda _: response)
    assert "secret" not in str(caught.value)


async def test_a_connection_that_breaks_is_tried_once_more() -> None:
    asked: list[int] = []

    def answer(_: httpx.Request) -> httpx.Response:
        asked.append(1)
        if len(asked) == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=KEYS)

    assert await fetched("https://id.example/keys", answer) == KEYS

    def never(_: httpx.Request) -> httpx.Response:
        asked.append(1)
        raise httpx.ReadTimeout("late")

    asked.clear()
    with pytest.raises(IssuerAway, match="ReadTimeout"):
        await fetched("https://id.example/keys", never)
    assert len(asked) == 2
