"""Which deployments a model's name means: groups, aliases, deployment ids, wildcards. On the path of every request."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, TypeVar

from schemas.config import Config, Deployment

_CACHED = 4096  # names that came through a wildcard: clients choose them, so they are bounded
_LONGEST_NAME = 512
K = TypeVar("K")


class Resolution(NamedTuple):
    """What a name means. `group` may be a pattern (`openai/*`) and names the queue.

    `model` is the concrete name with an alias already replaced, so that it fits the group's pattern: it goes
    into the request, and `upstream_model` makes the provider's name of it.
    """

    group: str
    model: str
    deployments: tuple[Deployment, ...]


class Catalog:
    """Name resolution for one configuration. Immutable: a new configuration gets a new catalog."""

    def __init__(self, config: Config) -> None:
        self.groups = _grouped((deployment.group, deployment) for deployment in config.deployments)
        self._exact = {
            group: Resolution(group, group, found) for group, found in self.groups.items() if "*" not in group
        }
        self._wildcards = [(_regex(group), group) for group in sorted(self.groups, key=_specificity) if "*" in group]
        self._matched = lru_cache(_CACHED)(self._match)
        self._listed = (*self.groups, *(name for name in config.aliases if name not in config.hidden_aliases))
        self._add_aliases(config)
        self._add_ids(config.deployments)
        self._add_models(config.deployments)

    def resolve(self, name: str) -> Resolution | None:
        """Exact group, alias, deployment id, wildcard (most specific first), `litellm_params.model`; or None."""
        found = self._exact.get(name)
        if found is not None or len(name) > _LONGEST_NAME:
            return found
        return self._matched(name)

    def listing(self) -> tuple[str, ...]:
        """The names for `/v1/models`, in the file's order: groups (wildcards as their pattern), visible aliases."""
        return tuple(dict.fromkeys(self._listed))

    def _match(self, name: str) -> Resolution | None:
        group = self._wildcard(name)
        if group is not None:
            return Resolution(group, name, self.groups[group])
        provider = provider_of(name)
        group = self._wildcard(f"{provider}/{name}") if provider else None
        if group is not None:
            return Resolution(group, f"{provider}/{name}", self.groups[group])
        return self._models.get(name)

    def _wildcard(self, name: str) -> str | None:
        return next((group for regex, group in self._wildcards if regex.fullmatch(name)), None)

    def _add_aliases(self, config: Config) -> None:
        for alias, target in config.aliases.items():
            found = self._exact.get(target)
            group = self._wildcard(target) if found is None else None
            if group is not None:
                found = Resolution(group, target, self.groups[group])
            if found is not None and alias not in self.groups:
                self._exact[alias] = found

    def _add_ids(self, deployments: Iterable[Deployment]) -> None:
        for deployment in deployments:
            if "*" not in deployment.group:
                single = Resolution(deployment.group, deployment.group, (deployment,))
                self._exact.setdefault(deployment.id, single)

    def _add_models(self, deployments: Iterable[Deployment]) -> None:
        self._models: dict[str, Resolution] = {}
        for (group, model), found in _grouped(
            ((deployment.group, deployment.litellm_model), deployment) for deployment in deployments
        ).items():
            if model and "*" not in model and "*" not in group:
                self._models.setdefault(model, Resolution(group, group, found))


def upstream_model(deployment: Deployment, model: str) -> str:
    """What the provider calls it: the segments that the group's `*`s captured fill the model's, left to right."""
    return _filled(deployment.group, deployment.model, model) if "*" in deployment.model else deployment.model


def provider_of(model: str) -> str | None:
    """The provider of a model that is named without one (`gpt-4o`, `claude-…`); None when the name does not say."""
    if "," in model:
        return None  # LiteLLM's "several models at once": not one model
    return next((provider for regex, provider in _FAMILIES if regex.match(model)), None)


_BEDROCK = (
    "ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot(ai)?|nvidia|openai|qwen|stability"
    "|twelvelabs|writer|zai"
)
_FAMILIES = tuple(
    (re.compile(pattern), provider)
    for pattern, provider in (
        (r"(ft:)?(gpt-(?!oss|j|neo)|chatgpt-|o[134](-|$)|davinci-|babbage-)", "openai"),
        (r"text-embedding-(3-|ada-)|(text|omni)-moderation-|dall-e-|tts-1|whisper-1|sora-|computer-use-", "openai"),
        (r"claude-", "anthropic"),
        (r"gemini-|(text|chat|code|codechat)-(bison|unicorn)|(text-)?multi(modal|lingual)-?embedding", "vertex_ai"),
        (r"command(-|$)|rerank-|embed-(english|multilingual|v)", "cohere"),
        (r"(jamba|j2)-", "ai21_chat"),
        (rf"([a-z]{{2,6}}(-gov)?\.)?({_BEDROCK})\.", "bedrock"),
    )
)


@lru_cache(_CACHED)
def _filled(group: str, pattern: str, model: str) -> str:
    match = _regex(group).fullmatch(model)
    captured = list(match.groups()) if match else []
    captured = captured or [model]  # a group without `*`: the whole name
    first, *rest = pattern.split("*")
    last = len(captured) - 1
    return first + "".join(captured[min(i, last)] + part for i, part in enumerate(rest))


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile("(.*)".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _specificity(pattern: str) -> tuple[int, int]:
    return -len(pattern), pattern.count("*")


def _grouped(pairs: Iterable[tuple[K, Deployment]]) -> dict[K, tuple[Deployment, ...]]:
    found: dict[K, tuple[Deployment, ...]] = {}
    for key, deployment in pairs:
        found[key] = (*found.get(key, ()), deployment)
    return found
