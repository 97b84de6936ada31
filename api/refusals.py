"""Failures that the asking side itself knows of: no worker, no queue, too large."""

import math
from datetime import UTC, datetime
from decimal import Decimal

from msgspec import structs

from api.hold import Bill
from broker.port import BusDown, BusError, QueueFull
from ledger.leases import NANO
from schemas.access import Account, Budget, Rate
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


class BudgetSpent(Refused):
    """A budget is spent, or less is left of it than the call may cost; `account` is whose."""

    account: Account


def budget_exceeded(budget: Budget, spendable: int, bill: Bill, status: int) -> BudgetSpent:
    """The budget is spent, or less of it (`spendable`, in nano-dollars) is left than the call may cost."""
    most = Decimal(0) if budget.most is None else budget.most
    left = Decimal(spendable) / NANO
    said = _exceeded(budget, _money(most - left), _money(most))
    if spendable > 0 and bill.supposed:
        said += f". The prompt alone may cost up to {_money(Decimal(bill.least) / NANO)} and {_money(left)} is left."
    elif spendable > 0:
        said += f". This call may cost up to {_money(Decimal(bill.nano) / NANO)} and {_money(left)} is left: "
        said += "a smaller max_tokens may fit."
    refused = BudgetSpent(Kind.BUDGET_EXCEEDED, said)
    refused.failure = Failure(Kind.BUDGET_EXCEEDED, said, status=status, final=True)
    refused.account = budget.account
    return refused


def _exceeded(budget: Budget, spent: str, most: str) -> str:
    """LiteLLM's words, which differ by whose budget it is."""
    kind, named = budget.account.kind, budget.named
    if budget.window:
        whose = "Key" if kind == "key" else named
        return f"ExceededBudget: {whose} over {budget.period} budget. Spend=${spent}, Limit=${most}"
    if kind in ("user", "customer"):
        return f"ExceededBudget: {named} over budget. Spend={spent}, Budget={most}"
    if model := budget.account.parted()[1]:
        whose = named.removesuffix(f", model={model}")
        return f"{whose}, exceeded budget for model={model}. Current cost: {spent}, Max budget: {most}"
    return f"Budget has been exceeded! {named} Current cost: {spent}, Max budget: {most}"


def budget_reserved(budget: Budget) -> Refused:
    """What is left of the budget is reserved by calls under way, for as long as this one may wait."""
    said = f"What is left of the budget is reserved by calls under way. {budget.named}"
    if budget.window:
        said += f" over {budget.period}"
    return Refused(Kind.BUDGET_RESERVED, said)


def key_rate_limit(rate: Rate, amount: int, seconds: float, now: float) -> Refused:
    """The limit has no room for so many units for `seconds`, or never. `now` in seconds since the epoch."""
    said = f"Rate limit exceeded for {rate.named}. Limit type: {rate.unit}. Current limit: {rate.most}, Remaining: 0."
    never, seconds = amount > rate.most, max(0.05, seconds)
    resets = "" if never else f"{datetime.fromtimestamp(math.ceil(now + seconds), UTC):%Y-%m-%d %H:%M:%S} UTC"
    said += f" This request alone needs {amount}." if never else f" Limit resets at: {resets}"
    limit = {"rate_limit_type": rate.unit.value, **({} if never else {"reset_at": resets})}
    refused = Refused(Kind.KEY_RATE_LIMIT, said, retry_after=seconds, final=never)
    refused.failure = structs.replace(refused.failure, limit=limit)
    return refused


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
