"""Which model a deployment calls, and where: wildcards filled, URLs joined, headers chosen."""

import re
from collections.abc import Mapping
from functools import lru_cache

from schemas.config import Deployment

_SHOWN = frozenset(
    {
        "request-id",
        "x-request-id",
        "openai-processing-ms",
        "openai-version",
        "openai-model",
        "openai-organization",
        "cf-ray",
        "x-groq-region",
    }
)
_LIMITS = ("x-ratelimit-", "anthropic-ratelimit-")


def upstream_model(deployment: Deployment, asked: str) -> str:
    """The provider's name for the model that was asked for: the group's captured segments fill the model's `*`."""
    if "*" not in deployment.model:
        return deployment.model
    return _fill(deployment.group, deployment.model, asked)


@lru_cache(maxsize=4096)
def _fill(group: str, model: str, asked: str) -> str:
    pattern = "(.*)".join(map(re.escape, group.split("*")))
    match = re.fullmatch(pattern, asked, re.S)
    segments = list(match.groups()) if match else []
    if not segments:
        segments = [asked]  # an alias, or a group without a wildcard: the whole name
    parts = model.split("*")
    filled = [segments[min(index, len(segments) - 1)] for index in range(len(parts) - 1)]
    return "".join(part + segment for part, segment in zip(parts, [*filled, ""], strict=True))


def shown(headers: Mapping[str, str]) -> dict[str, str]:
    """Facts of the provider worth showing to a client: its limits as they came, the rest as `llm_provider-…`."""
    found = {}
    for name, value in headers.items():
        if name.startswith(_LIMITS):
            found[name] = value
        elif name in _SHOWN:
            found["llm_provider-" + name] = value
    return found
