"""Failures that the asking side itself knows of: no worker, no queue, too large."""

from decimal import Decimal

from broker.port import BusDown, BusError, QueueFull
from ledger.leases import NANO
from schemas.access import Budget, Rate
from schemas.envelope import Request, pack
from schemas.failures import Failure, Kind, Refused

_LONGEST_HEAD = 2**20  # bytes; with 15 MiB of body the 16 MiB that RabbitMQ 4 takes, and every row gets its metadata


def packed(request: Request, body: bytes) -> bytes:
    """The message. Raises `Refused(TOO_LARGE)`."""
    data = pack(request, body)
    if len(data) - len(body) > _LONGEST_HEAD:
        said = "Metadata, tags and the other fields that are not the model's are too large together."
        raise Refused(Kind.TOO_LARGE, said)
    return data


def no_workers(request: Request) -> Failure:
    """Nobody serves its model group."""
    return Failure(Kind.NO_WORKERS, f"No worker is serving the model '{request.group}' right now.")


def removed(request: Request) -> Failure:
    """Its model group, or whatever of it could have served the request, is not configured any more."""
    return Failure(Kind.NO_WORKERS, f"The model '{request.model[:200]}' was removed while the request waited for it.")


def made_to_fail(request: Request) -> Failure:
    """What `mock_testing_fallbacks` asks for."""
    return Failure(Kind.NO_WORKERS, f"The model '{request.group}' was made to fail (mock_testing_fallbacks).")


def budget_exceeded(budget: Budget, spendable: int, amount: int, status: int) -> Refused:
    """The budget is spent, or less is left of it than the call may cost. Amounts in nano-dollars."""
    most = Decimal(0) if budget.most is None else budget.most
    spent = most - Decimal(spendable) / NANO
    said = f"Budget has been exceeded! {budget.named} Current cost: {_money(spent)}, Max budget: {_money(most)}"
    if spendable > 0:
        left = Decimal(spendable) / NANO
        said += f". This call may cost up to {_money(Decimal(amount) / NANO)} and {_money(left)} is left: "
        said += "a smaller max_tokens may fit."
    return Refused.carrying(Failure(Kind.BUDGET_EXCEEDED, said, status=status))


def budget_reserved(budget: Budget) -> Refused:
    """What is left of the budget is reserved by calls under way, for as long as this one may wait."""
    said = f"What is left of the budget is reserved by calls under way. {budget.named}"
    return Refused(Kind.BUDGET_RESERVED, said)


def key_rate_limit(rate: Rate, amount: int, seconds: float) -> Refused:
    """The limit has no room for so many units for `seconds`."""
    said = f"Rate limit exceeded for {rate.named}. Limit type: {rate.unit}. Current limit: {rate.most}, Remaining: 0."
    if amount > rate.most:
        said += f" This request alone needs {amount}."
        seconds = rate.window
    return Refused(Kind.KEY_RATE_LIMIT, said, retry_after=max(0.05, seconds))


def _money(amount: Decimal) -> str:
    return format(amount.quantize(Decimal("0.000001")).normalize(), "f")


def too_late(wait: float, possible_in: float) -> Failure:
    """It would wait `wait` seconds, and could be taken in `possible_in`."""
    said = f"The request would have to wait about {wait:.1f} s for the model's rate limits, longer than it may."
    return Failure(Kind.TOO_LATE, said, retry_after=possible_in)


def turn_too_late() -> Failure:
    """It waited longer than was thought, and its answer would not come in time."""
    return Failure(Kind.TOO_LATE, "The request's turn came too late for an answer within its deadline.")


def queue_full() -> Failure:
    """As much waits as may."""
    return Failure(Kind.QUEUE_FULL, "The queue for this model is full.")


def not_taken(error: BusError) -> Failure:
    """What the bus says of a request that it did not take."""
    match error:
        case QueueFull():
            return queue_full()
        case BusDown():
            return Failure(Kind.BUS_DOWN, "The message queue was lost before it took the request.")
        case _:
            return Failure(Kind.NO_WORKERS, "There is no queue for this model.")
