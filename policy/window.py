"""How many calls may be under way at a deployment that nobody has told us the measure of.

It begins small, so that a fresh deployment is not hammered, and doubles in a second while calls wait for it: answers
may take minutes, and are not waited for. An overloaded deployment shrinks it; from then on it grows slowly (AIMD).
"""

_FALL = 0.9
_SLOWLY = 0.05  # per second, once it has been too large
_LARGEST = 65536.0


class Window:
    """`now` is in seconds of any clock that only goes forwards."""

    def __init__(self, first: int, now: float) -> None:
        self._size = float(first)
        self._at = now
        self._strained = False

    @property
    def size(self) -> int:
        """How many, when it was looked at last."""
        return int(self._size)

    def now(self, running: int, now: float) -> int:
        """How many; it has grown since the last look if all of it is in use."""
        passed = min(now - self._at, 1.0)
        self._at = now
        if passed > 0 and running >= int(self._size):
            self._size = min(_LARGEST, self._size * (1 + passed * (_SLOWLY if self._strained else 1.0)))
        return int(self._size)

    def succeeded(self) -> None:
        """A call has ended well."""
        self._size = min(_LARGEST, self._size + (1 / self._size if self._strained else 1.0))

    def strained(self, running: int) -> None:
        """A call failed because the deployment has too much to do, with so many under way."""
        self._strained = True
        self._size = max(1.0, min(self._size, running) * _FALL)
