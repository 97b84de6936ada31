"""How keys are stored: HMAC-SHA-256(pepper, SHA-256(key)), hex. LiteLLM stores the inner hash: its keys carry over.

The pepper is random, made once, and kept in the ledger, sealed with the salt key when there is one.
"""

import hashlib
import hmac
import secrets
from typing import Protocol

from ledger.pool import Pool
from ledger.sql import query
from schemas.failures import Kind, Refused

_ABOUT = b"penstock pepper"


class Seal(Protocol):
    """What `broker.seal.Seal` can do."""

    def close_bytes(self, data: bytes, about: bytes) -> bytes:
        """Bytes, sealed."""

    def open_bytes(self, sealed: bytes, about: bytes) -> bytes:
        """The bytes again."""


class Pepper:
    """Makes the stored hash of a key."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def hash(self, key: bytes) -> str:
        """64 hex digits for a key as its owner has it."""
        return self._peppered(hashlib.sha256(key).digest())

    def hash_of_digest(self, digest: str) -> str:
        """The same, for the SHA-256 of a key in hex. Raises `ValueError` when it is none."""
        inner = bytes.fromhex(digest)
        if len(inner) != hashlib.sha256().digest_size:
            raise ValueError("a SHA-256 in hex is wanted")
        return self._peppered(inner)

    def candidates(self, given: str) -> tuple[str, ...]:
        """What is stored, if `given` is a key, its SHA-256, or the stored hash itself."""
        if given.startswith("sk-"):
            return (self.hash(given.encode()),)
        try:
            return (given, self.hash_of_digest(given))
        except ValueError:
            return (given, self.hash(given.encode("utf-8", "replace")))

    def _peppered(self, inner: bytes) -> str:
        return hmac.new(self._value, inner, hashlib.sha256).hexdigest()


async def pepper(pool: Pool, seal: Seal | None) -> Pepper:
    """The ledger's pepper; of any number who ask first, one makes it. `seal` is the salt key's, None without one.

    Raises `Refused(INTERNAL)` when it was sealed with a salt key that is not this one, and what asyncpg raises.
    """
    made = secrets.token_bytes(32)
    value = made if seal is None else seal.close_bytes(made, _ABOUT)
    row = await pool.fetchrow(query("pepper"), value.hex(), seal is not None)
    assert row is not None
    stored = bytes.fromhex(row["value"])
    if not row["sealed"]:
        return Pepper(stored)
    if seal is None:
        raise Refused(Kind.INTERNAL, "The ledger's keys need the salt key they were made with (PENSTOCK_SALT_KEY).")
    return Pepper(seal.open_bytes(stored, _ABOUT))
