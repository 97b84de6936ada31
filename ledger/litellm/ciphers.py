"""What LiteLLM has encrypted, read: NaCl's secret box, or AES-256-GCM behind `v2:gcm:`, under its salt key's SHA-256.

https://docs.litellm.ai/docs/proxy/prod: the salt key is LITELLM_SALT_KEY, and where that was never set the master key.
"""

import base64
import binascii
import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

try:
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox
except ImportError:  # the extra `litellm` is not installed
    SecretBox = None  # type: ignore[assignment, misc]

_VERSION_2 = "v2:gcm:"
_NONCE = 12
_SHORTEST = 24 + 16  # nonce and tag of a secret box


class MissingPackage(Exception):
    """NaCl is not installed."""


class Cipher:
    """Reads what was encrypted with one salt key. Raises `MissingPackage` when that needs NaCl and there is none."""

    def __init__(self, salt_key: str) -> None:
        if SecretBox is None:
            raise MissingPackage("pip install 'penstock[litellm]' to read what LiteLLM has encrypted")
        key = hashlib.sha256(salt_key.encode()).digest()
        self._box, self._aes = SecretBox(key), AESGCM(key)

    def read(self, value: str) -> str | None:
        """The text; None when it was not encrypted, or not with this salt key."""
        try:
            if value.startswith(_VERSION_2):
                data = base64.urlsafe_b64decode(value.removeprefix(_VERSION_2))
                return self._aes.decrypt(data[:_NONCE], data[_NONCE:], None).decode()
            boxed = _boxed(value)
            return None if boxed is None else self._box.decrypt(boxed).decode()
        except (ValueError, InvalidTag, CryptoError):
            return None


def looks_encrypted(value: object) -> bool:
    """Whether a value could be a ciphertext: nothing more can be said without the key."""
    if not isinstance(value, str) or value.startswith("sk-"):
        return False
    return value.startswith(_VERSION_2) or _boxed(value) is not None


def _boxed(value: str) -> bytes | None:
    for decode in (_urlsafe, _standard):
        try:
            data = decode(value)
        except (binascii.Error, ValueError):
            continue
        return data if len(data) >= _SHORTEST else None
    return None


def _urlsafe(value: str) -> bytes:
    return base64.b64decode(value.encode("ascii"), altchars=b"-_", validate=True)


def _standard(value: str) -> bytes:
    return base64.b64decode(value.encode("ascii"), validate=True)
