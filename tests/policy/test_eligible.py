"""Which deployments may serve a request at all: LiteLLM's tags, and the context window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.eligible import fitting, tagged
from schemas.config import Deployment, Routing
from schemas.failures import Kind, Refused

ANY, ALL, OFF = (
    Routing(tag_filtering=True),
    Routing(tag_filtering=True, tags_match_any=False),
    Routing(tag_filtering=False),
)
TAGS = st.sampled_from(["free", "paid", "eu", "default"])
DEPLOYMENTS = st.lists(st.sets(TAGS), max_size=5)
ASKED = st.lists(st.builds(str.__add__, st.sampled_from(["", "", "!", "&"]), TAGS), max_size=4)


def deployment(name: str, tags: str = "") -> Deployment:
    return Deployment(id=name, group="g", provider="p", model="m", tags=tuple(tags.split()))


HOUSE = [
    deployment("free", "free"),
    deployment("paid", "paid"),
    deployment("both", "free paid"),
    deployment("eu", "paid eu"),
    deployment("plain"),
    deployment("default", "default"),
]
BARE = [one for one in HOUSE if one.id != "default"]


def ids(found: tuple[Deployment, ...]) -> str:
    return " ".join(one.id for one in found)


@pytest.mark.parametrize(
    ("house", "routing", "tags", "expected"),
    [
        (HOUSE, OFF, "paid", "free paid both eu plain default"),
        (HOUSE, OFF, "!paid nobody", "free paid both eu plain default"),
        # without tags: the default ones, else all
        (HOUSE, ANY, "", "default"),
        (BARE, ANY, "", "free paid both eu plain"),
        # any of them
        (HOUSE, ANY, "free", "free both"),
        (HOUSE, ANY, "free eu", "free both eu"),
        (HOUSE, ANY, "nobody", "default"),
        (HOUSE, ANY, "nobody free", "free both"),
        # all of them
        (HOUSE, ALL, "free paid", "both"),
        (HOUSE, ALL, "free eu", "default"),
        (HOUSE, ALL, "paid", "paid both eu"),
        # excluded
        (HOUSE, ANY, "!paid", "default"),
        (BARE, ANY, "!paid", "free plain"),
        (HOUSE, ANY, "free !paid", "free"),
        (BARE, ANY, "!default", "free paid both eu plain"),
        # demanded
        (HOUSE, ANY, "&eu", "eu"),
        (HOUSE, ANY, "&paid free", "both"),
        (HOUSE, ANY, "&free &paid", "both"),
        (HOUSE, ANY, "&paid !free", "paid eu"),
    ],
)
def test_which_deployments_serve_a_requests_tags(
    house: list[Deployment], routing: Routing, tags: str, expected: str
) -> None:
    assert ids(tagged(house, tags.split(), routing)) == expected


@pytest.mark.parametrize(
    ("house", "routing", "tags"),
    [
        (BARE, ANY, "nobody"),
        (BARE, ALL, "free eu"),
        (HOUSE, ANY, "&nobody"),
        (HOUSE, ANY, "&eu !paid"),
        (HOUSE[:1], ANY, "!free"),
        ([], ANY, ""),
    ],
)
def test_tags_that_nobody_serves_are_refused(house: list[Deployment], routing: Routing, tags: str) -> None:
    with pytest.raises(Refused) as raised:
        tagged(house, tags.split(), routing)
    assert (raised.value.failure.kind, raised.value.failure.param) == (Kind.FORBIDDEN, "tags")


@given(DEPLOYMENTS, ASKED, st.sampled_from([ANY, ALL]))
def test_what_is_excluded_never_serves_and_what_is_demanded_is_there(
    house: list[set[str]], asked: list[str], routing: Routing
) -> None:
    deployments = [deployment(str(n), " ".join(sorted(tags))) for n, tags in enumerate(house)]
    try:
        found = tagged(deployments, asked, routing)
    except Refused:
        return
    assert [one for one in deployments if one in found] == list(found), "in their order, each once"
    for one in found:
        assert not {tag[1:] for tag in asked if tag[0] == "!"} & set(one.tags)
        assert {tag[1:] for tag in asked if tag[0] == "&"} <= set(one.tags)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [(0, "small large unknown"), (100, "small large unknown"), (101, "large unknown"), (10_001, "unknown")],
)
def test_a_prompt_goes_where_it_fits(prompt: int, expected: str) -> None:
    sizes = {"small": 100, "large": 10_000, "unknown": None}
    house = [deployment(name) for name in sizes]
    assert ids(fitting(house, prompt, lambda one: sizes[one.id])) == expected


@pytest.mark.parametrize("sizes", [[10], [10, 20], []])
def test_a_prompt_that_fits_nowhere_is_refused(sizes: list[int]) -> None:
    house = [deployment(str(size)) for size in sizes]
    with pytest.raises(Refused, match="21 tokens") as raised:
        fitting(house, 21, lambda one: int(one.id))
    assert (raised.value.failure.kind, raised.value.failure.param) == (Kind.CONTEXT_WINDOW, "messages")
