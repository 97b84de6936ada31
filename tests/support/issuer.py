"""An issuer of tokens: its keys, its JWKS, and tokens with any claims and any fault."""

import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.signing_keys import IssuerAway

NOW = 1_800_000_000.0
URL = "https://id.example/keys"
NAME = "https://id.example"
AUDIENCE = "penstock"

_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_EC = ec.generate_private_key(ec.SECP256R1())
_ED = ed25519.Ed25519PrivateKey.generate()
PRIVATE: Mapping[str, Any] = {"rsa": _RSA, "other": _OTHER_RSA, "ec": _EC, "ed": _ED}


def jwk(name: str, **more: Any) -> dict[str, Any]:
    """The public key as a JWK with this key id."""
    public = PRIVATE[name].public_key()
    form = {"ec": ECAlgorithm, "ed": OKPAlgorithm}.get(name, RSAAlgorithm)
    found: dict[str, Any] = json.loads(form.to_jwk(public))
    return {**found, "kid": name, **more}


class Provider:
    """What answers at its addresses. `away`: nothing does."""

    def __init__(self, *names: str) -> None:
        self.documents: dict[str, Any] = {URL: {"keys": [jwk(name) for name in names or ("rsa", "ec", "ed")]}}
        self.away = False
        self.asked: list[str] = []

    async def fetch(self, url: str) -> Any:
        """As `api.signing_keys.Fetch`."""
        self.asked.append(url)
        if self.away or url not in self.documents:
            raise IssuerAway("nobody there")
        return self.documents[url]


def token(name: str = "rsa", alg: str = "RS256", headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
    """A good token, but for what is said of it; a claim that is None is left out."""
    every = {"iss": NAME, "aud": AUDIENCE, "exp": NOW + 600, "iat": NOW, "sub": "ada", **claims}
    given = {key: value for key, value in every.items() if value is not None}
    return jwt.encode(given, PRIVATE[name], algorithm=alg, headers={"kid": name, **(headers or {})})
