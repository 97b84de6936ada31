"""The spend logs row by row: which rows, page by page, as LiteLLM's clients read them."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec

from ledger.pool import Connection
from ledger.rows import session_of
from ledger.sight import EVERYTHING, Sight
from ledger.sql import query
from schemas.usage import Status

MOST_ROWS = 100_000
"""No listing is longer: a month's rows in one answer would end the process."""
MOST_COUNTED = 10_000
"""Nor are more rows counted than this: LiteLLM's own bound."""
_DEEPEST = 50
"""Levels of what a client has said for the log; deeper ones stay a text."""

ORDERS = {
    "startTime": "started",
    "endTime": "ended",
    "spend": "cost",
    "total_tokens": "prompt + completion",
    "request_duration_ms": "ended - started",
    "model": "model",
    "ttft_ms": "first_byte - started",
}
"""What a listing can be sorted by, in LiteLLM's names."""
_NULLABLE = frozenset({"spend", "ttft_ms"})


@dataclass(frozen=True, slots=True)
class Which:
    """Which rows; None means any. `since` is included, `until` is not.

    `status` is an outcome, or `failure` for all that are no success; `error` an HTTP status or a kind of failure.
    `search` is any one id (`search_keys` what it means if it is a key's).
    """

    sight: Sight = EVERYTHING
    since: datetime | None = None
    until: datetime | None = None
    keys: Sequence[str] | None = None
    user: str | None = None
    team: str | None = None
    request: str | None = None
    session: str | None = None
    model: str | None = None
    deployment: str | None = None
    group: str | None = None
    key_alias: str | None = None
    end_user: str | None = None
    status: str | None = None
    error: str | None = None
    error_text: str | None = None
    least: Decimal | None = None
    most: Decimal | None = None
    search: str | None = None
    search_keys: Sequence[str] = ()

    def parameters(self) -> tuple[Any, ...]:
        """In the order of `logs_matching.sql`."""
        time = (self.since, self.until)
        session = None if self.session is None else session_of(self.session)
        who = (self.keys, self.user, self.team, self.request, session)
        what = (self.model, self.deployment, self.group, self.key_alias, self.end_user)
        how = (self.status, self.error, self.error_text, self.least, self.most)
        return (*time, *who, *what, *how, self.search, self.search_keys, *self.sight.parameters())


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing: `limit` rows after the first `offset`. `sort` is one of `ORDERS`."""

    limit: int
    offset: int = 0
    sort: str = "startTime"
    ascending: bool = False


async def page(
    on: Connection, which: Which, part: Page, bases: Mapping[str, str] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Rows as `/spend/logs` shows them: LiteLLM's field names and our own. `bases`: a deployment's address by its id.

    JSON-ready: times as ISO 8601 in UTC, `spend` a float (null: unknown price), `cost` the exact decimal as a string.
    """
    order = f"{ORDERS[part.sort]} {'ASC' if part.ascending else 'DESC'}"
    order += " NULLS LAST" if part.sort in _NULLABLE else ""
    direction = "ASC" if part.ascending else "DESC"
    statement = f"{query('logs_matching')} ORDER BY {order}, attempt {direction} LIMIT $25 OFFSET $26"
    found = await on.fetch(statement, *which.parameters(), min(part.limit, MOST_ROWS), part.offset)
    return await asyncio.to_thread(_all_shown, found, bases)  # thousands of rows, and calls are waiting for the loop


async def count(on: Connection, which: Which) -> int:
    """How many rows there are; one more than `MOST_COUNTED` says that there are more."""
    statement = f"SELECT count(*) FROM ({query('logs_matching')} LIMIT $25) AS found"  # noqa: S608
    found: int = await on.fetchval(statement, *which.parameters(), MOST_COUNTED + 1)
    return found


def _all_shown(rows: Sequence[Any], bases: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{**_shown(row), "api_base": bases.get(row["deployment"], "")} for row in rows]


def _shown(row: Any) -> dict[str, Any]:
    metadata = _opened(msgspec.json.decode(row["metadata"]))
    duration = row["ended"] - row["started"]
    first_byte = row["first_byte"]
    return {
        "request_id": row["request"],
        "call_type": _CALL_TYPES.get(row["endpoint"], row["endpoint"]),
        "api_key": row["key_hash"],
        "spend": None if row["cost"] is None else float(row["cost"]),
        "total_tokens": row["prompt"] + row["completion"],
        "prompt_tokens": row["prompt"],
        "completion_tokens": row["completion"],
        "startTime": _iso(row["started"]),
        "endTime": _iso(row["ended"]),
        "completionStartTime": None if first_byte is None else _iso(first_byte),
        "request_duration_ms": round(duration.total_seconds() * 1000),
        "model": row["model"],
        "model_id": row["deployment"],
        "model_group": row["model_group"],
        "custom_llm_provider": row["provider"],
        "api_base": "",
        "user": row["user_id"],
        "metadata": {**metadata, **_described(row)},
        "cache_hit": "",
        "cache_key": "",
        "request_tags": row["tags"],
        "team_id": row["team"] or None,
        "organization_id": row["organization"] or None,
        "end_user": row["end_user"],
        "requester_ip_address": metadata.get("requester_ip_address"),
        "session_id": metadata.get("session_id"),
        "status": "success" if row["status"] == Status.SUCCESS else "failure",
        "litellm_call_id": row["request"],
        "attempt": row["attempt"],
        "outcome": row["status"],
        "http_status": row["http_status"],
        "failure": row["failure"],
        "stream": row["stream"],
        "estimated": row["estimated"],
        "lost": row["lost"],
        "cost": None if row["cost"] is None else format(row["cost"], "f"),
        "worker": row["worker"],
    }


def _opened(metadata: dict[str, Any]) -> dict[str, Any]:
    """Every value is a text; what LiteLLM's clients find an object in becomes one."""
    text = metadata.get("spend_logs_metadata")
    if isinstance(text, str) and text.startswith("{"):
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            found = msgspec.json.decode(text)
            if _within(found, _DEEPEST):
                metadata["spend_logs_metadata"] = found
    return metadata


def _within(value: Any, levels: int) -> bool:
    """Whether it is nested no deeper: what one stack could read, another may be too deep already to write."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(_within(one, levels - 1) for one in inner)


def _described(row: Any) -> dict[str, Any]:
    """What LiteLLM's clients look for in `metadata`."""
    succeeded = row["status"] == Status.SUCCESS
    error = {
        "error_code": str(row["http_status"]) if row["http_status"] else "",
        "error_class": row["failure"],
        "error_message": row["failure"],
    }
    return {
        "user_api_key": row["key_hash"],
        "user_api_key_alias": row["key_alias"],
        "user_api_key_user_id": row["user_id"],
        "user_api_key_team_id": row["team"],
        "user_api_key_org_id": row["organization"],
        "status": "success" if succeeded else "failure",
        "error_information": None if succeeded else error,
        "usage_object": {
            "prompt_tokens": row["prompt"],
            "completion_tokens": row["completion"],
            "total_tokens": row["prompt"] + row["completion"],
            "prompt_tokens_details": {
                "cached_tokens": row["cached"],
                "cache_creation_tokens": row["cache_write"],
                "audio_tokens": row["audio_in"],
            },
            "completion_tokens_details": {"reasoning_tokens": row["reasoning"], "audio_tokens": row["audio_out"]},
        },
    }


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


_CALL_TYPES = {
    "chat/completions": "acompletion",
    "completions": "atext_completion",
    "embeddings": "aembedding",
}
