"""A request's body off the wire, no larger than is allowed."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from schemas.failures import Kind, Refused

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGone(Exception):
    """The client disconnected before its request was complete."""


async def read_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int) -> bytes:
    """The request's body. Raises `Refused(TOO_LARGE)` beyond `limit` bytes, before reading where that is known."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
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


def _too_large(limit: int) -> Refused:
    return Refused(Kind.TOO_LARGE, f"The request body is larger than the {limit} bytes that are allowed.")
