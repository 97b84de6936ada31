"""Variables: `os.environ/NAME`, `NAME_FILE`, `environment_variables`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.configuration.environment import Environment, resolve
from penstock.configuration.problems import Problems, Wrong
from penstock.configuration.source import parse
from tests.configuration.loaded import config, deployment, errors, warnings


def _resolved(text, variables):
    problems = Problems()
    tree = resolve(parse(text, "f", problems), Environment(variables), problems)
    return tree.plain(), problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: os.environ/X", {"a": "x"}),
        ("a: {b: {c: os.environ/X}}", {"a": {"b": {"c": "x"}}}),
        ("a: [{b: os.environ/X}]", {"a": [{"b": "x"}]}),
        ("a: [os.environ/X]", {"a": ["os.environ/X"]}),  # LiteLLM leaves bare strings in lists alone
        ("a: [[{b: os.environ/X}]]", {"a": [[{"b": "os.environ/X"}]]}),
        ("a: os.environ/UNSET", {"a": None}),
        ("a: os.environ/EMPTY", {"a": ""}),
        ("a: os.environ/T", {"a": True}),
        ("a: os.environ/F", {"a": False}),
        ("a: x os.environ/X", {"a": "x os.environ/X"}),
        ("a: os.environ/NESTED", {"a": "os.environ/X"}),  # once, not again
    ],
)
def test_references(text, expected):
    variables = {"X": "x", "EMPTY": "", "T": " True", "F": "FALSE", "NESTED": "os.environ/X"}
    assert _resolved(text, variables)[0] == expected


def test_an_unset_variable_is_named_once():
    _, problems = _resolved("a: os.environ/NO\nb: os.environ/NO\nc: os.environ/EMPTY\n", {"EMPTY": ""})
    assert problems.warnings == ("os.environ/NO: is not set, counts as null (f:1, f:2)",)


_NAMES = st.sampled_from(["A", "B", "C", "D_KEY"])
_LEAVES = st.integers() | st.text("xy/", max_size=3) | _NAMES.map("os.environ/{}".format)
_TREES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3))
_VARIABLES = st.dictionaries(_NAMES, st.text("xyz", max_size=3))


def _expected(value, variables):
    """The rule, said a second time."""
    if isinstance(value, dict):
        return {key: _expected(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_expected(item, variables) if isinstance(item, dict) else item for item in value]
    if isinstance(value, str) and value.startswith("os.environ/"):
        return variables.get(value.removeprefix("os.environ/"))
    return value


@given(st.dictionaries(_NAMES, _TREES), _VARIABLES)
def test_references_anywhere(tree, variables):
    assert _resolved(json.dumps(tree), variables)[0] == _expected(tree, variables)


def test_a_secret_is_read_from_the_file_its_variable_names(tmp_path):
    (tmp_path / "key").write_text(" sk-file\n")
    variables = {"OPENAI_API_KEY_FILE": str(tmp_path / "key")}
    assert deployment(tmp_path, "model: gpt-4o", variables).api_key.get_secret_value() == "sk-file"
    referred = "model: gpt-4o, api_key: os.environ/MY_KEY"
    variables = {"MY_KEY_FILE": str(tmp_path / "key"), "OPENAI_API_KEY": "sk-other"}
    assert deployment(tmp_path, referred, variables).api_key.get_secret_value() == "sk-file"
    assert deployment(tmp_path, referred, variables | {"MY_KEY": "sk-own"}).api_key.get_secret_value() == "sk-own"


def test_an_unreadable_file_is_an_error_that_names_the_variable(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe sk-secret")
    for path, reason in ((tmp_path / "none", "No such file or directory"), (tmp_path / "binary", "not UTF-8 text")):
        found = errors(tmp_path, "general_settings: {}\n", {"PENSTOCK_MASTER_KEY_FILE": str(path)})
        expected = f"PENSTOCK_MASTER_KEY_FILE: the file it names cannot be read: {reason}"
        assert found == [f"PENSTOCK_MASTER_KEY: {expected}"]


def test_only_names_of_secrets_are_looked_up_in_files():
    assert Environment({"LOG_FILE": "/nowhere"}).reference("LOG") is None
    with pytest.raises(Wrong):
        Environment({"A_KEY_FILE": "/nowhere"}).reference("A_KEY")


def test_environment_variables_are_exported_before_the_rest_is_read_and_win(tmp_path):
    environ = {"OPENAI_API_KEY": "sk-old", "FROM": "sk-new"}
    text = """
        model_list:
        - {model_name: a, litellm_params: {model: gpt-4o}}
        - {model_name: b, litellm_params: {model: gpt-4o, organization: os.environ/ORG}}
        environment_variables:
          OPENAI_API_KEY: os.environ/FROM
          ORG: 42
        """
    loaded = config(tmp_path, text, environ)
    assert [d.api_key.get_secret_value() for d in loaded.deployments] == ["sk-new", "sk-new"]
    assert loaded.deployments[1].organization == "42"
    assert environ == {"OPENAI_API_KEY": "sk-old", "FROM": "sk-new"}


def test_wrong_environment_variables(tmp_path):
    text = "environment_variables: {A: [1], B: {c: 1}}\n"
    assert errors(tmp_path, text) == [
        "config.yaml:1: environment_variables.A: a string is wanted",
        "config.yaml:1: environment_variables.B: a string is wanted",
    ]
    assert errors(tmp_path, "environment_variables: [A]\n") == [
        "config.yaml:1: environment_variables: a mapping of names to values is wanted"
    ]


def test_a_value_from_a_variable_is_never_shown(tmp_path):
    text = "model_list: [{model_name: a, litellm_params: {model: gpt-4o, timeout: os.environ/S_KEY}}]\n"
    (line,) = errors(tmp_path, text, {"S_KEY": "sk-secret"})
    assert line.endswith("litellm_params.timeout: a number is wanted, not what S_KEY holds")


def test_an_empty_reference_falls_back_to_the_providers_variable(tmp_path):
    environ = {"EMPTY": "", "OPENAI_API_KEY": "sk-o"}
    found = deployment(tmp_path, "model: gpt-4o, api_key: os.environ/EMPTY", environ)
    assert found.api_key.get_secret_value() == "sk-o"
    assert warnings(tmp_path, "general_settings: {master_key: os.environ/EMPTY}\n", environ) == []
