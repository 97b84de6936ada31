"""Tokens that count and tokens that do not; the issuer's keys, fetched as seldom as can be."""

import asyncio
import base64
import json
import re
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from api.signatures import is_token, verified
from api.signing_keys import SigningKeys
from schemas.config import Issuer, Jwt
from schemas.failures import Kind, Refused
from tests.support.issuer import AUDIENCE, NAME, NOW, PRIVATE, URL, Provider, jwk, token

SETTINGS = Jwt(issuers=(Issuer(name=NAME, key_urls=(URL,), audiences=(AUDIENCE, "other")),), leeway=10)


class Clock:
    """A monotonic clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def keys(provider: Provider, clock: Clock | None = None) -> SigningKeys:
    return SigningKeys(provider.fetch, ttl=600, stale_ttl=3600, now=clock or Clock())


async def refused(given: str, settings: Jwt = SETTINGS, provider: Provider | None = None) -> str:
    with pytest.raises(Refused) as caught:
        await verified(given, settings, keys(provider or Provider()), NOW)
    assert caught.value.failure.kind is Kind.UNAUTHENTICATED
    assert given not in caught.value.failure.message
    return caught.value.failure.message


def unsigned(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"x") -> str:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


GOOD = {"iss": NAME, "aud": AUDIENCE, "exp": NOW + 600}


@pytest.mark.parametrize(
    ("name", "alg"),
    [("rsa", "RS256"), ("rsa", "RS512"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")],
)
async def test_what_an_issuer_has_signed_counts(name: str, alg: str) -> None:
    found = await verified(token(name, alg, groups=["a"]), SETTINGS, keys(Provider()), NOW)
    assert found.claims["groups"] == ["a"]
    assert found.expires == NOW + 600
    assert found.issuer is SETTINGS.issuers[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (token(exp=NOW - 11), "Token Expired"),
        (token(exp=None), "expires"),
        (token(exp="soon"), "not a time"),
        (token(exp=float("inf")), "not a time"),
        (token(exp=True), "not a time"),
        (token(nbf=NOW + 11), "not valid yet"),
        (token(iat=NOW + 11), "not valid yet"),
        (token(aud="somebody else"), "audience"),
        (token(aud=None), "claim"),
        (token(iss="https://evil.example"), "another issuer"),
        (token(iss=None), "another issuer"),
        (token("other", headers={"kid": "rsa"}), "signature"),
        (token("other"), "no such key"),
        (token("ec", "ES256", headers={"kid": "rsa"}), "no such key"),
        (token(headers={"crit": ["x"]}), "valid"),
        (unsigned({"alg": "none", "kid": "rsa"}, GOOD, b""), "cannot be read|algorithm"),
        (unsigned({"alg": "none", "kid": "rsa"}, GOOD), "algorithm"),
        (unsigned({"alg": "HS256", "kid": "rsa"}, GOOD), "algorithm"),
        (unsigned({"alg": ["RS256"], "kid": "rsa"}, GOOD), "algorithm|read"),
        (unsigned({"kid": "rsa"}, GOOD), "algorithm|read"),
        (unsigned({"alg": "RS256", "kid": {"a": 1}}, GOOD), "read|key"),
        ("a.b.c", "cannot be read"),
        ("a" * 20_000 + ".b.c", "too long"),
    ],
)
async def test_what_does_not_count(given: str, words: str) -> None:
    assert re.search(words, await refused(given))


async def test_a_token_signed_with_the_public_key_as_a_secret_does_not_count() -> None:
    public = json.dumps(jwk("rsa"))
    forged = jwt.encode(GOOD, public + "x" * 64, algorithm="HS256", headers={"kid": "rsa"})
    assert "algorithm" in await refused(forged)


async def test_clocks_may_differ_a_little() -> None:
    for given in (token(exp=NOW - 9), token(nbf=NOW + 9), token(iat=NOW + 9)):
        await verified(given, SETTINGS, keys(Provider()), NOW)


async def test_without_an_audience_any_will_do() -> None:
    open = Jwt(issuers=(Issuer(key_urls=(URL,)),))
    for given in (token(aud="somebody else"), token(aud=None), token(iss="https://anybody.example")):
        await verified(given, open, keys(Provider()), NOW)


async def test_each_issuer_has_its_own_keys() -> None:
    provider = Provider("rsa")
    provider.documents["https://two.example/keys"] = {"keys": [jwk("other")]}
    two = Issuer(name="https://two.example", key_urls=("https://two.example/keys",), audiences=(AUDIENCE,))
    settings = Jwt(issuers=(two, *SETTINGS.issuers))
    found = await verified(token("other", iss=two.name), settings, keys(provider), NOW)
    assert found.issuer is two
    assert "no such key" in await refused(token("rsa", iss=two.name), settings, provider)
    assert "no such key" in await refused(token("other", iss=NAME), settings, provider)


@pytest.mark.parametrize(
    "row",
    [
        jwk("rsa", use="enc"),
        jwk("rsa", alg="RS512"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "rsa"},
        {"kty": "RSA", "kid": "rsa"},
        {"kty": "RSA", "n": "AQAB", "e": 5, "kid": "rsa"},
        {"kid": "rsa"},
        "garbage",
        json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key())) | {"kid": "rsa"},
    ],
)
async def test_keys_that_cannot_have_signed_are_left_out(row: Any) -> None:
    provider = Provider()
    provider.documents[URL] = {"keys": [row, jwk("ec")]}
    assert "no such key" in await refused(token(), provider=provider)


async def test_a_token_without_a_key_id_is_the_only_keys() -> None:
    without = jwt.encode(GOOD, PRIVATE["rsa"], algorithm="RS256")
    await verified(without, SETTINGS, keys(Provider("rsa", "ec")), NOW)
    assert "no such key" in await refused(without, provider=Provider("rsa", "other"))


# --- fetching ---------------------------------------------------------------------------------------------------------


async def test_keys_are_fetched_once_and_again_when_they_are_old() -> None:
    provider, clock = Provider(), Clock()
    found = keys(provider, clock)
    for _ in range(3):
        assert await found.find([URL], "rsa", "RS256")
    assert len(provider.asked) == 1
    clock.now += 601
    assert await found.find([URL], "rsa", "RS256")
    assert len(provider.asked) == 2


async def test_an_unknown_key_may_be_new_but_is_not_asked_for_at_every_token() -> None:
    provider, clock = Provider("rsa"), Clock()
    found = keys(provider, clock)
    assert await found.find([URL], "rsa", "RS256")
    clock.now += 11
    for _ in range(20):
        assert await found.find([URL], "other", "RS256") is None
    assert len(provider.asked) == 2
    provider.documents[URL]["keys"].append(jwk("other"))
    assert await found.find([URL], "other", "RS256") is None
    clock.now += 11
    assert await found.find([URL], "other", "RS256")
    assert len(provider.asked) == 3


@pytest.mark.parametrize("header", [{}, {"kid": "kept"}])
async def test_a_new_key_without_a_new_name_is_found_by_the_signature(header: dict[str, str]) -> None:
    provider, clock = Provider(), Clock()
    found = keys(provider, clock)
    old, new = (jwt.encode(GOOD, PRIVATE[name], "RS256", headers=header) for name in ("rsa", "other"))
    provider.documents[URL] = {"keys": [jwk("rsa", **header)]}
    await verified(old, SETTINGS, found, NOW)
    provider.documents[URL] = {"keys": [jwk("other", **header)]}
    with pytest.raises(Refused, match="signature"):
        await verified(new, SETTINGS, found, NOW)
    clock.now += 11
    await verified(new, SETTINGS, found, NOW)
    for _ in range(20):
        with pytest.raises(Refused, match="signature"):
            await verified(old, SETTINGS, found, NOW)
    assert len(provider.asked) == 2


async def test_who_comes_while_new_keys_are_fetched_waits_for_them() -> None:
    provider, clock, begun, gate = Provider("rsa"), Clock(), asyncio.Event(), asyncio.Event()
    gate.set()

    async def slowly(url: str) -> Any:
        begun.set()
        await gate.wait()
        return await provider.fetch(url)

    shared = SigningKeys(slowly, 600, 3600, clock)
    assert await shared.find([URL], "rsa", "RS256")
    provider.documents[URL]["keys"].append(jwk("other"))
    clock.now += 11
    begun.clear()
    gate.clear()
    asking = [asyncio.create_task(shared.find([URL], "other", "RS256")) for _ in range(10)]
    await begun.wait()
    assert await shared.find([URL], "rsa", "RS256")
    gate.set()
    assert all(await asyncio.gather(*asking))
    assert len(provider.asked) == 2


async def test_the_last_good_keys_are_kept_while_the_issuer_is_away_but_not_for_ever() -> None:
    provider, clock = Provider(), Clock()
    found = keys(provider, clock)
    assert await found.find([URL], "rsa", "RS256")
    provider.away = True
    clock.now += 601
    for _ in range(5):
        assert await found.find([URL], "rsa", "RS256")
    assert len(provider.asked) == 2
    clock.now += 3600
    with pytest.raises(Refused) as caught:
        await found.find([URL], "rsa", "RS256")
    assert caught.value.failure.row.status == 503
    provider.away = False
    clock.now += 11
    assert await found.find([URL], "rsa", "RS256")


async def test_an_answer_without_keys_replaces_no_good_one() -> None:
    provider, clock = Provider(), Clock()
    found = keys(provider, clock)
    assert await found.find([URL], "rsa", "RS256")
    provider.documents[URL] = {"error": "maintenance"}
    clock.now += 601
    assert await found.find([URL], "rsa", "RS256")


async def test_of_several_addresses_one_may_be_away() -> None:
    provider = Provider()
    found = keys(provider)
    assert await found.find(["https://gone.example/keys", URL], "rsa", "RS256")
    with pytest.raises(Refused):
        await found.find(["https://gone.example/keys", URL], "other", "RS256")


async def test_a_slow_address_is_asked_once_by_all_who_wait_and_keeps_nobody_who_needs_another() -> None:
    provider, clock, begun, gate = Provider(), Clock(), asyncio.Event(), asyncio.Event()
    slow = "https://slow.example/keys"

    async def fetch(url: str) -> Any:
        if url == slow:
            begun.set()
            await gate.wait()
            clock.now += 20  # its patience
        return await provider.fetch(url)

    shared = SigningKeys(fetch, 600, 3600, clock)
    assert await shared.find([URL], "rsa", "RS256")
    waiting = [asyncio.create_task(shared.find([slow], "rsa", "RS256")) for _ in range(5)]
    await begun.wait()
    assert await shared.find([slow, URL], "rsa", "RS256")
    gate.set()
    assert {type(found) for found in await asyncio.gather(*waiting, return_exceptions=True)} == {Refused}
    assert provider.asked == [URL, slow]


async def test_of_several_addresses_each_may_have_the_key_of_a_token_that_names_none() -> None:
    provider, clock, second = Provider("rsa"), Clock(), "https://two.example/keys"
    provider.documents[second] = {"keys": [jwk("other")]}
    settings = Jwt(issuers=(Issuer(name=NAME, key_urls=(URL, second)),))
    found = keys(provider, clock)
    for name in ("rsa", "other"):
        await verified(jwt.encode(GOOD, PRIVATE[name], "RS256"), settings, found, NOW)
    clock.now += 11
    assert await found.find([URL, second], "other", "RS256")
    assert provider.asked == [URL, second]


async def test_all_who_come_at_once_share_one_fetch() -> None:
    provider, begun, gate = Provider(), asyncio.Event(), asyncio.Event()

    async def slowly(url: str) -> Any:
        found = await provider.fetch(url)
        begun.set()
        await gate.wait()
        return found

    shared = SigningKeys(slowly, 600, 3600, Clock())
    asking = [asyncio.create_task(shared.find([URL], "rsa", "RS256")) for _ in range(10)]
    await begun.wait()
    gate.set()
    assert all(await asyncio.gather(*asking))
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (token(), True),
        ("a.b.c", True),
        ("sk-1234", False),
        ("a.b", False),
        ("a.b.c.d", False),
        ("a.b.", False),
        ("a.b c.d", False),
        ("", False),
    ],
)
def test_what_looks_like_a_token(text: str, expected: bool) -> None:
    assert is_token(text) is expected
