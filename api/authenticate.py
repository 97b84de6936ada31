"""Who is asking: the key from a request's headers, and the access behind it. Never logged."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from msgspec import structs
from pydantic import SecretStr

from api.addresses import Addresses
from api.keyring import Keyring, refuse_blocked
from api.management.rights import NOBODY, Rights
from api.signatures import is_token
from api.tokens import Tokens
from schemas.access import Access, Role, Terms
from schemas.failures import Kind, Refused
from schemas.usage import Caller

Headers = Iterable[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]
_NAMES = (b"x-litellm-api-key", b"authorization", b"api-key", b"x-api-key", b"x-goog-api-key")


@dataclass(frozen=True, slots=True)
class DoorRules:
    """By which rules one is let in. One object: a request goes by all of them, or by all of those that come next."""

    addresses: Addresses = field(default_factory=lambda: Addresses(None, (), use_forwarded=False))
    rights: Rights = field(default_factory=Rights)
    tokens: Tokens | None = None
    enforced: tuple[str, ...] = ()  # `general_settings.enforced_params`: what every call of a model must say
    proxy: Terms = field(default_factory=Terms)  # what the master key must keep to, as everybody
    records_addresses: bool = True  # not `disable_requester_ip_address_logging`


class Gatekeeper:
    """Knows the master key, and asks keyring and tokens about everybody else. `rules` may be replaced."""

    def __init__(
        self, master_key: SecretStr | None, keyring: Keyring | None = None, rules: DoorRules | None = None
    ) -> None:
        self._master = b"" if master_key is None else master_key.get_secret_value().encode()
        self._keyring = keyring
        self.rules = rules or DoorRules()
        hashed = hashlib.sha256(self._master).hexdigest()
        self._owner = Access(
            caller=Caller(key_hash=hashed, key_alias="master", user="default_user_id"), role=Role.ADMIN, shown="master"
        )

    def admit_to_management(self, rules: DoorRules) -> Callable[[Request], Awaitable[Access]]:
        """The access of who calls a management route, which needs the right to call it; by these rules."""

        async def admit(request: Request) -> Access:
            scope = request.scope
            if rules.rights.is_public(scope["path"]) and not presented_key(scope["headers"]):
                rules.addresses.check(scope)
                return NOBODY
            access = await self.identify(scope, rules)
            rules.rights.check(access, scope["method"], scope["path"])
            return access

        return admit

    async def admit_to_inference(self, scope: Scope) -> Access:
        """The access of who calls an inference route; judged anew if the rules change meanwhile. Raises `Refused`."""
        while True:
            rules = self.rules
            access = await self.identify(scope, rules)
            if not rules.rights.may_infer(access):
                rules.rights.check(access, scope["method"], scope["path"])
            if rules is self.rules:
                return structs.replace(access, enforced=rules.enforced + access.enforced) if rules.enforced else access

    def address(self, scope: Scope) -> str:
        """The client's address, as far as it is known and is to be recorded; else ""."""
        rules = self.rules
        return rules.addresses.client(scope) if rules.records_addresses else ""

    async def identify(self, scope: Scope, rules: DoorRules | None = None) -> Access:
        """The access behind the request's key. Raises `Refused`."""
        rules = rules or self.rules
        if not rules.addresses.open:
            rules.addresses.check(scope)
        key = presented_key(scope["headers"])
        if not key:
            raise Refused(Kind.UNAUTHENTICATED, "No API key was given. Send it as 'Authorization: Bearer <key>'.")
        if self._master and hmac.compare_digest(key, self._master):
            return self._owned(rules)
        if rules.tokens is not None and is_token(token := key.decode("latin-1")):
            access = await rules.tokens.access_of(token, _header(scope["headers"], b"x-litellm-team-id"))
            refuse_blocked(access)
            return access
        if self._keyring is None or not key.startswith(b"sk-"):
            raise Refused(Kind.UNAUTHENTICATED, "The API key is not valid.")
        return self._keyring.known(key) or await self._keyring.find(key, rules.addresses.client(scope))

    def _owned(self, rules: DoorRules) -> Access:
        if self._owner.terms is not rules.proxy:
            self._owner = structs.replace(self._owner, terms=rules.proxy)
        return self._owner


def presented_key(headers: Headers) -> bytes:
    """The key as the client sent it, b"" without one. Of several headers the first of these has it, as in LiteLLM.

    `x-litellm-api-key`: only who means us sends it, so it wins over what is in `Authorization` for others on the way.
    `Authorization`: an OpenAI client's; one that an ingress has let in by itself must use the header before.
    `api-key` (Azure's clients), `x-api-key` (Anthropic's), `x-goog-api-key` (Google's): what they have beside
    `Authorization` can be for another server. Whichever has it, it is the only one that is tried: a wrong key does not
    become a right one by another header, and one request is one guess. An empty header counts for none.
    """
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
