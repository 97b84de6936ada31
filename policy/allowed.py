"""Whether a key may ask for a model: every one of its scopes must allow it, by name, pattern or access group."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache

from schemas.access import Scope

_ALL = frozenset({"*", "all-proxy-models", "all-team-models"})


@lru_cache(8192)
def denied_by(scopes: tuple[Scope, ...], names: frozenset[str], groups: frozenset[str]) -> str | None:
    """The kind of the first scope that does not allow the model; None: it is allowed.

    `names` are what the model is called (as asked, its group, its concrete name), `groups` its access groups.
    `no-default-models` in a scope allows nothing by itself.
    """
    return next((scope.kind for scope in scopes if not _allows(scope.models, names, groups)), None)


def _allows(models: Iterable[str], names: frozenset[str], groups: frozenset[str]) -> bool:
    return any(model in _ALL or model in names or model in groups or _fits(model, names) for model in models)


def _fits(pattern: str, names: frozenset[str]) -> bool:
    return "*" in pattern and any(fnmatchcase(name, pattern) for name in names)
