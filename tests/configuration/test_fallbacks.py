"""Fallbacks: every form that is read, and what is said of those that lead nowhere."""

import pytest

from schemas.config import Fallback
from tests.configuration.loaded import config, errors, warnings

MODELS = """
model_list:
- {model_name: a, litellm_params: {model: gpt-4o}, model_info: {id: a-1}}
- {model_name: a, litellm_params: {model: gpt-4o-mini}, model_info: {id: a-2}}
- {model_name: b, litellm_params: {model: gpt-4o}}
- {model_name: c, litellm_params: {model: claude-sonnet-4-5}}
- {model_name: openai/*, litellm_params: {model: openai/*}}
"""
KINDS = ["fallbacks", "context_window_fallbacks", "content_policy_fallbacks"]
A, B, C = (Fallback(model=name) for name in "abc")


def router(written: str, alias: str = "") -> str:
    return f"{MODELS}router_settings:\n{alias}  fallbacks: {written}\n"


@pytest.mark.parametrize("section", ["router_settings", "litellm_settings"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_both_sections(tmp_path, section, kind):
    loaded = config(tmp_path, f"{MODELS}{section}: {{{kind}: [{{a: [b, c]}}]}}\n")
    assert loaded.warnings == ()
    for other in KINDS:
        assert getattr(loaded.routing, other) == ({"a": (B, C)} if other == kind else {})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[{a: [b]}, {b: [c, a]}]", {"a": (B,), "b": (C, A)}),
        ("[{a: [b], b: [c]}]", {"a": (B,), "b": (C,)}),
        ("{a: [b], b: [c]}", {"a": (B,), "b": (C,)}),
        ("[{a: b}]", {"a": (B,)}),
        ("{a: {model: b}}", {"a": (B,)}),
        ("[{'*': [c]}]", {"*": (C,)}),
        ("[{'*': [c]}, {a: []}]", {"*": (C,), "a": ()}),
        ("[{a: null}]", {}),
        ("[]", {}),
        ("null", {}),
        ("[{a: [openai/o3]}]", {"a": (Fallback(model="openai/o3"),)}),
        ("[{openai/*: [a]}, {openai/o3: [b]}, {o3: [c]}]", {"openai/*": (A,), "openai/o3": (B,), "o3": (C,)}),
        ("[{a: [a-2]}]", {"a": (Fallback(model="a-2"),)}),
        (
            "[{a: [{model: b, temperature: 0, max_tokens: 5, stop: [x]}, c]}]",
            {"a": (Fallback(model="b", body={"temperature": 0, "max_tokens": 5, "stop": ["x"]}), C)},
        ),
        (
            "[{a: [{model: b, messages: [{role: user, content: hi}]}]}]",
            {"a": (Fallback(model="b", body={"messages": [{"role": "user", "content": "hi"}]}),)},
        ),
    ],
)
def test_the_forms(tmp_path, written, expected):
    loaded = config(tmp_path, router(written))
    assert loaded.routing.fallbacks == expected
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("router_settings: {default_fallbacks: [b]}", {"*": (B,)}),
        ("litellm_settings: {default_fallbacks: [b]}", {"*": (B,)}),
        ("litellm_settings: {default_fallbacks: [b]}\nrouter_settings: {default_fallbacks: [c]}", {"*": (C,)}),
        ("router_settings: {default_fallbacks: [{model: b, n: 1}]}", {"*": (Fallback(model="b", body={"n": 1}),)}),
        ("litellm_settings: {default_fallbacks: [b], fallbacks: [{a: [c]}]}", {"a": (C,), "*": (B,)}),
        ("litellm_settings: {fallbacks: [{a: [b]}]}\nrouter_settings: {fallbacks: [{a: [c]}]}", {"a": (C,)}),
        ("litellm_settings: {fallbacks: [{a: [b]}]}\nrouter_settings: {fallbacks: []}", {"a": (B,)}),
        ("litellm_settings: {fallbacks: [{a: [b]}]}\nrouter_settings: {fallbacks: [{c: [b]}]}", {"c": (B,)}),
        ("litellm_settings: {default_fallbacks: []}\nrouter_settings: {default_fallbacks: []}", {}),
    ],
)
def test_defaults_and_who_wins(tmp_path, settings, expected):
    loaded = config(tmp_path, f"{MODELS}{settings}\n")
    assert loaded.routing.fallbacks == expected
    assert loaded.warnings == ()


