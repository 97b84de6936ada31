"""What must not be readable on the queue: sealed at the door, opened by the worker, with a key that both hold."""

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.failures import Kind, Refused

_NONCE = 12


class Seal:
    """AES-256-GCM under a key derived from the salt key."""

    def __init__(self, salt_key: str) -> None:
        derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"penstock message seal v1")
        self._cipher = AESGCM(derive.derive(salt_key.encode()))

    def close(self, fields: Mapping[str, Any]) -> str:
        """A JSON object, sealed and printable."""
        nonce = os.urandom(_NONCE)
        return (nonce + self._cipher.encrypt(nonce, msgspec.json.encode(fields), None)).hex()

    def close_bytes(self, data: bytes, about: bytes) -> bytes:
        """Bytes, sealed; they can be opened only as what they are `about`."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, data, about)

    def open_bytes(self, sealed: bytes, about: bytes) -> bytes:
        """The bytes. Raises `Refused(INTERNAL)` when they were sealed with another key, or about something else."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
        except (ValueError, InvalidTag):
            raise Refused(Kind.INTERNAL, "What was kept is sealed with another salt key (PENSTOCK_SALT_KEY).") from None

    def open(self, sealed: str) -> dict[str, Any]:
        """The object. Raises `Refused(INTERNAL)` when it was sealed with another key."""
        try:
            data = bytes.fromhex(sealed)
            text = self._cipher.decrypt(data[:_NONCE], data[_NONCE:], None)
        except (ValueError, InvalidTag):
            raise Refused(Kind.INTERNAL, "API and worker have different salt keys (PENSTOCK_SALT_KEY).") from None
        return msgspec.json.decode(text, type=dict[str, Any])
