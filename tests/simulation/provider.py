"""A simulated provider: it limits calls as providers do, says truly what is left, takes its time, and can fail."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from schemas.config import Deployment
from schemas.envelope import Request
from schemas.failures import Failure, Kind
from schemas.usage import Usage
from workers.providers.port import Answered, Call, Translation

MINUTE = 60.0
_REFUSAL = 0.005  # seconds
_BODY = b'{"id":"chatcmpl-1","choices":[]}'


@dataclass(frozen=True, slots=True)
class Character:
    """What a provider is like. `rate` calls per second; `median` and `sigma` of the seconds of a call (lognormal)."""

    rate: float | None = None
    headers: bool = True  # what is left, and Retry-After
    median: float = 1.0
    sigma: float = 0.5
    burst: float = 1.0  # seconds' worth that may come at once
    failing: tuple[float, float] = (0.0, 0.0)  # from when to when it answers 500


@dataclass(slots=True)
class Provider:
    """One provider's side of one deployment. Every call that reached it is in one of the lists, by its time."""

    character: Character
    random: Random
    clock: Callable[[], float]
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    _minute: deque[float] = field(default_factory=deque)
    _level: float = 0.0
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._level = self._bucket()

    def sent(self) -> list[float]:
        """The times of all calls."""
        return sorted([*self.accepted, *self.refused, *self.failed])

    def call(self) -> tuple[int, dict[str, str], float]:
        """A call arrives: the status, the headers, and after how many seconds the answer is there."""
        now, character = self.clock(), self.character
        if character.failing[0] <= now < character.failing[1]:
            self.failed.append(now)
            return 500, {}, _REFUSAL
        if character.rate is None:
            self.accepted.append(now)
            return 200, {}, self._latency()
        self._advance(now, character.rate)
        wait = self._wait(now, character.rate)
        if wait > 0:
            self.refused.append(now)
            return 429, self._headers(wait), _REFUSAL
        self.accepted.append(now)
        self._level -= 1
        self._minute.append(now)
        return 200, self._headers(0.0), self._latency()

    def _latency(self) -> float:
        return self.random.lognormvariate(0.0, self.character.sigma) * self.character.median

    def _bucket(self) -> float:
        return max(1.0, (self.character.rate or 0.0) * self.character.burst)

    def _advance(self, now: float, rate: float) -> None:
        self._level = min(self._bucket(), self._level + (now - self._at) * rate)
        self._at = now
        while self._minute and self._minute[0] <= now - MINUTE:
            self._minute.popleft()

    def _wait(self, now: float, rate: float) -> float:
        wait = max(0.0, (1 - 1e-9 - self._level) / rate)
        if len(self._minute) >= round(rate * MINUTE):
            wait = max(wait, self._minute[0] + MINUTE - now)
        return wait

    def _headers(self, wait: float) -> dict[str, str]:
        rate = self.character.rate
        if not self.character.headers or rate is None:
            return {}
        limit = round(rate * MINUTE)
        headers = {
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": str(max(0, int(min(self._level, limit - len(self._minute))))),
        }
        if wait:
            headers["retry-after-ms"] = f"{wait * 1000:.3f}"
        return headers


class Dialect:
    """`workers.providers.port.Adapter` for it: nothing is translated."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment.id

    def call(self, request: Request, body: bytes, credentials: Mapping[str, Any]) -> Call:
        """The deployment's id is the address."""
        return Call(self._deployment, {}, body)

    def answer(self, request: Request, headers: Mapping[str, str], body: bytes, asked: bytes = b"") -> Answered:
        """Ten tokens."""
        return Answered(body, Usage(8, 2))

    def stream(self, request: Request, body: bytes) -> Translation:
        """Nobody streams here."""
        raise NotImplementedError

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """429 or 500."""
        if status != 429:
            return Failure(Kind.PROVIDER_ERROR, "The provider failed.", status=status)
        wait = float(headers.get("retry-after-ms", "0")) / 1000
        return Failure(Kind.PROVIDER_RATE_LIMIT, "Slow down.", status=status, retry_after=wait)