AT = "config.yaml:8: router_settings.fallbacks"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a", f'{AT}: a mapping of a group to its fallbacks is wanted, not "a"'),
        ("[a]", f'{AT}[0]: a mapping of a group to its fallbacks is wanted, not "a"'),
        ("[[a]]", f"{AT}[0]: a mapping of a group to its fallbacks is wanted, not a list"),
        ("[null]", f"{AT}[0]: a mapping of a group to its fallbacks is wanted, not null"),
        ("[{a: [[b]]}]", f"{AT}[0].a[0]: a string is wanted, not a list"),
        ("[{a: [true]}]", f"{AT}[0].a[0]: a string is wanted, not true"),
        ("[{a: [null]}]", f"{AT}[0].a[0]: a string is wanted, not null"),
        ("[{a: [{temperature: 1}]}]", f"{AT}[0].a[0]: model is missing"),
        ("[{a: [{model: [b]}]}]", f"{AT}[0].a[0].model: a string is wanted, not a list"),
        ("{a: {b: c}}", f"{AT}.a: model is missing"),
    ],
)
def test_an_invalid_form(tmp_path, written, expected):
    assert expected in errors(tmp_path, router(written))


def test_an_invalid_default(tmp_path):
    assert errors(tmp_path, f"{MODELS}router_settings: {{default_fallbacks: [[b]]}}\n") == [
        "config.yaml:7: router_settings.default_fallbacks[0]: a string is wanted, not a list"
    ]


@pytest.mark.parametrize(
    ("written", "expected", "left"),
    [
        ("[{a: [gone, b]}]", '[0].a[0]: "gone" names no model group', {"a": (Fallback(model="gone"), B)}),
        (
            "[{a: [{model: gone}]}]",
            '[0].a[0].model: "gone" names no model group',
            {"a": (Fallback(model="gone"),)},
        ),
        ("[{gone: [b]}]", '[0].gone: "gone" names no model group', {"gone": (B,)}),
        ("[{a: [a, b]}]", '[0].a[0]: "a" falls back to itself, this is left out', {"a": (B,)}),
        ("[{a: [a]}, {'*': [b]}]", '[0].a[0]: "a" falls back to itself, this is left out', {"*": (B,)}),
        ("[{a: [{model: a, n: 2}, c]}]", '[0].a[0].model: "a" falls back to itself, this is left out', {"a": (C,)}),
        ("[{openai/*: ['openai/*', b]}]", '[0].openai/*[0]: "openai/*" falls back to itself, this', {"openai/*": (B,)}),
        (
            "[{openai/o3: [o3, b]}]",
            '[0].openai/o3[0]: "o3" falls back to itself, this is left out',
            {"openai/o3": (B,)},
        ),
        ("[{a: [b]}, {a: [c]}]", '[1].a: "a" has fallbacks already, these have no effect', {"a": (B,)}),
        ("[{a-1: [b]}]", '[0].a-1: "a-1" is another name of "a": fallbacks under it have no effect', {"a-1": (B,)}),
    ],
)
def test_what_leads_nowhere_is_named(tmp_path, written, expected, left):
    text = router(written)
    (line,) = warnings(tmp_path, text)
    assert line.startswith(AT + expected)
    assert config(tmp_path, text).routing.fallbacks == left


def test_aliases(tmp_path):
    alias = "  model_group_alias: {best: a}\n"
    assert config(tmp_path, router("[{b: [best]}]", alias)).routing.fallbacks == {"b": (Fallback(model="best"),)}
    assert warnings(tmp_path, router("[{b: [best]}]", alias)) == []
    (itself,) = warnings(tmp_path, router("[{a: [best]}]", alias))
    assert itself.endswith('[0].a[0]: "best" falls back to itself, this is left out')
    (unused,) = warnings(tmp_path, router("[{best: [b]}]", alias))
    assert unused.endswith('[0].best: "best" is another name of "a": fallbacks under it have no effect')


def test_default_fallbacks_win_over_those_of_the_star(tmp_path):
    text = f"{MODELS}router_settings: {{fallbacks: [{{'*': [b]}}], default_fallbacks: [c]}}\n"
    assert config(tmp_path, text).routing.fallbacks == {"*": (C,)}
    assert warnings(tmp_path, text) == ['default_fallbacks: they win over the fallbacks of "*"']


def test_a_key_in_a_fallback_is_neither_kept_nor_shown(tmp_path):
    text = router("[{a: [{model: b, api_key: sk-secret, timeout: 3, nonsense: 1, top_p: 0.5}]}]")
    loaded = config(tmp_path, text)
    assert loaded.routing.fallbacks == {"a": (Fallback(model="b", body={"top_p": 0.5}),)}
    assert warnings(tmp_path, text) == [
        "router_settings.fallbacks[].api_key: not supported yet, has no effect (config.yaml:8)",
        "router_settings.fallbacks[].timeout: not supported yet, has no effect (config.yaml:8)",
        "router_settings.fallbacks[].nonsense: unknown key, has no effect (config.yaml:8)",
    ]
    assert "sk-secret" not in repr(loaded)


def test_a_name_from_a_variable_is_not_shown(tmp_path):
    text = router("[{a: [{model: os.environ/WHERE}]}]")
    assert config(tmp_path, text, {"WHERE": "b"}).routing.fallbacks == {"a": (B,)}
    (line,) = warnings(tmp_path, text, {"WHERE": "sk-secret"})
    assert line.endswith("[0].a[0].model: what WHERE holds names no model group")
