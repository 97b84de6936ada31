"""UsageEvents as the columns of `queries/record.sql`, and which events no column can hold."""

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from itertools import starmap
from typing import Any

import msgspec

from schemas.usage import Status, UsageEvent

_TEXT = 150  # characters of an indexed text: six of them must fit into 2,704 bytes, the limit of a B-tree's row
_COUNT = 2**53
_LATEST = 4102444800 * 10**6  # 2100-01-01
_DEAREST = Decimal(10**9)


def unstorable(event: UsageEvent) -> str | None:
    """Why the ledger can never take this event, or None. Numbers are judged; texts are made to fit."""
    if not 0 < len(event.attempt) <= _TEXT or "\0" in event.attempt:
        return "attempt"
    if not (0 < event.started <= _LATEST and 0 < event.ended <= _LATEST and 0 <= event.first_byte <= _LATEST):
        return "time"
    if not 0 <= event.http_status < 1000:
        return "http_status"
    u = event.usage
    counts = (u.prompt, u.completion, u.cached, u.cache_write, u.reasoning, u.audio_in, u.audio_out)
    if min(counts) < 0 or max(counts) > _COUNT:
        return "usage"
    if event.cost is not None and not (event.cost.is_finite() and 0 <= event.cost < _DEAREST):
        return "cost"
    return None


def distinct(events: Sequence[UsageEvent]) -> list[UsageEvent]:
    """One event per attempt, a real one rather than a lost one, sorted by the row's key (the order of the locks)."""
    found: dict[tuple[str, int], UsageEvent] = {}
    for event in events:
        key = (event.attempt, event.started)
        if key not in found or (found[key].status is Status.LOST and event.status is not Status.LOST):
            found[key] = event
    return [found[key] for key in sorted(found)]


def columns(events: Sequence[UsageEvent]) -> list[tuple[Any, ...]]:
    """The arguments $1 to $33 of `record.sql`."""
    return list(zip(*starmap(_row, ((event, event.caller, event.usage) for event in events)), strict=True))


def _row(e: UsageEvent, c: Any, u: Any) -> tuple[Any, ...]:
    return (
        e.attempt,
        e.started,
        e.ended,
        e.first_byte or None,
        _short(e.request),
        e.status.value,
        e.http_status,
        _clean(e.failure),
        _clean(e.endpoint),
        e.stream,
        _short(e.group),
        _short(e.model),
        _short(e.provider),
        _clean(e.deployment),
        _clean(e.worker),
        _short(c.key_hash),
        _clean(c.key_alias),
        _short(c.user),
        _short(c.team),
        _short(c.organization),
        _clean(c.end_user),
        _tags(c.tags) if c.tags else None,
        u.prompt,
        u.completion,
        u.cached,
        u.cache_write,
        u.reasoning,
        u.audio_in,
        u.audio_out,
        u.estimated or e.status is Status.LOST,
        e.status is Status.LOST,
        e.cost,
        _metadata(e.metadata) if e.metadata else None,
    )


def _clean(text: str) -> str:
    """Postgres has no NUL in a text."""
    return text.replace("\0", "\ufffd")


def _short(text: str) -> str:
    """For an indexed column: a text that is too long keeps its beginning and gets a hash of the whole."""
    if len(text) > _TEXT:
        text = f"{text[: _TEXT - 17]}~{sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"
    return text.replace("\0", "\ufffd")


def _tags(tags: tuple[str, ...]) -> str | None:
    """Joined by U+001F, since arrays of arrays of different lengths do not exist; each tag counts once."""
    return "\x1f".join(dict.fromkeys(_short(tag).replace("\x1f", " ") for tag in tags if tag)) or None


def _metadata(metadata: dict[str, str]) -> str:
    return msgspec.json.encode({_clean(key): _clean(value) for key, value in metadata.items()}).decode()
