"""A simulated provider: it limits calls as providers do, says truly what is left, takes its time, and can fail."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from schemas.config import Deployment
from schemas.envelope import Request
from schemas.failures import Failure, Kind
from schemas.usage import Usage
from workers.providers.port import Answered, Call, Translation

MINUTE = 60.0
_AT_ONCE = 1.0  # seconds' worth of calls that may come together
_REFUSAL = 0.005  # seconds
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Character:
    """What a provider is like: `rate` calls per second, or no limit; `median` of a call's seconds.

    `headers`: it tells what is left, and when to come back. It answers 500 from `failing[0]` until `failing[1]`.
    """

    rate: float | None = None
    headers: bool = True
    median: float = 1.0
    failing: tuple[float, float] = (0.0, 0.0)


@dataclass(slots=True)
class Provider:
    """One deployment's provider. The time of every call that reached it is in one of the lists.

    The limit is kept by a bucket of a second's worth, and exactly in every sliding minute; what it refuses counts not.
    """

    character: Character
    clock: Callable[[], float]
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    under_way: int = 0
    _minute: deque[float] = field(default_factory=deque)
    _level: float = inf  # it begins with all that may come together
    _at: float = 0.0

    def sent(self) -> list[float]:
        """The times of all calls, in order."""
        return sorted([*self.accepted, *self.refused, *self.failed])

    def call(self, work: float) -> tuple[int, dict[str, str], float]:
        """A call arrives: the status, the headers, and in how many seconds the answer is there.

        `work` is how much there is to do for it, around 1.
        """
        now, rate = self.clock(), self.character.rate
        start, end = self.character.failing
        if start <= now < end:
            self.failed.append(now)
            return 500, {}, _REFUSAL
        headers: dict[str, str] = {}
        if rate is not None:
            wait = self._wait(now, rate)
            if wait > 0:
                self.refused.append(now)
                return 429, self._headers(rate, wait), _REFUSAL
            self._level -= 1
            self._minute.append(now)
            headers = self._headers(rate, 0.0)
        self.accepted.append(now)
        return 200, headers, work * self.character.median

    def _wait(self, now: float, rate: float) -> float:
        """Seconds until a call would be accepted."""
        self._level = min(max(1.0, rate * _AT_ONCE), self._level + (now - self._at) * rate)
        self._at = now
        while self._minute and self._minute[0] <= now - MINUTE:
            self._minute.popleft()
        full = len(self._minute) >= round(rate * MINUTE)
        return max((1 - _TINY - self._level) / rate, self._minute[0] + MINUTE - now if full else 0.0)

    def _headers(self, rate: float, wait: float) -> dict[str, str]:
        if not self.character.headers:
            return {}
        limit = round(rate * MINUTE)
        left = max(0, int(min(self._level + _TINY, limit - len(self._minute))))
        headers = {"x-ratelimit-limit-requests": str(limit), "x-ratelimit-remaining-requests": str(left)}
        if wait:
            headers["retry-after-ms"] = f"{wait * 1000:.3f}"
        return headers


class Dialect:
    """`workers.providers.port.Adapter` for it. Nothing is translated; a deployment's id is its address."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment.id

    def call(self, request: Request, body: bytes, credentials: Mapping[str, Any]) -> Call:
        return Call(self._deployment, {}, body)

    def answer(self, request: Request, headers: Mapping[str, str], body: bytes, asked: bytes = b"") -> Answered:
        return Answered(body, Usage(8, 2))

    def stream(self, request: Request, body: bytes) -> Translation:
        raise NotImplementedError("nobody streams here")

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        if status != 429:
            return Failure(Kind.PROVIDER_ERROR, "The provider failed.", status=status)
        wait = float(headers.get("retry-after-ms", "0")) / 1000
        return Failure(Kind.PROVIDER_RATE_LIMIT, "Slow down.", status=status, retry_after=wait)
