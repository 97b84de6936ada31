"""A request's body off the wire, no larger than is allowed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from schemas.failures import Kind, Refused

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_SILENCE = 30.0  # seconds between two parts of a body


class ClientGone(Exception):
    """The client disconnected before its request was complete."""


async def read_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int) -> bytes:
    """The request's body. Raises `Refused(TOO_LARGE)` beyond `limit` bytes, before reading where that is known."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
    try:
        async with asyncio.timeout(_SILENCE) as silence:
            return await _read(receive, limit, silence)
    except TimeoutError:
        raise Refused(Kind.SLOW_BODY, f"Nothing of the request's body came for {_SILENCE:g} seconds.") from None


async def _read(receive: Receive, limit: int, silence: asyncio.Timeout) -> bytes:
    clock = asyncio.get_running_loop().time
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)
        silence.reschedule(clock() + _SILENCE)


def _too_large(limit: int) -> Refused:
    return Refused(Kind.TOO_LARGE, f"The request body is larger than the {limit} bytes that are allowed.")
