"""Who is asking: the key from the request's headers, compared in constant time."""

import hashlib
import hmac
from collections.abc import Iterable

from fastapi import Request
from pydantic import SecretStr

from schemas.failures import Kind, Refused
from schemas.usage import Caller

Headers = Iterable[tuple[bytes, bytes]]
_NAMES = (b"authorization", b"x-litellm-api-key", b"x-api-key", b"api-key")


class Gatekeeper:
    """Knows the master key; virtual keys join it here."""

    def __init__(self, master_key: SecretStr | None) -> None:
        self._master = b"" if master_key is None else master_key.get_secret_value().encode()
        self._caller = Caller(
            key_hash=hashlib.sha256(self._master).hexdigest(), key_alias="master", user="default_user_id"
        )

    async def dependency(self, request: Request) -> Caller:
        """`admit` as a FastAPI dependency."""
        return self.admit(request.headers.raw)

    def admit(self, headers: Headers) -> Caller:
        """The caller behind the request's key. Raises `Refused(UNAUTHENTICATED)`."""
        key = presented_key(headers)
        if not key:
            raise Refused(Kind.UNAUTHENTICATED, "No API key was given. Send it as 'Authorization: Bearer <key>'.")
        if not self._master or not hmac.compare_digest(key, self._master):
            raise Refused(Kind.UNAUTHENTICATED, "The API key is not valid.")
        return self._caller


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
