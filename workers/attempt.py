"""One attempt at an upstream call: who it is, what is known so far, and the event that tells the ledger."""

import secrets
from dataclasses import dataclass, field
from decimal import Decimal

from schemas.attempt import End, usage_event
from schemas.config import Deployment
from schemas.envelope import Request, Started
from schemas.failures import Failure, Kind
from schemas.usage import Status, Usage, UsageEvent


@dataclass(slots=True)
class Attempt:
    """The facts of one attempt, filled in while it runs. Times are microseconds since the epoch."""

    request: Request
    deployment: Deployment
    model: str  # as the provider calls it
    worker: str
    started: int
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    first_byte: int = 0
    http_status: int = 0
    usage: Usage = field(default_factory=Usage)
    failure: Failure | None = None
    again: bool = False  # the message goes back, and will be attempted once more

    def announcement(self, *, ask: bool) -> Started:
        """The frame that goes out before the call is made."""
        return Started(
            attempt=self.id,
            worker=self.worker,
            deployment=self.deployment.id,
            provider=self.deployment.provider,
            model=self.model,
            at=self.started,
            n=self.request.n,
            ask=ask,
        )

    def event(self, ended: int, cost: Decimal | None) -> UsageEvent:
        """The attempt as the ledger will have it."""
        failure = self.failure.kind.value if self.failure else ""
        status = _status(self.failure)
        end = End(ended, status, self.usage, cost, failure, self.http_status, self.first_byte, self.again)
        return usage_event(self.request, self.announcement(ask=False), end)


def _status(failure: Failure | None) -> Status:
    if failure is None:
        return Status.SUCCESS
    return Status.CANCELLED if failure.kind is Kind.CANCELLED else Status.FAILURE
