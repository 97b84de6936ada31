"""A stream's failure must not swallow what came before it in the same read."""

from collections.abc import Callable, Iterable

from schemas.failures import Refused


class Ahead:
    """Holds a failure back until what was translated ahead of it is out."""

    def __init__(self) -> None:
        self._refused: Refused | None = None

    def check(self) -> None:
        """Raise what was held back."""
        if self._refused is not None:
            raise self._refused

    def join(self, translate: Callable[[bytes], bytes], pieces: Iterable[bytes]) -> bytes:
        """All translations; a failure behind some of them is raised by the next `check`."""
        found: list[bytes] = []
        for piece in pieces:
            try:
                found.append(translate(piece))
            except Refused as refused:
                if not any(found):
                    raise
                self._refused = refused
                break
        return b"".join(found)
