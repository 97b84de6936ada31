"""Passwords of users: how they are hashed (as in LiteLLM, so that its own carry over), `/user/password/change`."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets

from fastapi import APIRouter, Response
from pydantic import SecretStr

from api.management.fields import Body
from api.management.office import Caller, Desk, answer
from ledger import users
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["users"])

SHORTEST = 12
_LONGEST = 1024  # hashing takes time for each
_SALT = 16
_FORM = "scrypt:"


class PasswordChange(Body):
    """The body of `/user/password/change`."""

    current_password: SecretStr
    new_password: SecretStr


@ROUTER.post("/user/password/change")
async def change(body: PasswordChange, desk: Desk, caller: Caller) -> Response:
    """A new password for the caller's own user, who has to know the present one."""
    user_id = caller.caller.user
    if not user_id:
        raise Refused(Kind.INVALID_REQUEST, "This key belongs to no user, so there is no password to change.")
    given, wanted = body.current_password.get_secret_value(), body.new_password.get_secret_value()
    with desk.reading() as pool:
        stored = await users.password(pool, user_id)
    if stored is None:
        raise Refused(Kind.INVALID_REQUEST, "This user has no password yet: an invitation sets it.")
    if not await matches(given, stored):
        raise Refused(Kind.INVALID_REQUEST, "The current password is not right.", param="current_password")
    if given == wanted:
        raise Refused(Kind.INVALID_REQUEST, "The new password is the current one.", param="new_password")
    hashed = await hash_of(wanted, "new_password")
    async with desk.change(caller) as changing:
        await users.set_password(changing.connection, user_id, hashed, reset_required=False)
        await changing.record("password_changed", "user", user_id)
    return answer({"user_id": user_id, "message": "Password updated successfully."})


async def hash_of(password: str, param: str = "password") -> str:
    """What is stored of a password. Raises `Refused` when it is not good enough. Takes 50 ms, on a thread."""
    if not SHORTEST <= len(password) <= _LONGEST:
        raise Refused(Kind.INVALID_REQUEST, f"A password has {SHORTEST} to {_LONGEST} characters.", param=param)
    salt = secrets.token_bytes(_SALT)
    derived = await asyncio.to_thread(_derived, password, salt)
    return _FORM + base64.b64encode(salt + derived).decode()


async def matches(password: str, stored: str) -> bool:
    """Whether this password was stored. Takes 50 ms, on a thread."""
    try:
        data = base64.b64decode(stored.removeprefix(_FORM), validate=True)
    except binascii.Error:
        return False
    if not stored.startswith(_FORM) or len(password) > _LONGEST:
        return False
    return hmac.compare_digest(await asyncio.to_thread(_derived, password, data[:_SALT]), data[_SALT:])


def _derived(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "replace"), salt=salt, n=2**14, r=8, p=1, dklen=32)
