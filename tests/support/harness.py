"""The time that the tests' own machinery holds a thread; the police take it off what they blame on the code."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Clock(threading.local):
    depth = 0
    spent = 0.0


_clock = _Clock()


@contextmanager
def harness() -> Iterator[None]:
    """Around what a test does to its servers, also as a decorator: it may block the event loop."""
    start = time.monotonic()
    _clock.depth += 1
    try:
        yield
    finally:
        _clock.depth -= 1
        if _clock.depth == 0:
            _clock.spent += time.monotonic() - start


def harness_time() -> float:
    """Seconds spent so in this thread, ever."""
    return _clock.spent
