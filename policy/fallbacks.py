"""Which model groups a request may fall back to, and how often a failure is retried."""

from collections.abc import Mapping

from schemas.config import Fallback, Fallbacks, Routing
from schemas.failures import POLICY_NAMES, Kind

_NAMES = {kind: name for name, kinds in POLICY_NAMES.items() for kind in kinds}


def targets(routing: Routing, group: str, model: str, kind: Kind, own: Fallbacks | None) -> tuple[Fallback, ...]:
    """The fallbacks for a failure in `group`, in order; `own` are those that the request brings.

    For a context window or a content policy their own lists count *instead*: with such a list, and no entry in it,
    there is no fallback, as in LiteLLM.
    """
    if own is not None:
        return _of(own, group, model)
    special = {
        Kind.CONTEXT_WINDOW: routing.context_window_fallbacks,
        Kind.CONTENT_POLICY: routing.content_policy_fallbacks,
    }.get(kind)
    return _of(special or routing.fallbacks, group, model)


def retries(routing: Routing, group: str, kind: Kind, own: int | None, deployment: int | None) -> int:
    """How many failures of this kind are retried: by the request, else a policy, the deployment, the router."""
    if own is None:
        found = _by_policy(routing.group_retry_policy.get(group) or routing.retry_policy, kind)
        if found is not None:
            return found
    return next(number for number in (own, deployment, routing.num_retries) if number is not None)


def _by_policy(policy: Mapping[str, int] | None, kind: Kind) -> int | None:
    if not policy:
        return None
    return policy.get(_NAMES.get(kind, ""), policy.get("Default"))


def _of(fallbacks: Fallbacks, group: str, model: str) -> tuple[Fallback, ...]:
    for name in (model, group, model.partition("/")[2]):
        if name in fallbacks:
            return fallbacks[name]
    return fallbacks.get("*", ())
