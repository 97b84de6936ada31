"""Calls whose client has gone: they go on for a grace, in which the same client may ask for the same again.

An SDK that timed out retries within a second, without an idempotency key. A second upstream call would cost twice, so
the retry gets the answer of the first. That is best effort: it works in the process that has the first.
"""

import asyncio
from collections.abc import Callable, Iterator

from api.pending import Pending
from schemas.envelope import Request


class Leaving:
    """The calls of one process that are in their grace; `stop` is called when it is over."""

    def __init__(self, grace: float, stop: Callable[[Pending], None]) -> None:
        self._grace = grace
        self._stop = stop
        self._timers: dict[Pending, asyncio.TimerHandle] = {}

    def __contains__(self, pending: Pending) -> bool:
        return pending in self._timers

    def __iter__(self) -> Iterator[Pending]:
        return iter(list(self._timers))

    def keep(self, pending: Pending) -> None:
        """Its client is gone, and the call runs."""
        pending.revive()
        self._timers[pending] = asyncio.get_running_loop().call_later(self._grace, self._over, pending)

    def attach(self, request: Request, body: bytes) -> Pending | None:
        """The call that this request repeats; it is no longer leaving."""
        for pending, timer in self._timers.items():
            if (
                not pending.taken
                and not pending.failing
                and pending.body == body
                and _asks_for(pending.request) == _asks_for(request)
            ):
                timer.cancel()
                del self._timers[pending]
                return pending
        return None

    def close(self) -> None:
        """Nobody comes back any more."""
        for timer in self._timers.values():
            timer.cancel()

    def _over(self, pending: Pending) -> None:
        del self._timers[pending]
        self._stop(pending)


def _asks_for(request: Request) -> tuple[object, ...]:
    return (
        request.caller,
        request.endpoint,
        request.stream,
        request.model,
        request.klass,
        request.mock_response,
        request.metadata,
        request.credentials or None,  # sealed ones differ each time, so they are never the same
    )
