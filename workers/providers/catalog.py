"""The vendors of `catalog.yaml`: OpenAI's dialect with stated differences, one row each."""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from schemas.failures import Kind, Refused
from workers.providers.access import BEARER
from workers.providers.port import About

_FILE = Path(__file__).with_name("catalog.yaml")
Fields = MutableMapping[str, msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a vendor differs from OpenAI. The names are the fields of a row.

    `unsupported` parameters, and values of `tool_choice` outside its list, are refused by name, or dropped
    when the deployment says `drop_params`.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()  # ours, not the client's to know: stream_options where it is refused
    unsupported: frozenset[str] = frozenset()
    tool_choice: frozenset[str] = frozenset()  # what is allowed; empty: everything
    content_to_string: bool = False  # lists of text parts become one string
    strip_cache_control: bool = False
    set: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    key_header: tuple[str, str] = BEARER
    model_prefix: str = ""  # put before a model's name without a slash
    path: str = ""  # between `api_base` and the endpoint

    @property
    def none(self) -> bool:
        """No difference in the body."""
        return not (self._renames_or_drops or self.content_to_string or self.strip_cache_control or self.set)

    @property
    def _renames_or_drops(self) -> bool:
        return bool(self.rename or self.drop or self.unsupported or self.tool_choice)

    def apply(self, fields: Fields, drop_params: bool) -> None:
        """Make the body the vendor's. Raises `Refused(INVALID_REQUEST)` naming what it does not take."""
        for old, new in self.rename.items():
            if old in fields:
                fields.setdefault(new, fields.pop(old))
        for name in self.drop:
            fields.pop(name, None)
        for name in self._refused(fields):
            _leave_out(fields, name, drop_params)
        for name, fixed in self.set.items():
            fields[name] = msgspec.Raw(msgspec.json.encode(fixed))
        if self.content_to_string:
            _rewrite(fields, _flatten)
        if self.strip_cache_control:
            _rewrite(fields, _without_cache_control)

    def _refused(self, fields: Fields) -> list[str]:
        names = sorted(self.unsupported & fields.keys())
        if self.tool_choice and "tool_choice" in fields:
            choice = msgspec.json.decode(fields["tool_choice"])
            if choice is not None and not (isinstance(choice, str) and choice in self.tool_choice):
                names.append("tool_choice")
        return names


def _leave_out(fields: Fields, name: str, drop_params: bool) -> None:
    if not drop_params:
        raise Refused(Kind.INVALID_REQUEST, f"The provider does not support this value of '{name}'.", param=name)
    del fields[name]


def _rewrite(fields: Fields, change: Callable[[Any], Any]) -> None:
    raw = fields.get("messages")
    if raw is None:
        return
    messages = msgspec.json.decode(raw)
    if isinstance(messages, list):
        changed = [change(message) if isinstance(message, dict) else message for message in messages]
        fields["messages"] = msgspec.Raw(msgspec.json.encode(changed))


def _flatten(message: dict[str, Any]) -> dict[str, Any]:
    parts = message.get("content")
    if not isinstance(parts, list) or not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in parts):
        return message
    return {**message, "content": "".join(part["text"] for part in parts)}


def _without_cache_control(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key != "cache_control"}
        if isinstance(kept.get("content"), list):
            kept["content"] = [_without_cache_control(item) for item in kept["content"]]
        return kept
    return value


@dataclass(frozen=True, slots=True)
class Vendor:
    """One row."""

    about: About
    quirks: Quirks


PLAIN = Quirks()
_MAX_TOKENS = {"max_completion_tokens": "max_tokens"}


@cache
def vendors() -> Mapping[str, Vendor]:
    """Every row by name."""
    rows = yaml.safe_load(_FILE.read_text())
    return {name: _vendor(name, row or {}) for name, row in rows.items()}


def about(provider: str) -> About:
    """A vendor's facts; unknown names have none but their name."""
    vendor = vendors().get(provider)
    return vendor.about if vendor is not None else About(names=(provider,))


def quirks_of(provider: str) -> Quirks:
    """A vendor's differences; none for OpenAI itself and for unknown names."""
    vendor = vendors().get(provider)
    return vendor.quirks if vendor is not None else PLAIN


def _vendor(name: str, row: dict[str, Any]) -> Vendor:
    facts = About(
        names=(name,),
        base=row.pop("base", None),
        keys=tuple(row.pop("keys", ())),
        bases=tuple(row.pop("bases", ())),
    )
    for sets in ("drop", "unsupported", "tool_choice"):
        row[sets] = frozenset(row.get(sets, ()))
    if row.pop("max_tokens", False):
        row["rename"] = _MAX_TOKENS | row.get("rename", {})
    if "key_header" in row:
        row["key_header"] = tuple(row["key_header"])
    return Vendor(facts, Quirks(**row))
