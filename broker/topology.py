"""The topology as data: what is declared on RabbitMQ, and what each role may touch.

Requests wait in one queue per model group and class, and in one per deployment and class when they are handed to it;
replies and events go to queues that live and die with their process; usage events are durable; whatever expires or is
rejected ends in `dead`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Protocol

REQUESTS = "penstock.requests"  # direct: key = queue
REPLIES = "penstock.replies"  # direct: key = inbox
EVENTS = "penstock.events"  # fanout: beats, cancels, verdicts
USAGE = "penstock.usage"  # direct: key = queue
DEAD = "penstock.dead"  # fanout

USAGE_QUEUE = "usage"
DEAD_QUEUE = "dead"

INTERACTIVE, BATCH = "interactive", "batch"  # the classes; see `schemas.envelope.Class`
_DELIVERIES = 1000  # giving back what cannot start now counts on RabbitMQ 4.0 to 4.2, whose own limit is 20
_UNSAFE = re.compile(r"[^a-zA-Z0-9\-_.:@,/+ ]")


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange to declare; all are durable."""

    name: str
    kind: Literal["direct", "fanout"]


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue to declare and bind to `exchange` by its own name. Bounds in bytes, `keep` in seconds."""

    name: str
    exchange: str
    kind: Literal["classic", "quorum"]
    max_bytes: int
    dead_letters: bool = True
    keep: int | None = None  # x-message-ttl
    full: Literal["reject-publish", "drop-head"] = "reject-publish"
    deliveries: int | None = None  # of a message to one consumer after another, then it is dead

    def arguments(self) -> dict[str, str | int]:
        """The queue's AMQP arguments, valid on RabbitMQ 3.10 and 4.x alike."""
        found: dict[str, str | int] = {
            "x-queue-type": self.kind,
            "x-max-length-bytes": self.max_bytes,
            "x-overflow": self.full,
        }
        if self.dead_letters:
            found["x-dead-letter-exchange"] = DEAD
        if self.keep is not None:
            found["x-message-ttl"] = self.keep * 1000
        if self.deliveries is not None:
            found["x-delivery-limit"] = self.deliveries
        return found


@dataclass(frozen=True, slots=True)
class Topology:
    """All that must exist before a process works."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Permissions:
    """RabbitMQ permissions of a role: regular expressions for configure, write and read."""

    configure: str
    write: str
    read: str


ROLES = {
    "api": Permissions(
        configure=r"^inbox\..*$",
        write=r"^(inbox\..*|penstock\.(requests|events|usage))$",
        read=r"^(inbox\..*|penstock\.(replies|events))$",
    ),
    "worker": Permissions(
        configure=r"^(inbox|requests|handoff)\..*$",
        write=r"^((inbox|requests|handoff)\..*|penstock\.(replies|events|usage|dead))$",
        read=r"^((inbox|requests|handoff)\..*|penstock\.(requests|events))$",
    ),
    "accounting": Permissions(
        configure=r"^inbox\..*$",
        write=r"^(inbox\..*|penstock\.events)$",
        read=r"^(inbox\..*|usage|dead|penstock\.events)$",
    ),
    "setup": Permissions(
        configure=r"^(penstock\.(requests|replies|events|usage|dead)|(requests|handoff)\..*|usage|dead)$",
        write=r"^((requests|handoff)\..*|usage|dead|penstock\.dead)$",
        read=r"^(penstock\.(requests|usage|dead)|(requests|handoff)\..*|usage)$",
    ),
}
"""`setup` declares the topology (`penstock admin topology`); the others then need to declare nothing but inboxes, and
workers the request queues of models that are added while they run.

RabbitMQ wants a dead-letter exchange to be writable, and the queue readable, for who declares a queue with one; and
the queue writable and the exchange readable for who binds one.
"""


@lru_cache(4096)  # asked for at every request
def requests_queue(group: str, klass: str = INTERACTIVE) -> str:
    """The queue that a model group's requests of one class wait in; at most 255 bytes, as AMQP wants.

    AMQP client libraries take a small alphabet only; what is outside it (the `*` of a wildcard) is escaped as `#2A`.
    """
    return _named(f"requests.{klass}.", group)


@lru_cache(4096)
def handoff_queue(deployment: str, klass: str = INTERACTIVE) -> str:
    """The queue of requests that are for this deployment alone."""
    return _named(f"handoff.{klass}.", deployment)


def _named(prefix: str, name: str) -> str:
    found = prefix + _UNSAFE.sub(lambda found: "".join(f"#{byte:02X}" for byte in found[0].encode()), name)
    return found if len(found) <= 255 else f"{prefix}sha256-{hashlib.sha256(name.encode()).hexdigest()}"


class Deployed(Protocol):
    """What the topology must know of a deployment."""

    @property
    def id(self) -> str:
        """Its own name."""

    @property
    def group(self) -> str:
        """Its model group."""


def topology_of(deployments: Iterable[Deployed], queue_bytes: int) -> Topology:
    """The topology for these deployments. A group's only one needs no queue of its own: the group's is that."""
    deployments = list(deployments)
    sizes = Counter(deployment.group for deployment in deployments)
    handed = (deployment.id for deployment in deployments if sizes[deployment.group] > 1)
    return topology(sizes, queue_bytes, handed)


def topology(groups: Iterable[str], queue_bytes: int, handed: Iterable[str] = ()) -> Topology:
    """The topology for these model groups, and deployments that requests are handed to.

    `queue_bytes` bounds each request queue.
    """
    groups, handed = sorted(set(groups)), sorted(handed)
    names = {
        klass: [*(requests_queue(group, klass) for group in groups), *(handoff_queue(one, klass) for one in handed)]
        for klass in (INTERACTIVE, BATCH)
    }
    return Topology(
        exchanges=(
            Exchange(REQUESTS, "direct"),
            Exchange(REPLIES, "direct"),
            Exchange(EVENTS, "fanout"),
            Exchange(USAGE, "direct"),
            Exchange(DEAD, "fanout"),
        ),
        queues=(
            Queue(USAGE_QUEUE, USAGE, "quorum", max_bytes=2**30),
            Queue(DEAD_QUEUE, DEAD, "quorum", max_bytes=2**28, dead_letters=False, keep=7 * 86400, full="drop-head"),
            *(Queue(name, REQUESTS, "classic", max_bytes=queue_bytes) for name in names[INTERACTIVE]),
            *(Queue(name, REQUESTS, "quorum", max_bytes=queue_bytes, deliveries=_DELIVERIES) for name in names[BATCH]),
        ),
    )
