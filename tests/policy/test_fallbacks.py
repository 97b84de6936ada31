"""Which groups a failure may fall back to, and how often it is retried: LiteLLM's rules."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.fallbacks import retries, targets
from schemas.config import Fallback, Fallbacks, Routing
from schemas.failures import POLICY_NAMES, Kind

ERROR, WINDOW, POLICY = Kind.PROVIDER_ERROR, Kind.CONTEXT_WINDOW, Kind.CONTENT_POLICY


def lists(**names: str) -> Fallbacks:
    """`g="a b"` is a list of two for `g`; `rest` stands for `*`."""
    return {
        {"rest": "*"}.get(name, name): tuple(Fallback(model=model) for model in models.split())
        for name, models in names.items()
    }


@pytest.mark.parametrize(
    ("routing", "kind", "own", "expected"),
    [
        ({}, ERROR, None, ""),
        ({"fallbacks": lists(g="a b")}, ERROR, None, "a b"),
        ({"fallbacks": lists(h="a b")}, ERROR, None, ""),
        ({"fallbacks": lists(rest="z")}, ERROR, None, "z"),
        ({"fallbacks": lists(g="a", rest="z")}, ERROR, None, "a"),
        ({"fallbacks": lists(g="", rest="z")}, ERROR, None, ""),
        # a context window, a content policy
        ({"fallbacks": lists(g="a")}, WINDOW, None, "a"),
        ({"fallbacks": lists(g="a")}, POLICY, None, "a"),
        ({"fallbacks": lists(g="a"), "context_window_fallbacks": lists(g="long")}, WINDOW, None, "long"),
        ({"fallbacks": lists(g="a"), "context_window_fallbacks": lists(h="long")}, WINDOW, None, ""),
        ({"fallbacks": lists(g="a"), "context_window_fallbacks": lists(rest="long")}, WINDOW, None, "long"),
        ({"fallbacks": lists(g="a"), "context_window_fallbacks": lists(g="long")}, POLICY, None, "a"),
        ({"fallbacks": lists(g="a"), "context_window_fallbacks": lists(g="long")}, ERROR, None, "a"),
        ({"fallbacks": lists(g="a"), "content_policy_fallbacks": lists(g="mild")}, POLICY, None, "mild"),
        ({"fallbacks": lists(g="a"), "content_policy_fallbacks": lists(h="mild")}, POLICY, None, ""),
        ({"fallbacks": lists(g="a"), "content_policy_fallbacks": lists(g="mild")}, WINDOW, None, "a"),
        # what the request brings
        ({"fallbacks": lists(g="a")}, ERROR, lists(rest="mine"), "mine"),
        ({"fallbacks": lists(g="a")}, ERROR, lists(g="mine", rest="other"), "mine"),
        ({"fallbacks": lists(g="a")}, ERROR, {}, ""),
        ({"context_window_fallbacks": lists(g="long")}, WINDOW, lists(rest="mine"), "mine"),
    ],
)
def test_where_a_failure_may_go(routing: dict[str, Any], kind: Kind, own: Fallbacks | None, expected: str) -> None:
    found = targets(Routing(**routing), "g", "g", kind, own)
    assert [one.model for one in found] == expected.split()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("openai/gpt", "openai/*", "gpt", "*"), "openai/gpt"),
        (("openai/*", "gpt", "*"), "openai/*"),
        (("gpt", "*"), "gpt"),
        (("*",), "*"),
        (("openai/other", "other"), ""),
    ],
)
def test_the_exact_name_comes_before_the_group_the_stripped_name_and_the_rest(
    names: tuple[str, ...], expected: str
) -> None:
    routing = Routing(fallbacks={name: (Fallback(model=name),) for name in names})
    assert "".join(one.model for one in targets(routing, "openai/*", "openai/gpt", ERROR, None)) == expected


@pytest.mark.parametrize(
    ("routing", "own", "deployment", "expected"),
    [
        ({}, None, None, 2),
        ({"num_retries": 0}, None, None, 0),
        ({"num_retries": 5}, None, 3, 3),
        ({"num_retries": 5}, None, 0, 0),
        ({"num_retries": 5}, 1, 3, 1),
        ({"num_retries": 5}, 0, 3, 0),
        ({"retry_policy": {"InternalServerError": 7}}, None, 3, 7),
        ({"retry_policy": {"InternalServerError": 0}}, None, 3, 0),
        ({"retry_policy": {"TimeoutError": 7}}, None, 3, 3),
        ({"retry_policy": {"TimeoutError": 7}}, None, None, 2),
        ({"retry_policy": {"Default": 4}}, None, 3, 4),
        ({"retry_policy": {"Default": 4, "InternalServerError": 1}}, None, 3, 1),
        ({"retry_policy": {"InternalServerError": 7}}, 1, 3, 1),
        ({"group_retry_policy": {"g": {"InternalServerError": 6}}}, None, 3, 6),
        ({"group_retry_policy": {"h": {"InternalServerError": 6}}}, None, 3, 3),
        (
            {"group_retry_policy": {"g": {"InternalServerError": 6}}, "retry_policy": {"InternalServerError": 7}},
            None,
            None,
            6,
        ),
        (
            {"group_retry_policy": {"h": {"InternalServerError": 6}}, "retry_policy": {"InternalServerError": 7}},
            None,
            None,
            7,
        ),
        ({"group_retry_policy": {"g": {"InternalServerError": 6}}}, 1, None, 1),
    ],
)
def test_how_often_a_failure_is_retried(
    routing: dict[str, Any], own: int | None, deployment: int | None, expected: int
) -> None:
    assert retries(Routing(**routing), "g", ERROR, own, deployment) == expected


@given(st.sampled_from(Kind), st.sampled_from(sorted(POLICY_NAMES)))
def test_a_policys_name_stands_for_its_kinds_and_no_other(kind: Kind, name: str) -> None:
    expected = 9 if kind in POLICY_NAMES[name] else 2
    assert retries(Routing(retry_policy={name: 9}), "g", kind, None, None) == expected


def test_no_kind_has_two_names() -> None:
    kinds = [kind for kinds in POLICY_NAMES.values() for kind in kinds]
    assert len(kinds) == len(set(kinds))
