"""Server-sent events, cut out of bytes that arrive in any segmentation (WHATWG HTML, 9.2.6)."""

import re

from schemas.failures import Kind, Refused

_LONGEST = 16 * 2**20  # bytes without an event boundary: no provider's event is that long
_BOUNDARY = re.compile(rb"\n\n|\n\r\n|\n\r(?=[^\n])|\r\r")  # "\n\r" at the end: a "\n" may still come
_LINE = re.compile(rb"\r\n|\n|\r")


class Cutter:
    """Holds back what is not yet a whole event. Only bytes are looked at: a character may be cut anywhere."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # without a boundary: joined only when one may have come
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """All whole events that are now there, as they came; b"" for none. Raises `Refused(PROVIDER_GARBLED)`."""
        if self._size and b"\n" not in data and b"\r" not in data:
            self._hold(data)
            return b""
        if self._size:
            data = b"".join((*self._parts, data))
            self._parts.clear()
            self._size = 0
        cut = _last_boundary(data)
        if cut < len(data):
            self._hold(data[cut:])
        return data[:cut] if cut < len(data) else data

    def rest(self) -> bytes:
        """What is left when the stream has ended: an event without its empty line."""
        rest = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return rest

    def _hold(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > _LONGEST:
            raise Refused(Kind.PROVIDER_GARBLED, "The provider sent an endless event.")
        self._parts.append(data)


def _last_boundary(data: bytes) -> int:
    """Where the last whole event ends; 0 for nowhere."""
    if b"\r" not in data:
        at = data.rfind(b"\n\n")
        return at + 2 if at >= 0 else 0
    end = 0
    for match in _BOUNDARY.finditer(data):
        end = match.end()
    return end


def events(block: bytes) -> list[bytes]:
    """The single events of a block of whole events, each with its boundary."""
    if b"\r" not in block:
        parts = block.split(b"\n\n")
        found = [part + b"\n\n" for part in parts[:-1]]
        return [*found, parts[-1]] if parts[-1] else found
    found, start = [], 0
    for match in _BOUNDARY.finditer(block):
        found.append(block[start : match.end()])
        start = match.end()
    return [*found, block[start:]] if start < len(block) else found


def parse(event: bytes) -> tuple[bytes, bytes]:
    """(event name, data) of one event; its data lines are joined with line feeds, b"" for a comment."""
    name, data = b"", []
    for line in _LINE.split(event):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return name, b"\n".join(data)
