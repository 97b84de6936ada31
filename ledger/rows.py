"""UsageEvents as rows for `queries/record.sql`, and which events no row can hold.

The batch crosses as one JSON text: 33 arrays for `unnest` cost the client 27 µs per event, this 4, and the server
no more; and what has its default need not travel.
"""

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec

from schemas.usage import Status, UsageEvent

_TEXT = 150  # characters of an indexed text: four of them must fit into 2,704 bytes, the limit of a B-tree's row
END_USER = 200
"""Characters of an end user's id: beside three texts of the others' length it fits too. Claude Code's have 159."""
_SESSION = 256  # characters; it has an index of its own
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


def rows(events: Sequence[UsageEvent]) -> str:
    """The argument $1 of `record.sql`: a JSON array of objects, in the order given."""
    return _ENCODER.encode([_row(event) for event in events]).decode()


def _row(e: UsageEvent) -> dict[str, Any]:
    c, u, lost = e.caller, e.usage, e.status is Status.LOST
    row = {
        "attempt": e.attempt,
        "started": e.started,
        "ended": e.ended,
        "request": _short(e.request),
        "status": e.status,
        "model_group": _short(e.group),
        "model": _short(e.model),
        "provider": _short(e.provider),
        "key_hash": _short(c.key_hash),
        "user_id": _short(c.user),
        "team": _short(c.team),
        "organization": _short(c.organization),
        "first_byte": e.first_byte or None,
        "http_status": e.http_status,
        "failure": _clean(e.failure),
        "endpoint": _clean(e.endpoint),
        "stream": e.stream,
        "deployment": _clean(e.deployment),
        "worker": _clean(e.worker),
        "prompt": u.prompt,
        "completion": u.completion,
        "cost": e.cost,
    }
    if u.cached or u.cache_write or u.reasoning or u.audio_in or u.audio_out:
        row.update(
            cached=u.cached,
            cache_write=u.cache_write,
            reasoning=u.reasoning,
            audio_in=u.audio_in,
            audio_out=u.audio_out,
        )
    if lost or u.estimated:
        row.update(lost=lost, estimated=True)
    row.update(_rare(e))
    return row


def _rare(e: UsageEvent) -> dict[str, Any]:
    """What most events do not have."""
    found: dict[str, Any] = {}
    if e.caller.key_alias:
        found["key_alias"] = _clean(e.caller.key_alias)
    if e.caller.end_user:
        found["end_user"] = _short(e.caller.end_user, END_USER)
    if e.caller.tags:  # each tag counts once
        found["tags"] = list(dict.fromkeys(_short(tag) for tag in e.caller.tags if tag))
    if e.leases:
        found.update(leases=e.leases, reserved=e.reserved, reservation=e.reservation)
    if e.metadata:
        found["metadata"] = {_clean(name): _clean(value) for name, value in e.metadata.items()}
        if session := e.metadata.get("session_id"):
            found["metadata"]["session_id"] = session_of(session)
    return found


def session_of(text: str) -> str:
    """How rows name a session."""
    return _short(text, _SESSION)


def _clean(text: str) -> str:
    """Postgres has no NUL in a text."""
    return text.replace("\0", "\ufffd")


def _short(text: str, most: int = _TEXT) -> str:
    """For an indexed column: a text that is too long keeps its beginning and gets a hash of the whole."""
    if len(text) > most:
        text = f"{text[: most - 17]}~{sha256(text.encode()).hexdigest()[:16]}"
    return text.replace("\0", "\ufffd")


_ENCODER = msgspec.json.Encoder(decimal_format="string")
