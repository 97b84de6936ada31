"""From an attempt's announcement and its end to the event that tells the ledger, whoever saw the end."""

from decimal import Decimal
from typing import NamedTuple

from schemas.envelope import Request, Started
from schemas.usage import Status, Usage, UsageEvent


class End(NamedTuple):
    """How an attempt ended. `at` and `first_byte` in microseconds since the epoch, 0: no byte came."""

    at: int
    status: Status
    usage: Usage
    cost: Decimal | None
    failure: str = ""
    http_status: int = 0
    first_byte: int = 0
    again: bool = False  # the same message will be attempted once more: what is reserved is for that


def usage_event(request: Request, announced: Started, end: End) -> UsageEvent:
    """The attempt as the ledger will have it."""
    return UsageEvent(
        attempt=announced.attempt,
        request=request.id,
        started=announced.at,
        ended=end.at,
        first_byte=end.first_byte,
        status=end.status,
        http_status=end.http_status,
        failure=end.failure,
        endpoint=request.endpoint.value,
        stream=request.stream,
        group=request.group,
        model=announced.model,
        provider=announced.provider,
        deployment=announced.deployment,
        worker=announced.worker,
        caller=request.caller,
        usage=end.usage,
        cost=end.cost,
        metadata=request.metadata,
        leases=() if end.status is Status.LOST else request.leases,
        reserved=0 if end.again else request.reserved,
        reservation=0 if end.again else request.reservation,
    )
