"""Tokens of an OpenID Connect provider that somebody else wrote: its discovery, its keys and its sign-in, over HTTP.

Its access tokens are opaque, so the ID token is what takes the place of a key. The provider names no key (`kid`) in its
tokens, as OpenID Connect Core 10.1 allows an issuer with one key, and makes a new key at every start.
"""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client

from api.management.registrar import Registrar
from api.management.rules import TeamRules, UserRules
from api.signing_keys import SigningKeys
from api.tokens import Tokens
from ledger.access import find_user
from ledger.directory import Directory
from ledger.pool import Pool
from ledger.terms import Rules
from penstock.configuration.access import DISCOVERY
from penstock.jwks import client, fetcher
from schemas.access import Access
from schemas.config import ClaimFields, Issuer, Jwt
from schemas.failures import Refused
from tests.e2e import wire
from tests.e2e.conftest import deployment
from tests.support.harness import harness
from tests.support.house import House, serving
from tests.support.process import end, free_ports, spawn, wait_for_port
from tests.support.upstream import Upstream, raw

AUDIENCE = "penstock"
ADA = {"sub": "ada", "email": "ada@example.org", "email_verified": True}
ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Say hello."}]}
HOUR = 3600


class Provider:
    """`oidc-provider-mock` as a process, in which clients need no registration. `lifetime` of tokens in seconds."""

    def __init__(self, folder: Path, lifetime: int = HOUR) -> None:
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"{self.port}.log"
        self._options = ["--port", str(self.port), "--token-max-age", str(lifetime), "--user-claims", json.dumps(ADA)]
        self._child = self._spawned()

    @harness()
    def ready(self) -> None:
        """Wait until it answers. Raises `DidNotStart` with what it said."""
        wait_for_port(self.port, self._child, self._log)

    @harness()
    def stop(self) -> None:
        """Its key is gone with it."""
        end(self._child, signal.SIGTERM)

    def start(self) -> None:
        """Once more, at the same address and with another key."""
        self._child = self._spawned()
        self.ready()

    async def sign_in(self, client: str = AUDIENCE, host: str = "127.0.0.1") -> dict[str, str]:
        """What a client gets (`id_token`, `access_token` …) for a code, once Ada has signed in.

        The provider takes the name that it is asked by, `host`, for its issuer's.
        """
        nonce = secrets.token_urlsafe(16)
        async with AsyncOAuth2Client(
            client,
            "secret",
            redirect_uri="http://127.0.0.1:9/signed-in",
            scope="openid email",
            trust_env=False,
            verify=False,  # there is no TLS, and loading the authorities takes 30 ms
        ) as oauth:
            found = await oauth.request("GET", f"http://{host}:{self.port}{DISCOVERY}", withhold_token=True)
            ends = found.raise_for_status().json()
            page, state = oauth.create_authorization_url(ends["authorization_endpoint"], nonce=nonce)
            back = await oauth.request("POST", page, data={"sub": ADA["sub"]}, withhold_token=True)
            given: dict[str, str] = await oauth.fetch_token(
                ends["token_endpoint"], authorization_response=back.headers["location"], state=state
            )
        assert part(given["id_token"], 1)["nonce"] == nonce
        return given

    def _spawned(self) -> subprocess.Popen[bytes]:
        return spawn([sys.executable, "-m", "oidc_provider_mock", *self._options], os.environ, self._log)


def part(token: str, index: int) -> dict[str, Any]:
    """The header (0) or the claims (1) of a token."""
    text = token.split(".")[index]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def changed(token: str, **claims: Any) -> str:
    """The token with other claims, under the signature that it had."""
    header, _, signature = token.split(".")
    body = json.dumps(part(token, 1) | claims).encode()
    return f"{header}.{base64.urlsafe_b64encode(body).decode().rstrip('=')}.{signature}"


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    running = Provider(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Provider]:
    """A provider whose tokens have ended before they are given."""
    running = Provider(tmp_path, lifetime=-HOUR)
    yield running
    running.stop()


def configuration(upstream: str, *issuers: str) -> dict[str, Any]:
    """A model with a price, and whose tokens may call it."""
    prices = {"input_cost_per_token": "2.5e-06", "output_cost_per_token": "1e-05"}
    return {
        "model_list": [deployment("gpt-4o", "openai/gpt-4o-2024-08-06", upstream + "/v1", **prices)],
        "general_settings": {
            "enable_jwt_auth": True,
            "litellm_jwtauth": {
                "issuers": [{"issuer": issuer, "audience": AUDIENCE} for issuer in issuers],
                "user_id_jwt_field": "sub",
                "user_email_jwt_field": "email",
                "user_id_upsert": True,
            },
        },
    }


