"""The only renderer of failures: OpenAI's error shape, with the provider's own words where the table allows them."""

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from schemas.failures import Failure

Header = tuple[bytes, bytes]

_SHOWN = ("message", "type", "param", "code")
_LONGEST_RETRY = 60  # the SDKs ignore a longer Retry-After and back off by themselves


def status_of(failure: Failure) -> int:
    """The HTTP status: the provider's where its words are shown, else the table's."""
    row = failure.row
    if row.words and 400 <= failure.status < 600:
        return failure.status
    return row.status


def render(failure: Failure) -> bytes:
    """`{"error": {message, type, param, code}}` as JSON; all four keys are always there."""
    error: dict[str, Any] = {
        "message": failure.message,
        "type": failure.row.type,
        "param": failure.param,
        "code": failure.kind.value,
    }
    if failure.row.words and failure.provider_error:
        theirs = msgspec.json.decode(failure.provider_error)
        if isinstance(theirs, dict) and isinstance(theirs.get("message"), str):
            error = {**error, **theirs}
    return msgspec.json.encode({"error": error})


def event(failure: Failure) -> bytes:
    """The failure as the last event of a stream that has already begun."""
    return b"data: %b\n\n" % render(failure)


def headers(failure: Failure) -> Iterable[Header]:
    """Headers that tell a client of the limit, and when to come back, or (OpenAI's SDKs go by that) not to."""
    yield from ((name.encode(), value.encode()) for name, value in failure.limit.items())
    if failure.final:
        yield b"x-should-retry", b"false"
        return
    seconds = failure.retry_after or failure.row.retry_after
    if not seconds:
        return
    whole = max(1, math.ceil(seconds))
    yield b"retry-after", str(whole).encode()
    if whole > _LONGEST_RETRY:
        yield b"x-should-retry", b"false"
