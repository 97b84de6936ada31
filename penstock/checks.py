"""What readiness asks: named checks, each answering with what is wrong, or None."""

from collections.abc import Awaitable, Callable

Checks = dict[str, Callable[[], Awaitable[str | None]]]
