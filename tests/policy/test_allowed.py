"""Which models a key may name: every scope must allow it."""

import pytest

from policy.allowed import denied_by, governing
from schemas.access import Scope

NAMES = frozenset({"openai/gpt-4o", "gpt-4o"})


@pytest.mark.parametrize(
    ("models", "groups", "allowed"),
    [
        (("gpt-4o",), (), True),
        (("openai/gpt-4o",), (), True),
        (("gpt-4",), (), False),
        (("openai/*",), (), True),
        (("anthropic/*",), (), False),
        (("*",), (), True),
        (("all-proxy-models",), (), True),
        (("all-team-models",), (), True),
        (("no-default-models",), (), False),
        (("no-default-models", "gpt-4o"), (), True),
        (("beta",), ("beta",), True),
        (("beta",), ("gamma",), False),
        (("GPT-4O",), (), False),
        (("gpt-[4]o",), (), False),
    ],
)
def test_one_scope(models: tuple[str, ...], groups: tuple[str, ...], allowed: bool) -> None:
    denied = denied_by((Scope("key", models),), NAMES, frozenset(groups))
    assert denied == (None if allowed else "key")


def test_the_first_scope_that_forbids_is_named() -> None:
    scopes = (Scope("key", ("*",)), Scope("team", ("gpt-4",)), Scope("user", ("gpt-4",)))
    assert denied_by(scopes, NAMES, frozenset()) == "team"
    assert denied_by((), NAMES, frozenset()) is None


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (("*", "gpt-*", "gpt-4o", "asked"), "asked"),
        (("*", "gpt-*", "gpt-4o"), "gpt-4o"),
        (("*", "openai/*", "gpt-4*", "gpt-*"), "openai/*"),
        (("*", "gpt-**", "gpt-*"), "gpt-*"),
        (("*",), "*"),
        (("claude", "GPT-*", "gpt"), None),
        ((), None),
    ],
)
def test_a_budgets_entry_is_found_by_name_or_by_the_most_specific_pattern(
    entries: tuple[str, ...], expected: str | None
) -> None:
    assert governing(entries, ("asked", "gpt-4o", "openai/gpt-4o")) == expected
