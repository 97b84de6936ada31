"""What a model's name means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import Catalog, provider_of, upstream_model
from schemas.config import Config, Deployment


def _deployment(group, model, id_=None, provider="openai"):
    return Deployment(
        id=id_ or f"id-{group}", group=group, provider=provider, model=model, litellm_model=f"{provider}/{model}"
    )


CATALOG = Catalog(
    Config(
        deployments=(
            _deployment("gpt-4o", "gpt-4o-2024", "one"),
            _deployment("gpt-4o", "gpt-4o-2024", "two"),
            _deployment("small", "gpt-4o-mini"),
            _deployment("openai/*", "*"),
            _deployment("openai/gpt-5*", "gpt-5*-latest"),
            _deployment("llm/*/v*", "*-*"),
            _deployment("twice/*", "*/*"),
            _deployment("fixed/*", "always"),
        ),
        aliases={"gpt-4": "gpt-4o", "secret": "small", "smart": "openai/o3", "small": "gpt-4o", "lost": "nowhere"},
        hidden_aliases=frozenset({"secret"}),
    )
)


@pytest.mark.parametrize(
    ("asked", "group", "model", "upstream"),
    [
        ("gpt-4o", "gpt-4o", "gpt-4o", "gpt-4o-2024"),
        ("gpt-4", "gpt-4o", "gpt-4o", "gpt-4o-2024"),
        ("secret", "small", "small", "gpt-4o-mini"),  # hidden from the list, not from use
        ("small", "small", "small", "gpt-4o-mini"),  # a group wins over an alias of its name
        ("smart", "openai/*", "openai/o3", "o3"),
        ("openai/o3", "openai/*", "openai/o3", "o3"),
        ("openai/gpt-5-mini", "openai/gpt-5*", "openai/gpt-5-mini", "gpt-5-mini-latest"),
        ("openai/a/b*c\n", "openai/*", "openai/a/b*c\n", "a/b*c\n"),
        ("o3-mini", "openai/*", "openai/o3-mini", "o3-mini"),  # LiteLLM: the provider's wildcard by the model's name
        ("llm/x/v2", "llm/*/v*", "llm/x/v2", "x-2"),
        ("twice/a", "twice/*", "twice/a", "a/a"),
        ("fixed/anything", "fixed/*", "fixed/anything", "always"),
    ],
)
def test_names(asked, group, model, upstream):
    for _ in range(2):
        found = CATALOG.resolve(asked)
        assert found is not None
        assert (found.group, found.model) == (group, model)
        assert upstream_model(found.deployments[0], found.model) == upstream


@pytest.mark.parametrize(
    "asked", ["", "nobody", "lost", "nowhere", "gpt-4o,small", "id-openai/*", "llm/x", "x" * 10_000]
)
def test_unknown_names(asked):
    assert CATALOG.resolve(asked) is None


def test_a_name_too_long_for_a_wildcard():
    assert CATALOG.resolve("openai/" + "x" * 1000) is None


def test_a_deployments_id_means_that_one():
    assert [d.id for d in CATALOG.resolve("gpt-4o").deployments] == ["one", "two"]
    found = CATALOG.resolve("two")
    assert (found.group, [d.id for d in found.deployments]) == ("gpt-4o", ["two"])


def test_a_model_as_written_in_litellm_params_comes_last():
    deployments = (_deployment("mine", "gpt-4o", "a"), _deployment("other", "gpt-4o", "b"))
    found = Catalog(Config(deployments=deployments)).resolve("openai/gpt-4o")
    assert (found.group, found.model, [d.id for d in found.deployments]) == ("mine", "mine", ["a"])
    with_wildcard = Catalog(Config(deployments=(*deployments, _deployment("openai/*", "*"))))
    assert with_wildcard.resolve("openai/gpt-4o").group == "openai/*"


def test_the_listing():
    assert CATALOG.listing() == (
        "gpt-4o",
        "small",
        "openai/*",
        "openai/gpt-5*",
        "llm/*/v*",
        "twice/*",
        "fixed/*",
        "gpt-4",
        "smart",
        "lost",
    )


def test_a_star_takes_everything_that_nothing_else_does():
    catalog = Catalog(Config(deployments=(_deployment("*", "*"), _deployment("openai/*", "*"))))
    assert catalog.resolve("whatever").group == "*"
    assert catalog.resolve("openai/x").group == "openai/*"


_SEGMENT = st.text("ab/.+(", max_size=4)


@given(st.lists(_SEGMENT, min_size=2, max_size=4), st.data())
def test_a_wildcards_captures_rebuild_the_name(parts, data):
    pattern = "*".join(parts)
    name = parts[0] + "".join(data.draw(_SEGMENT) + part for part in parts[1:])
    deployment = _deployment(pattern, pattern)
    found = Catalog(Config(deployments=(deployment,))).resolve(name)
    assert found is not None
    assert found.group == pattern
    assert upstream_model(deployment, name) == name


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "openai"),
        ("o4-mini", "openai"),
        ("chatgpt-4o-latest", "openai"),
        ("claude-3-5-sonnet-20241022", "anthropic"),
        ("us.anthropic.claude-3-5-sonnet-20240620-v1:0", "bedrock"),
        ("gemini-2.5-pro", "vertex_ai"),
        ("gpt-image-1", "openai"),
        ("gpt-oss-20b", None),
        ("o3x", None),
        ("llama3", None),
        ("my-gpt-4", None),
    ],
)
def test_the_provider_of_a_bare_name(model, provider):
    assert provider_of(model) == provider