async def asked(house: House, token: str) -> httpx.Response:
    """The answer to a chat."""
    async with house.client() as http:
        return await http.post("/v1/chat/completions", json=ASK, headers={"authorization": f"Bearer {token}"})


async def refusal(house: House, token: str) -> str:
    """The message of a 401, in OpenAI's shape."""
    answer = await asked(house, token)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (401, "invalid_api_key"), error
    assert set(error) == {"message", "type", "param", "code"}
    message: str = error["message"]
    return message


async def test_who_has_signed_in_calls_models_and_pays(
    provider: Provider, hasty: Provider, database_url: str, pool: Pool, tmp_path: Path
) -> None:
    async with Upstream() as upstream:
        upstream.script(raw(wire.ANSWER, headers=wire.HEADERS))
        config = configuration(upstream.url, provider.url, hasty.url)
        async with serving(config, tmp_path, DATABASE_URL=database_url) as house:
            for one in (provider, hasty):
                one.ready()
            given = await provider.sign_in()
            token = given["id_token"]
            assert (await asked(house, token)).status_code == 200
            (row,) = await house.rows(1)
            assert (row["user"], row["spend"]) == ("ada", 0.0001475)
            async with house.client() as http:
                found = await http.get("/user/info", headers={"authorization": f"Bearer {token}"})
            user = found.raise_for_status().json()["user_info"]
            assert (user["user_id"], user["user_email"], user["created_by"]) == ("ada", ADA["email"], "jwt")
            assert user["spend"] == 0.0001475

            assert "audience" in await refusal(house, (await provider.sign_in("somebody-else"))["id_token"])
            assert "another issuer" in await refusal(house, (await provider.sign_in(host="localhost"))["id_token"])
            assert "Expired" in await refusal(house, (await hasty.sign_in())["id_token"])
            assert "signature" in await refusal(house, changed(token, sub="root"))
            assert "signature" in await refusal(house, changed(token, iss=hasty.url))
            assert "not valid" in await refusal(house, given["access_token"])
            assert len(upstream.requests) == 1


class Clocks:
    """A Penstock's clocks, which a test moves; the provider's own goes on."""

    ahead = 0.0  # seconds

    def wall(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return self.ahead  # however long the provider takes to start


@asynccontextmanager
async def tokens_of(issuer: str, pool: Pool, clocks: Clocks) -> AsyncIterator[Tokens]:
    """What an API process makes of tokens, by these clocks."""
    one = Issuer(name=issuer, key_urls=(issuer + DISCOVERY,), audiences=(AUDIENCE,), fields=ClaimFields(user_id="sub"))
    settings = Jwt(issuers=(one,), user_upsert=True)

    async def find(user: str | None, team: str | None, organization: str | None) -> Access:
        return await find_user(pool, user, team, organization, Rules())

    async with client() as http:
        fetch = fetcher(settings, http)
        keys = SigningKeys(fetch, settings.key_ttl, settings.key_stale_ttl, clocks.monotonic)
        registrar = Registrar(UserRules(), TeamRules())
        yield Tokens(settings, keys, Directory(pool, lambda _: None, registrar), find, clocks.wall)


async def test_the_provider_may_change_its_key_and_be_away(provider: Provider, pool: Pool) -> None:
    provider.ready()
    clocks = Clocks()
    async with tokens_of(provider.url, pool, clocks) as tokens:
        old = (await provider.sign_in())["id_token"]
        assert "kid" not in part(old, 0)
        assert (await tokens.access_of(old)).caller.user == "ada"

        provider.stop()
        provider.start()
        new = (await provider.sign_in())["id_token"]
        with pytest.raises(Refused, match="signature"):
            await tokens.access_of(new)
        clocks.ahead = 10.0
        assert (await tokens.access_of(new)).caller.user == "ada"
        assert (await tokens.access_of(old)).caller.user == "ada"  # remembered, for a minute
        clocks.ahead = 61.0
        with pytest.raises(Refused, match="signature"):
            await tokens.access_of(old)

        provider.stop()
        clocks.ahead = 700.0  # the token is forgotten, and the keys are older than `public_key_ttl`
        assert (await tokens.access_of(new)).caller.user == "ada"
        clocks.ahead = HOUR + 11.0
        with pytest.raises(Refused, match="Expired"):
            await tokens.access_of(new)
