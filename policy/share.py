"""Which processes serve a deployment, and with which part of its limits: every process works it out alike."""

import hashlib
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

_OFTEN = 4.0  # calls per second: who may begin fewer leaves the deployment to the others, for providers smooth too


@lru_cache(4096)
def _place(deployment: str, process: str) -> bytes:
    return hashlib.blake2b(f"{deployment}\0{process}".encode(), digest_size=8).digest()


class Share(NamedTuple):
    """One process's part: `copies` processes serve, this one has `slots` of the calls that may be under way."""

    copies: int
    slots: int | None  # None: not limited together

    @property
    def serves(self) -> bool:
        """Whether this process has a part at all."""
        return self.copies > 0 and self.slots != 0


def share(process: str, living: Collection[str], deployment: str, rate: float, parallel: int | None) -> Share:
    """This process's part. `living` are the processes that could serve, ourselves included; `rate` is calls per second.

    The order is a rendezvous hash, so that few deployments change hands when a process comes or goes. `rate` 0 is no
    limit.
    """
    serving = len(living)
    if rate:
        serving = min(serving, max(1, int(rate / _OFTEN)))
    if parallel is not None:
        serving = min(serving, max(1, parallel))
    if parallel is None and serving == len(living):
        return Share(serving, None)
    rank = sum(_place(deployment, name) < _place(deployment, process) for name in living)
    if rank >= serving:
        return Share(0, 0)
    if parallel is None:
        return Share(serving, None)
    return Share(serving, parallel // serving + (rank < parallel % serving))
