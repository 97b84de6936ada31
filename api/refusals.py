"""Failures that the asking side itself knows of: no worker, no queue, too large."""

from broker.port import BusDown, BusError, QueueFull
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


def made_to_fail(request: Request) -> Failure:
    """What `mock_testing_fallbacks` asks for."""
    return Failure(Kind.NO_WORKERS, f"The model '{request.group}' was made to fail (mock_testing_fallbacks).")


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
