"""Ways by which a request could be somebody else's, or its key be told; each fails."""

import json
import logging
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from api.authenticate import Gatekeeper, presented_key
from api.idempotency import call_of
from api.keyring import Keyring
from api.signatures import verified
from api.signing_keys import SigningKeys
from ledger.pepper import Pepper
from ledger.pool import Pool
from ledger.terms import Rules
from schemas.config import Issuer, Jwt
from schemas.envelope import Endpoint
from schemas.failures import Kind, Refused
from tests.support.issuer import AUDIENCE, NAME, NOW, PRIVATE, URL, Provider, jwk, token

MASTER = "sk-master-0123456789abcdef"


def scope(*headers: tuple[str, str], path: str = "/v1/chat/completions") -> dict[str, Any]:
    """A request with these headers."""
    sent = [(name.encode(), value.encode()) for name, value in headers]
    return {"type": "http", "method": "POST", "path": path, "headers": sent, "client": ("10.0.0.9", 1)}


@pytest.mark.parametrize(
    "key",
    [MASTER[:-1], MASTER + "x", MASTER.upper(), MASTER + "\0", "sk-", "Basic " + MASTER, "Bearer", f'"{MASTER}"'],
)
async def test_what_is_nearly_the_master_key_opens_nothing(key: str) -> None:
    with pytest.raises(Refused) as refused:
        await Gatekeeper(SecretStr(MASTER)).identify(scope(("authorization", f"Bearer {key}")))
    assert refused.value.failure.kind is Kind.UNAUTHENTICATED
    assert key not in refused.value.failure.message


@pytest.mark.parametrize("master", [None, SecretStr("")])
async def test_without_a_master_key_an_empty_one_is_none(master: SecretStr | None) -> None:
    for headers in ([], [("authorization", "Bearer ")], [("x-api-key", "")]):
        with pytest.raises(Refused):
            await Gatekeeper(master).identify(scope(*headers))


async def test_no_other_header_says_who_somebody_is() -> None:
    spoofed = [
        ("x-litellm-user-id", "default_user_id"),
        ("x-litellm-team-id", "t"),
        ("x-user-role", "proxy_admin"),
        ("x-forwarded-user", "root"),
        ("cookie", f"token={MASTER}"),
    ]
    with pytest.raises(Refused):
        await Gatekeeper(SecretStr(MASTER)).identify(scope(*spoofed))


def test_of_two_keys_the_first_of_the_first_header_counts() -> None:
    headers = [(b"x-api-key", b"sk-b"), (b"authorization", b"Bearer sk-a"), (b"authorization", b"Bearer sk-c")]
    assert presented_key(headers) == b"sk-a"


async def test_a_wrong_key_is_not_made_good_by_another_header() -> None:
    headers = [("x-litellm-api-key", "sk-wrong"), ("authorization", f"Bearer {MASTER}")]
    with pytest.raises(Refused) as refused:
        await Gatekeeper(SecretStr(MASTER)).identify(scope(*headers))
    assert (refused.value.failure.kind, refused.value.failure.row.type) == (Kind.UNAUTHENTICATED, "auth_error")


async def test_a_guessed_key_is_in_no_log_no_message_and_no_memory(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    guess = "sk-guessed-0123456789abcdef"

    async def pepper() -> Pepper:
        return Pepper(b"p")

    caplog.set_level(logging.DEBUG)
    keyring = Keyring(pool, pepper, Rules(), lambda: 1.0, lambda: 1.0)
    with pytest.raises(Refused) as refused:
        await Gatekeeper(SecretStr(MASTER), keyring).identify(scope(("authorization", f"Bearer {guess}")))
    told = (
        caplog.text,
        repr(refused.value),
        refused.value.failure.message,
        repr(keyring),
        repr(Pepper(b"pepper-of-a-ledger")),
    )
    assert not [text for text in told if guess in text or "pepper-of-a-ledger" in text]


# --- tokens -----------------------------------------------------------------------------------------------------------


def _forged(algorithm: str = "RS256", **headers: Any) -> str:
    """A token that somebody else than the issuer has signed."""
    claims = {"iss": NAME, "aud": AUDIENCE, "exp": NOW + 600, "sub": "root", "scope": "litellm_proxy_admin"}
    return jwt.encode(claims, PRIVATE["other"], algorithm=algorithm, headers={"kid": "rsa", **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"jwk": jwk("other")},
        {"kid": "other", "jwk": jwk("other")},
        {"kid": "../../../../dev/null"},
        {"kid": "' UNION SELECT 1 --"},
        {"kid": "https://evil.example/keys"},
        {"cty": "JWT", "x5c": ["MIIB"]},
    ],
)
async def test_a_token_does_not_bring_the_key_that_proves_it(headers: dict[str, Any]) -> None:
    provider = Provider("rsa", "ec")
    settings = Jwt(issuers=(Issuer(name=NAME, key_urls=(URL,), audiences=(AUDIENCE,)),))
    with pytest.raises(Refused) as refused:
        await verified(_forged(**headers), settings, SigningKeys(provider.fetch, 60, 60), NOW)
    assert refused.value.failure.kind is Kind.UNAUTHENTICATED
    assert set(provider.asked) == {URL}


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": None},
        {"aud": []},
        {"aud": ["another"]},
        {"aud": AUDIENCE + "x"},
        {"aud": {"penstock": 1}},
        {"iss": None},
        {"iss": NAME + "/"},
        {"iss": [NAME]},
        {"exp": None},
        {"exp": "never"},
        {"exp": True},
        {"exp": 10**15},
        {"exp": NOW - 3600},
        {"nbf": NOW + 3600},
        {"nbf": [0]},
    ],
)
async def test_a_token_that_is_for_others_or_never_ends_counts_for_nothing(claims: dict[str, Any]) -> None:
    settings = Jwt(issuers=(Issuer(name=NAME, key_urls=(URL,), audiences=(AUDIENCE,)),))
    keys = SigningKeys(Provider().fetch, 60, 60)
    try:
        given = token(**claims)
    except TypeError:  # PyJWT does not write such a claim
        given = _written(claims)
    with pytest.raises(Refused) as refused:
        await verified(given, settings, keys, NOW)
    assert refused.value.failure.kind is Kind.UNAUTHENTICATED
    assert given not in refused.value.failure.message


def _written(claims: dict[str, Any]) -> str:
    every = {"iss": NAME, "aud": AUDIENCE, "exp": NOW + 600, "iat": NOW, "sub": "ada", **claims}
    body = json.dumps({name: value for name, value in every.items() if value is not None}).encode()
    return jwt.api_jws.encode(body, PRIVATE["rsa"], "RS256", {"kid": "rsa", "typ": "JWT"})


# --- answers of others ------------------------------------------------------------------------------------------------


def test_an_idempotency_key_is_its_callers_alone() -> None:
    headers = [(b"idempotency-key", b"1")]
    calls = [
        call_of(headers, caller, (endpoint, None), b"{}", 1.0)
        for caller in ("key of a", "key of b")
        for endpoint in (Endpoint.CHAT, Endpoint.COMPLETIONS)
    ]
    assert len({call.key for call in calls if call is not None}) == 4
