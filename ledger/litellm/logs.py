"""Single calls out of LiteLLM's spend logs, as rows of `spend_logs`. What was asked and answered stays behind."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ledger.litellm.days import short
from ledger.litellm.source import Row, Source
from ledger.litellm.values import count, fields, listed, moment, name, spent
from ledger.pool import Connection
from ledger.rows import session_of
from ledger.sql import query

_TABLE = "SpendLogs"
_COLUMNS = (
    "request_id",
    "call_type",
    "api_key",
    "spend",
    "prompt_tokens",
    "completion_tokens",
    "startTime",
    "endTime",
    "completionStartTime",
    "model",
    "model_id",
    "model_group",
    "custom_llm_provider",
    "user",
    "metadata",
    "request_tags",
    "team_id",
    "organization_id",
    "end_user",
    "session_id",
    "status",
)
_ENDPOINTS = {
    "acompletion": "chat/completions",
    "completion": "chat/completions",
    "atext_completion": "completions",
    "text_completion": "completions",
    "aembedding": "embeddings",
    "embedding": "embeddings",
}
_LONGEST = timedelta(days=365)


async def carry_logs(
    on: Connection, source: Source, since: datetime, named: Callable[[str], str], counted: Callable[[int, int], None]
) -> None:
    """Calls that began at `since` or later, a transaction for some hundred. `named` gives our id of a key.

    `counted` hears how many rows there were, and how many of them are new here.
    """
    columns = source.columns.get(f"LiteLLM_{_TABLE}", frozenset())
    if not {"request_id", "startTime", "endTime"} <= columns:
        return
    wanted = ", ".join(f'"{column}"' for column in _COLUMNS if column in columns)
    statement = f"""
        SELECT {wanted} FROM "LiteLLM_{_TABLE}" WHERE "startTime" >= $1 ORDER BY "startTime", request_id
    """  # noqa: S608 (names of columns that are said above)
    async for batch in source.asked(statement, since.astimezone(UTC).replace(tzinfo=None)):
        rows = [_row(row, named) for row in batch]
        counted(len(rows), await on.fetchval(query("litellm_logs"), _ENCODER.encode(rows).decode()))


def _row(row: Row, named: Callable[[str], str]) -> Row:
    metadata = fields(row.get("metadata"), lambda _: None)
    started, ended = moment(row["startTime"]), moment(row["endTime"])
    assert started is not None
    assert ended is not None
    first = moment(row.get("completionStartTime"))
    failed = "failure" in (row.get("status"), metadata.get("status"))
    return {
        "attempt": short(f"litellm-{row['request_id']}"),
        "started": started,
        "ended": min(max(started, ended), started + _LONGEST),
        "first_byte": first if first is not None and started <= first <= ended else None,
        "request": short(row["request_id"]),
        "status": "failure" if failed else "success",
        "http_status": _code(metadata) if failed else 200,
        "failure": "provider_error" if failed else "",
        "endpoint": _ENDPOINTS.get(row.get("call_type") or "", row.get("call_type") or ""),
        "key_hash": short(named(row.get("api_key") or "")),
        "key_alias": name(metadata.get("user_api_key_alias")) or "",
        "tags": [short(tag) for tag in dict.fromkeys(listed(row.get("request_tags"))) if isinstance(tag, str) and tag],
        "metadata": {"session_id": session_of(row["session_id"])} if name(row.get("session_id")) else {},
        "cost": spent(row.get("spend")),
        **{ours: short(row.get(theirs) or "") for ours, theirs in _TEXTS.items()},
        **_tokens(row, metadata),
    }


_TEXTS = {
    "model_group": "model_group",
    "model": "model",
    "provider": "custom_llm_provider",
    "deployment": "model_id",
    "user_id": "user",
    "team": "team_id",
    "organization": "organization_id",
    "end_user": "end_user",
}


def _code(metadata: Mapping[str, Any]) -> int:
    """The status that a client got, where LiteLLM says so."""
    told = metadata.get("error_information")
    code = str(told.get("error_code") or "") if isinstance(told, Mapping) else ""
    return int(code) if code.isdecimal() and 400 <= int(code) < 600 else 500


def _tokens(row: Row, metadata: Mapping[str, Any]) -> dict[str, int]:
    told = metadata.get("usage_object")
    usage = told if isinstance(told, Mapping) else {}
    prompt, completion = _part(usage, "prompt_tokens_details"), _part(usage, "completion_tokens_details")
    return {
        "prompt": count(row.get("prompt_tokens")) or 0,
        "completion": count(row.get("completion_tokens")) or 0,
        "cached": count(prompt.get("cached_tokens") or usage.get("cache_read_input_tokens")) or 0,
        "cache_write": count(prompt.get("cache_creation_tokens") or usage.get("cache_creation_input_tokens")) or 0,
        "reasoning": count(completion.get("reasoning_tokens")) or 0,
    }


def _part(usage: Mapping[str, Any], called: str) -> Mapping[str, Any]:
    found = usage.get(called)
    return found if isinstance(found, Mapping) else {}


_ENCODER = msgspec.json.Encoder(decimal_format="number")
