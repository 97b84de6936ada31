"""What an answer's headers say is left of the provider's limits, in every style that is known to us."""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.limits import NOTHING, Remaining, Told
from workers.providers.durations import number, until

_LONG, _PLAIN, _GENERIC = range(3)
"""How much a header's word counts: a long window's, when it is exhausted, before all others."""

_STYLES: tuple[tuple[str, int, str], ...] = (
    # OpenAI https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers, and all who imitate it:
    # Azure, Groq (requests are a day's, https://console.groq.com/docs/rate-limits), xAI, Fireworks, SambaNova
    ("requests", _PLAIN, "x-ratelimit-{}-requests"),
    ("tokens", _PLAIN, "x-ratelimit-{}-tokens"),
    ("tokens", _PLAIN, "x-ratelimit-{}-project-tokens"),
    # Anthropic https://platform.claude.com/docs/en/api/rate-limits#response-headers
    ("requests", _PLAIN, "anthropic-ratelimit-requests-{}"),
    ("tokens", _PLAIN, "anthropic-ratelimit-tokens-{}"),
    ("input", _PLAIN, "anthropic-ratelimit-input-tokens-{}"),
    ("output", _PLAIN, "anthropic-ratelimit-output-tokens-{}"),
    # Fireworks https://docs.fireworks.ai/guides/quotas_usage/rate-limits; the second leaves out what is cached
    ("input", _PLAIN, "x-ratelimit-{}-tokens-prompt"),
    ("input", _PLAIN, "x-ratelimit-{}-tokens-cache-adjusted-prompt"),
    ("output", _PLAIN, "x-ratelimit-{}-tokens-generated"),
    # Mistral, and Cerebras https://inference-docs.cerebras.ai/support/rate-limits
    ("requests", _PLAIN, "x-ratelimit-{}-req-minute"),
    ("requests", _PLAIN, "x-ratelimit-{}-requests-minute"),
    ("requests", _LONG, "x-ratelimit-{}-requests-hour"),
    ("requests", _LONG, "x-ratelimit-{}-requests-day"),
    ("tokens", _PLAIN, "x-ratelimit-{}-tokens-minute"),
    ("tokens", _LONG, "x-ratelimit-{}-tokens-5-minute"),
    ("tokens", _LONG, "x-ratelimit-{}-tokens-hour"),
    ("tokens", _LONG, "x-ratelimit-{}-tokens-day"),
    ("tokens", _LONG, "x-ratelimit-{}-tokens-month"),
    # DigitalOcean https://docs.digitalocean.com/products/inference/reference/quota-specific-response-headers/
    ("tokens", _PLAIN, "x-ratelimit-{}-tokens-per-minute"),
    ("tokens", _LONG, "x-ratelimit-{}-tokens-per-day"),
    # OpenRouter, GitHub; and draft-ietf-httpapi-ratelimit-headers up to 06
    ("requests", _GENERIC, "x-ratelimit-{}"),
    ("requests", _GENERIC, "ratelimit-{}"),
)

_PER_SECOND = frozenset({"x-tokenlimit-limit", "x-ratelimit-limit-dynamic"})
"""Together AI, whose `x-ratelimit-…` is of one second: past before anybody could act on it."""


class _Window(NamedTuple):
    about: str  # a field of `Told`
    rank: int
    limit: str
    reset: str


_WINDOWS: Mapping[str, _Window] = {
    style.format("remaining"): _Window(about, rank, style.format("limit"), style.format("reset"))
    for about, rank, style in _STYLES
}
"""By the name of the header that says what is left."""


def told(headers: Mapping[str, str]) -> Told:
    """What the headers of an answer say, `NOTHING` itself if nothing; their names are in lower case.

    Of several windows of the same thing, the one with the least left. A window longer than a minute that is named as
    such is reported only when it is exhausted, and then instead of the minute's. What is no finite number from 0 on
    (Azure sends -1) is as if it were not there.
    """
    if _WINDOWS.keys().isdisjoint(headers):
        return NOTHING
    date = headers.get("date", "")
    found: dict[str, Remaining] = {}
    ranks: dict[str, int] = {}
    for name, text in headers.items():
        window = _WINDOWS.get(name)
        if window is None:
            continue
        left = number(text)
        if left is None or (window.rank != _PLAIN and not _counts(window, left, headers)):
            continue
        about, rank, limit, reset = window
        if about not in found or (rank, left) < (ranks[about], found[about].left):
            found[about] = Remaining(number(headers.get(limit, "")), left, until(headers.get(reset, ""), date))
            ranks[about] = rank
    return Told(**found) if found else NOTHING


def _counts(window: _Window, left: float, headers: Mapping[str, str]) -> bool:
    return not left if window.rank == _LONG else _PER_SECOND.isdisjoint(headers)


def wait(headers: Mapping[str, str]) -> float:
    """Seconds until all that is exhausted is whole again; 0: nothing is said of when.

    Where nothing is exhausted: until the first of those of which is said only when. What has something left is no
    reason to wait.
    """
    date = headers.get("date", "")
    exhausted, unknown = [], []
    for name, window in _WINDOWS.items():
        seconds = until(headers.get(window.reset, ""), date)
        if seconds:
            left = number(headers.get(name, ""))
            if left is None:
                unknown.append(seconds)
            elif not left:
                exhausted.append(seconds)
    return max(exhausted) if exhausted else min(unknown, default=0.0)
