"""A deployment's limits: the keys of `litellm_params` that say what its provider lets pass."""

import re
from collections.abc import Mapping
from typing import Any

from penstock.configuration import values
from penstock.configuration.problems import Wrong
from penstock.configuration.source import Node
from penstock.configuration.values import Section
from schemas.config import Limits


def read_limits(params: Section, parallel: int | None) -> Limits:
    """The limits; `parallel` is the number of calls under way for a deployment that sets none."""
    taken = {field: params.take(key, parse) for field, (key, parse) in KEYS.items()}
    found = {field: value for field, value in taken.items() if value is not None}
    return Limits(**({} if parallel is None else {"parallel": parallel}) | found)


def _time_of_day(node: Node) -> int:
    """`HH:MM` as seconds after midnight. Unquoted, YAML takes 12:30 for a number in base 60: what is written counts."""
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", values.text(node).strip())
    if match is None:
        raise Wrong(f"a time of day as HH:MM (UTC) is wanted, not {values.shown(node)}")
    return int(match[1]) * 3600 + int(match[2]) * 60


KEYS: Mapping[str, tuple[str, values.Parse[Any]]] = {  # our field: LiteLLM's key and its form
    "rpm": ("rpm", values.amount),
    "tpm": ("tpm", values.amount),
    "itpm": ("itpm", values.amount),
    "otpm": ("otpm", values.amount),
    "rpd": ("rpd", values.amount),
    "tpd": ("tpd", values.amount),
    "daily_reset": ("daily_reset_time", _time_of_day),
    "parallel": ("max_parallel_requests", values.count),
}
