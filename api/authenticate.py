"""Who is asking: the key from a request's headers, and the access behind it. Never logged."""

import hashlib
import hmac
from collections.abc import Iterable, MutableMapping
from typing import Any

from fastapi import Request
from pydantic import SecretStr

from api.addresses import Addresses
from api.keyring import Keyring, refuse_blocked
from api.management.rights import NOBODY, Rights
from api.signatures import is_token
from api.tokens import Tokens
from schemas.access import Access, Role
from schemas.failures import Kind, Refused
from schemas.usage import Caller

Headers = Iterable[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]
_NAMES = (b"authorization", b"x-litellm-api-key", b"x-api-key", b"api-key", b"x-goog-api-key")


class Gatekeeper:
    """Knows the master key, and asks keyring and tokens about everybody else."""

    def __init__(
        self,
        master_key: SecretStr | None,
        keyring: Keyring | None = None,
        *,
        tokens: Tokens | None = None,
        addresses: Addresses | None = None,
        rights: Rights | None = None,
    ) -> None:
        self._master = b"" if master_key is None else master_key.get_secret_value().encode()
        self._keyring = keyring
        self._tokens = tokens
        self._addresses = addresses or Addresses(None, (), use_forwarded=False)
        self._rights = rights or Rights()
        hashed = hashlib.sha256(self._master).hexdigest()
        self._owner = Access(
            caller=Caller(key_hash=hashed, key_alias="master", user="default_user_id"), role=Role.ADMIN, shown="master"
        )

    async def dependency(self, request: Request) -> Access:
        """`admit` as a FastAPI dependency, which asks for the right to call the route too."""
        scope = request.scope
        if self._rights.is_public(scope["path"]) and not presented_key(scope["headers"]):
            self._addresses.check(scope)
            return NOBODY
        access = await self.admit(scope)
        self._rights.check(access, scope["method"], scope["path"])
        return access

    async def infer(self, scope: Scope) -> Access:
        """The access of who calls an inference route."""
        access = await self.admit(scope)
        if not self._rights.may_infer(access):
            self._rights.check(access, scope["method"], scope["path"])
        return access

    async def admit(self, scope: Scope) -> Access:
        """The access behind the request's key. Raises `Refused`."""
        if not self._addresses.open:
            self._addresses.check(scope)
        key = presented_key(scope["headers"])
        if not key:
            raise Refused(Kind.UNAUTHENTICATED, "No API key was given. Send it as 'Authorization: Bearer <key>'.")
        if self._master and hmac.compare_digest(key, self._master):
            return self._owner
        if self._tokens is not None and is_token(token := key.decode("latin-1")):
            access = await self._tokens.access_of(token, _header(scope["headers"], b"x-litellm-team-id"))
            refuse_blocked(access)
            return access
        if self._keyring is None or not key.startswith(b"sk-"):
            raise Refused(Kind.UNAUTHENTICATED, "The API key is not valid.")
        return self._keyring.known(key) or await self._keyring.find(key, self._addresses.client(scope))


def presented_key(headers: Headers) -> bytes:
    """The key as the client sent it, b"" without one: `Authorization` wins over `x-api-key` over `api-key`."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _NAMES and name not in found:
            found[name] = value
    for name in _NAMES:
        value = found.get(name, b"").strip()
        if value[:7].lower() in (b"bearer ", b"bearer"):
            value = value[7:].strip()
        if value:
            return value
    return b""


def _header(headers: Headers, name: bytes) -> str:
    return next((value.decode("latin-1").strip() for one, value in headers if one == name), "")
