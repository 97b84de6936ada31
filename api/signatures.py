"""Is a token its issuer's, for us, and of now? The claims of a JWT, once its signature and times are verified."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jwt
from jwt import exceptions as faults

from api.signing_keys import ALGORITHMS, Key, SigningKeys
from schemas.config import Issuer, Jwt
from schemas.failures import Kind, Refused

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LONGEST = 16 * 1024

_WORDS: Mapping[type[Exception], str] = {
    faults.InvalidAudienceError: "it is for another audience",
    faults.InvalidIssuerError: "it is another issuer's",
    faults.MissingRequiredClaimError: "a claim is missing",
}


class Verified(NamedTuple):
    """Claims that an issuer has signed. `expires` in seconds since the epoch."""

    claims: dict[str, Any]
    issuer: Issuer
    expires: float


def is_token(key: str) -> bool:
    """Whether this has the form of a JWT; a key of ours (`sk-…`) has no dots."""
    return _FORM.fullmatch(key) is not None


async def verified(token: str, settings: Jwt, keys: SigningKeys, now: float) -> Verified:
    """The claims. `now` in seconds since the epoch.

    Raises `Refused(UNAUTHENTICATED)`, or as `SigningKeys.find`. Nothing of the token is in the message.
    """
    if len(token) > _LONGEST:
        raise _refused("it is too long")
    header, unproved = _opened(token)
    algorithm, id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise _refused("it is not signed with an algorithm that counts here")
    issuer = _issuer(settings, unproved.get("iss"))
    if issuer is None:
        raise _refused("it is another issuer's")
    named, tried = id if isinstance(id, str) else None, list[Key]()
    while (key := await keys.find(issuer.key_urls, named, algorithm, tried)) is not None:
        try:
            claims = _proved(token, key.public, algorithm, issuer)
        except faults.InvalidSignatureError:
            tried.append(key)
        else:
            return Verified(claims, issuer, _in_time(claims, now, settings.leeway))
    raise _refused("its signature is wrong" if tried else "its issuer has no such key")


def _opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, unproved: they only say which key to prove them with."""
    try:
        found = jwt.decode_complete(token, options={"verify_signature": False})
    except (faults.PyJWTError, ValueError, RecursionError):
        raise _refused("it cannot be read") from None
    return found["header"], found["payload"]


def _issuer(settings: Jwt, name: object) -> Issuer | None:
    named = [one for one in settings.issuers if one.name is not None and one.name == name]
    return next(iter(named or [one for one in settings.issuers if one.name is None]), None)


def _proved(token: str, public: Any, algorithm: str, issuer: Issuer) -> dict[str, Any]:
    """The claims. Raises `InvalidSignatureError` when another key has signed them, `Refused` for all else."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            public,
            algorithms=[algorithm],
            audience=list(issuer.audiences) or None,
            issuer=issuer.name,
            options={
                "verify_aud": bool(issuer.audiences),
                "verify_exp": False,  # `_in_time` does, with a clock that is given
                "verify_nbf": False,
                "verify_iat": False,
                "verify_sub": False,  # some issuers have numbers there
                "verify_jti": False,
            },
        )
    except faults.InvalidSignatureError:
        raise
    except (faults.PyJWTError, ValueError, TypeError) as fault:
        raise _refused(_WORDS.get(type(fault), "it is not valid")) from None
    return claims


def _in_time(claims: Mapping[str, Any], now: float, leeway: float) -> float:
    """When it expires. A token without an end would be a key that nobody can take back."""
    ends, begins, issued = (_moment(claims, name) for name in ("exp", "nbf", "iat"))
    if ends is None:
        raise _refused("it does not say when it expires")
    if ends <= now - leeway:
        raise Refused(Kind.UNAUTHENTICATED, "Authentication Error, Token Expired")
    if any(moment is not None and moment > now + leeway for moment in (begins, issued)):
        raise _refused("it is not valid yet")
    return ends


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 10**12:  # NaN too
        raise _refused(f"{name} is not a time")
    return float(value)


def _refused(why: str) -> Refused:
    return Refused(Kind.UNAUTHENTICATED, f"Authentication Error, the token is not valid: {why}.")
