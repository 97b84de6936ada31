"""Names and patterns of models: whether a key may ask for one, and which entry of its budgets is about it.

Every scope of a key must allow the model, by name, pattern or access group.
"""

from collections.abc import Iterable, Sequence
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


def governing(entries: Iterable[str], names: Sequence[str]) -> str | None:
    """The entry for a model that is called by these names: one of them, else the most specific pattern; None: none."""
    fitting = []
    for entry in entries:
        if entry in names:
            fitting.append((1, -names.index(entry), 0, entry))
        elif _fits(entry, names):
            stars = entry.count("*")
            fitting.append((0, len(entry) - stars, -stars, entry))
    return max(fitting)[-1] if fitting else None


def _allows(models: Iterable[str], names: frozenset[str], groups: frozenset[str]) -> bool:
    return any(model in _ALL or model in names or model in groups or _fits(model, names) for model in models)


def _fits(pattern: str, names: Iterable[str]) -> bool:
    return "*" in pattern and any(fnmatchcase(name, pattern) for name in names)
