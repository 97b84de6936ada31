"""`Routing`: `router_settings`, and what `litellm_settings` may say of the same things (`router_settings` wins)."""

from collections.abc import Mapping
from typing import Any

from penstock.configuration import values
from penstock.configuration.fallbacks import ANY, FallbackReader
from penstock.configuration.known import STRATEGY_ARGS
from penstock.configuration.problems import Problems, Wrong
from penstock.configuration.source import Node
from penstock.configuration.values import NOT_YET, Section
from schemas.catalog import Catalog
from schemas.config import Routing, Strategy
from schemas.failures import POLICY_NAMES

FALLBACKS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
_DEFAULT = "Default"  # in a retry policy: failures that it does not name
_ALWAYS_CHECKED = "enforce_model_rate_limits"


def read_routing(router: Section, litellm: Section, catalog: Catalog, problems: Problems) -> Routing:
    """The whole of it; takes what it understands out of both sections."""
    taken = {field: router.take(key, parse) for field, (key, parse) in KEYS.items()}
    for field in SHARED:
        theirs = litellm.take(*KEYS[field])
        taken[field] = theirs if taken[field] is None else taken[field]
    taken["strategy"] = router.take("routing_strategy", lambda node: _strategy(node, problems))
    taken["latency_buffer"] = router.take("routing_strategy_args", lambda node: _latency_buffer(node, problems))
    router.take("optional_pre_call_checks", lambda node: _check_checks(node, problems))
    policies = _Policies(catalog, problems)
    taken["retry_policy"] = router.take("retry_policy", policies.retries)
    taken["group_retry_policy"] = router.take("model_group_retry_policy", policies.of_groups)
    taken["allowed_fails_policy"] = router.take("allowed_fails_policy", policies.allowed_fails)
    fields = {field: value for field, value in taken.items() if value is not None}
    return Routing(**fields, **_fallbacks(router, litellm, FallbackReader(catalog, problems), problems))


def _fallbacks(router: Section, litellm: Section, reader: FallbackReader, problems: Problems) -> dict[str, Any]:
    """An empty list counts as none, so that `litellm_settings` may have them; as LiteLLM has it."""
    found = {}
    for key in FALLBACKS:
        ours, theirs = (section.take(key, reader.read) for section in (router, litellm))
        found[key] = ours or theirs or {}
    ours, theirs = (section.take("default_fallbacks", reader.default) for section in (router, litellm))
    default = ours or theirs or {}
    if default and ANY in found["fallbacks"]:
        problems.warn("default_fallbacks", f'they win over the fallbacks of "{ANY}"')
    return found | {"fallbacks": found["fallbacks"] | default}


def _strategy(node: Node, problems: Problems) -> Strategy:
    name = values.text(node)
    if name in list(Strategy):
        return Strategy(name)
    problems.warn(node.place, f"{values.shown(node)} is not supported, {Strategy.SHUFFLE} takes its place")
    return Strategy.SHUFFLE


def _latency_buffer(node: Node, problems: Problems) -> float | None:
    section = Section(node, problems)
    found = section.take("lowest_latency_buffer", values.real)
    section.report(STRATEGY_ARGS, "router_settings.routing_strategy_args")
    return found


def _check_checks(node: Node, problems: Problems) -> None:
    """LiteLLM keeps to a deployment's limits only when it is told to; here they always hold."""
    if not isinstance(node.value, list):
        raise Wrong(f"a list is wanted, not {values.shown(node)}")
    for name in values.names(node):
        if name != _ALWAYS_CHECKED:
            problems.unused(node.place, f"router_settings.optional_pre_call_checks: {name}", NOT_YET)


class _Policies:
    """Numbers by LiteLLM's names for failures: `RateLimitErrorRetries: 3` is `{"RateLimitError": 3}`."""

    def __init__(self, catalog: Catalog, problems: Problems) -> None:
        self._catalog = catalog
        self._problems = problems

    def retries(self, node: Node) -> dict[str, int]:
        return self._policy(node, "Retries", "router_settings.retry_policy", _DEFAULT)

    def allowed_fails(self, node: Node) -> dict[str, int]:
        return self._policy(node, "AllowedFails", "router_settings.allowed_fails_policy")

    def of_groups(self, node: Node) -> dict[str, dict[str, int]]:
        section = Section(node, self._problems)
        found = {}
        for group, policy in section.rest().items():
            if group not in self._catalog.groups:
                self._problems.warn(policy.place, f'"{group}" names no model group')
            found[group] = self._policy(policy, "Retries", "router_settings.model_group_retry_policy.*", _DEFAULT)
        return found

    def _policy(self, node: Node, ending: str, called: str, *more: str) -> dict[str, int]:
        section = Section(node, self._problems)
        taken = {name: section.take(f"{name}{ending}", values.whole) for name in (*POLICY_NAMES, *more)}
        section.report((), called)
        return {name: number for name, number in taken.items() if number is not None}


def _off(node: Node) -> bool:
    return not values.flag(node)


KEYS: Mapping[str, tuple[str, values.Parse[Any]]] = {  # our field: LiteLLM's key and its form
    "num_retries": ("num_retries", values.whole),
    "retry_after": ("retry_after", values.seconds),
    "allowed_fails": ("allowed_fails", values.whole),
    "cooldown_time": ("cooldown_time", values.seconds),
    "cooldowns": ("disable_cooldowns", _off),
    "max_fallbacks": ("max_fallbacks", values.whole),
    "pre_call_checks": ("enable_pre_call_checks", values.flag),
    "tag_filtering": ("enable_tag_filtering", values.flag),
    "tags_match_any": ("tag_filtering_match_any", values.flag),
}
SHARED = ("num_retries", "allowed_fails", "cooldown_time", "max_fallbacks")
"""What `litellm_settings` may say too. (LiteLLM's manual puts `cooldown_time` there.)"""
