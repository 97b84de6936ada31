"""The public keys of issuers: fetched when they are wanted, kept for a while, and longer while the issuer is away."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from schemas.failures import Kind, Refused

_LOG = logging.getLogger("penstock.api")


class IssuerAway(Exception):
    """The keys cannot be fetched now; the text says why in one line, without a secret."""


Fetch = Callable[[str], Awaitable[Any]]
"""The JSON behind an address (a JWKS, or OIDC's discovery that leads to one). Raises `IssuerAway`."""

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_ALGORITHMS: Mapping[tuple[str, str | None], frozenset[str]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
ALGORITHMS = frozenset(name for names in _ALGORITHMS.values() for name in names)
"""What a token may be signed with: only what nobody can sign with the public key."""
_PUBLIC = ("kty", "crv", "n", "e", "x", "y")
_SHORTEST_RSA = 2048  # bits, RFC 7518 section 3.3
_MOST_KEYS = 200
_BETWEEN = 10.0  # seconds between two fetches from one address because of a key that is not known, or after a failure


class Key(NamedTuple):
    """One public key, and what it may have signed with."""

    id: str | None
    algorithms: frozenset[str]
    public: Any


@dataclass(slots=True)
class _Source:
    keys: tuple[Key, ...] = ()
    fetched: float | None = None
    tried: float | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SigningKeys:
    """Keys by address. `ttl` and `stale_ttl` in seconds; `now` is a monotonic clock."""

    def __init__(self, fetch: Fetch, ttl: float, stale_ttl: float, now: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._ttl = ttl
        self._stale_ttl = stale_ttl
        self._now = now
        self._sources: dict[str, _Source] = {}

    async def find(self, urls: Iterable[str], id: str | None, algorithm: str, but: Collection[Key] = ()) -> Key | None:
        """The key with this id for this algorithm, or the only one when the token names none; None: there is none.

        `but` those that have not signed it: an issuer may change its key and name none, or keep the name.
        A key that is not there may be new: its issuer is asked again, but not more often than every ten seconds.
        Raises `Refused`, a 503, when an issuer is away and no other has the key.
        """
        sources = [(url, self._sources.setdefault(url, _Source())) for url in urls]
        fresh = (source for _, source in sources if self._is_fresh(source))
        for key in (_match(source.keys, id, algorithm, but) for source in fresh):
            if key is not None:  # another address, which may be away, need not be asked
                return key
        for again in (False, True):
            for url, source in sources:
                if again or self._is_old(source):
                    await self._renew(url, source)
                found = _match(self._usable(source), id, algorithm, but)
                if found is not None:
                    return found
        if not all(self._usable(source) for _, source in sources):
            raise Refused(Kind.ISSUER_DOWN, "The issuer's keys cannot be fetched: the token cannot be verified now.")
        return None

    def _is_fresh(self, source: _Source) -> bool:
        return source.fetched is not None and self._now() - source.fetched < self._ttl

    def _is_old(self, source: _Source) -> bool:
        """Whether the keys should be fetched first; not while somebody does and the last ones still count."""
        return not self._is_fresh(source) and not (source.lock.locked() and self._usable(source))

    def _usable(self, source: _Source) -> tuple[Key, ...]:
        if source.fetched is None or self._now() - source.fetched >= self._ttl + self._stale_ttl:
            return ()
        return source.keys

    def _may_try(self, source: _Source) -> bool:
        return source.tried is None or self._now() - source.tried >= _BETWEEN

    async def _renew(self, url: str, source: _Source) -> None:
        """Fetch, unless that was just done. One fetches; the others wait for what it brings."""
        async with source.lock:
            if not self._may_try(source):
                return
            try:
                source.keys = _read(await self._fetch(url))
            except IssuerAway as away:
                _LOG.warning("the keys of an issuer of tokens cannot be fetched: %s", away)
            else:
                source.fetched = self._now()
            finally:  # and not before: of those who wait for a slow issuer each would ask it again, one after the other
                source.tried = self._now()


def _match(keys: tuple[Key, ...], id: str | None, algorithm: str, but: Collection[Key]) -> Key | None:
    fitting = [key for key in keys if algorithm in key.algorithms and key not in but]
    if id is not None and any(key.id == id for key in fitting):
        return next(key for key in fitting if key.id == id)
    if len(fitting) == 1 and (id is None or fitting[0].id is None):
        return fitting[0]
    return None


def _read(document: Any) -> tuple[Key, ...]:
    """The keys of a JWKS that we can use; those for encryption, symmetric and weak ones are left out.

    Raises `IssuerAway` when that leaves none: such an answer replaces no good one.
    """
    listed = document.get("keys", document) if isinstance(document, dict) else document
    rows = listed if isinstance(listed, list) else [listed]
    found = tuple(key for row in rows[:_MOST_KEYS] if isinstance(row, dict) and (key := _key(row)) is not None)
    if not found:
        raise IssuerAway("there is no key in its answer that could be used")
    return found


def _key(row: dict[str, Any]) -> Key | None:
    kty, crv, alg = row.get("kty"), row.get("crv"), row.get("alg")
    if row.get("use", "sig") != "sig" or not isinstance(kty, str) or not isinstance(crv, str | None):
        return None
    algorithms = _ALGORITHMS.get((kty, crv), frozenset())
    if isinstance(alg, str):
        algorithms &= {alg}
    if not algorithms:
        return None
    try:
        public = PyJWK({name: row[name] for name in _PUBLIC if name in row}, min(algorithms)).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < _SHORTEST_RSA:
        return None
    id = row.get("kid")
    return Key(id if isinstance(id, str) else None, algorithms, public)
