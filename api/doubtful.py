"""Requests that were sent and given up before anybody had begun them: what is held for them comes back later."""

import asyncio

from api.payment import Payment
from api.pending import Pending

_DOUBT = 10.0  # seconds in which a worker that has begun has said so


class Doubtful:
    """Payments of which it is not known yet whether they are needed."""

    def __init__(self) -> None:
        self._payments: dict[str, Payment] = {}

    def close(self, pending: Pending) -> None:
        """Nobody wants the request any more. What was never sent is given back at once."""
        payment = pending.payment
        if payment is None or payment.closed():
            return
        if not pending.published:
            payment.unused()
            return
        self._payments[pending.request.id] = payment
        asyncio.get_running_loop().call_later(_DOUBT, self._over, pending.request.id)

    def begun(self, request: str, pending: Pending | None) -> None:
        """Somebody has begun it all the same, maybe as it was before it was handed on: that usage event settles it."""
        self._payments.pop(request, None)
        if pending is not None and pending.payment is not None:
            pending.payment.begun()

    def _over(self, request: str) -> None:
        payment = self._payments.pop(request, None)
        if payment is not None:
            payment.unused()
