"""LiteLLM's virtual keys as ours. It stores a key's SHA-256, from which our hash is made: the key itself works on."""

import hashlib
import re
from datetime import datetime
from typing import Any, NamedTuple

from ledger.litellm.entities import present_permission, stamps, terms
from ledger.litellm.source import Row
from ledger.litellm.values import Calendar, Say, count, fields, metadata, moment, name, names, present, windows
from ledger.pepper import Pepper

SESSIONS = "litellm-dashboard"
"""The team of the keys that LiteLLM's own pages log in with."""
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


def hash_of(token: Any, pepper: Pepper) -> str | None:
    """Our hash for what LiteLLM names a key by; None when that is no key."""
    if not isinstance(token, str):
        return None
    if _DIGEST.fullmatch(token):
        return pepper.hash_of_digest(token)
    if token.startswith("sk-"):  # very old rows hold the key itself
        return pepper.hash_of_digest(hashlib.sha256(token.encode()).hexdigest())
    return None


def called(row: Row) -> str:
    """How reports call a key."""
    token = row.get("token")
    short = f"{token[:12]}…" if isinstance(token, str) and _DIGEST.fullmatch(token) else "?"
    return name(row.get("key_alias")) or name(row.get("key_name")) or short


def key(row: Row, key_id: str, permission: Row | None, calendar: Calendar, say: Say) -> Row:
    """A key, its id aside from the hashes that prove it."""
    found = metadata(row.get("metadata"), say)
    interval = name(row.get("rotation_interval"))
    extra = present(
        config=fields(row.get("config"), say, "config"),
        permissions=fields(row.get("permissions"), say, "permissions"),
        router_settings=fields(row.get("router_settings"), say, "router_settings"),
        allowed_cache_controls=names(row.get("allowed_cache_controls")),
        policies=names(row.get("policies")),
        access_group_ids=names(row.get("access_group_ids")),
        budget_fallbacks=fields(row.get("budget_fallbacks"), say, "budget_fallbacks"),
        agent_id=name(row.get("agent_id")),
        project_id=name(row.get("project_id")),
    )
    return {
        "key_id": key_id,
        "key_name": name(row.get("key_name")) or "sk-...",
        "key_alias": name(row.get("key_alias")),
        "user_id": name(row.get("user_id")),
        "team_id": name(row.get("team_id")),
        "organization_id": name(row.get("organization_id")),
        "models": names(row.get("models")),
        "aliases": _aliases(row.get("aliases"), say),
        "metadata": found,
        "blocked": bool(row.get("blocked")),
        "expires": moment(row.get("expires")),
        "budget_id": name(row.get("budget_id")),
        "budget_limits": windows(row.get("budget_limits"), calendar, say),
        "allowed_routes": names(row.get("allowed_routes")),
        "key_type": name(row.get("key_type")),
        "service": found.get("service_account_id") is not None,
        "auto_rotate": bool(row.get("auto_rotate")),
        "rotation_interval": interval,
        "rotation_count": count(row.get("rotation_count")) or 0,
        "last_rotation_at": moment(row.get("last_rotation_at")),
        "key_rotation_at": moment(row.get("key_rotation_at")),
        "extra": extra | present_permission(permission),
        **terms(row, calendar, say),
        **stamps(row),
    }


class Old(NamedTuple):
    """A secret that was rotated away and works until then."""

    token: str
    active: str
    until: datetime


class Rotated:
    """The secrets that keys had before, by LiteLLM's names."""

    def __init__(self, rows: list[Row]) -> None:
        self.old = [
            Old(row["token"], row["active_token_id"], until)
            for row in rows
            if (until := moment(row.get("revoke_at"))) is not None
        ]
        self._now = {one.token: one.active for one in self.old}

    def active(self, token: str) -> str:
        """What a key is called now."""
        seen = set()
        while token in self._now and token not in seen:
            seen.add(token)
            token = self._now[token]
        return token


def _aliases(value: Any, say: Say) -> dict[str, str]:
    return {model: meant for model, meant in fields(value, say, "aliases").items() if isinstance(meant, str)}
