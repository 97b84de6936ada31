"""`credential_list`, and deployments that name one of it: never sent without it."""

from pathlib import Path

import pytest

from penstock.configuration.loading import build, read
from penstock.configuration.problems import Place
from penstock.configuration.stored import node
from schemas.config import Config
from tests.configuration.loaded import PROVIDERS, config, errors, write

FILE = """
credential_list:
- credential_name: ours
  credential_values: {api_key: os.environ/OUR_KEY, api_base: "https://ours.example/v1", organization: org}
  credential_info: {custom_llm_provider: OpenAI}
model_list:
- {model_name: g, litellm_params: {model: openai/x, litellm_credential_name: ours}}
"""
ENVIRON = {"OUR_KEY": "sk-ours", "OPENAI_API_KEY": "sk-anybodys", "GROQ_API_KEY": "sk-groq"}


def stored(directory: Path, text: str, **values: str) -> Config:
    """The file, with a credential `kept` in the ledger."""
    kept = {"kept": node(values, Place("the credential kept", 0))} if values else {}
    return build(read(write(directory, text)), ENVIRON, providers=PROVIDERS, credentials=kept)


def test_its_values_are_the_deployments(tmp_path: Path) -> None:
    found = config(tmp_path, FILE, ENVIRON)
    (one,) = found.deployments
    assert one.api_key is not None
    assert one.api_key.get_secret_value() == "sk-ours"
    assert (one.api_base, one.organization, found.warnings) == ("https://ours.example/v1", "org", ())
    shown = {"api_key": "os.environ/OUR_KEY", "api_base": "https://ours.example/v1", "organization": "org"}
    assert found.credentials == {"ours": shown}


def test_what_is_secret_of_it_is_shown_masked(tmp_path: Path) -> None:
    found = config(tmp_path, FILE.replace("os.environ/OUR_KEY", "sk-written-0123456789"), ENVIRON)
    assert found.credentials["ours"]["api_key"] == "********"


def test_what_the_deployment_says_itself_wins(tmp_path: Path) -> None:
    (one,) = config(
        tmp_path, FILE.replace("name: ours}}", "name: ours, organization: own, api_base: null}}")
    ).deployments
    assert (one.organization, one.api_base) == ("own", "https://ours.example/v1")


def test_two_that_differ_in_it_alone_have_ids_of_their_own_in_any_order(tmp_path: Path) -> None:
    entries = [
        f"{{model_name: g, litellm_params: {{model: openai/x, litellm_credential_name: {name}}}}}"
        for name in ("a", "b")
    ]
    listed = "credential_list: [{credential_name: a, credential_values: {api_key: k}}," + (
        " {credential_name: b, credential_values: {api_key: l}}]\n"
    )
    first, second = (
        {
            (one.id, "" if one.api_key is None else one.api_key.get_secret_value())
            for one in config(tmp_path, f"{listed}model_list: [{', '.join(order)}]\n").deployments
        }
        for order in (entries, entries[::-1])
    )
    assert first == second


@pytest.mark.parametrize("name", ["unknown", "os.environ/OUR_KEY"])
def test_a_deployment_without_its_credential_is_left_out(tmp_path: Path, name: str) -> None:
    found = config(tmp_path, FILE.replace("litellm_credential_name: ours", f"litellm_credential_name: {name}"), ENVIRON)
    assert found.deployments == ()
    (warning,) = found.warnings
    assert "there is no credential" in warning
    assert "left out" in warning


def test_one_of_the_ledger_does_for_the_file_too_and_cannot_make_it_wrong(tmp_path: Path) -> None:
    text = FILE.replace("litellm_credential_name: ours", "litellm_credential_name: kept")
    (one,) = stored(tmp_path, text, api_key="sk-kept").deployments
    assert one.api_key is not None
    assert one.api_key.get_secret_value() == "sk-kept"
    found = stored(tmp_path, text, api_key="sk-kept", api_base="nonsense")
    assert found.deployments == ()
    assert "a URL with http:// or https:// is wanted" in found.warnings[0]
    assert stored(tmp_path, text).deployments == ()


def test_the_files_own_wins(tmp_path: Path) -> None:
    kept = {"ours": node({"api_key": "sk-other"}, Place("x", 0))}
    (one,) = build(read(write(tmp_path, FILE)), ENVIRON, providers=PROVIDERS, credentials=kept).deployments
    assert one.api_key is not None
    assert one.api_key.get_secret_value() == "sk-ours"


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("7", "a list is wanted"),
        ("[7]", "a mapping is wanted"),
        ("[{credential_name: a}]", "credential_values are wanted"),
        ("[{credential_values: {api_key: k}}]", "credential_name and"),
        ("[{credential_name: a, credential_values: k}]", "a mapping is wanted"),
        (
            "[{credential_name: a, credential_values: {}}, {credential_name: a, credential_values: {}}]",
            "two credentials",
        ),
    ],
)
def test_what_makes_no_sense_ends_the_start(tmp_path: Path, listed: str, said: str) -> None:
    assert any(said in line for line in errors(tmp_path, f"credential_list: {listed}\n"))
