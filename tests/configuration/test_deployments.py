"""`model_list`: providers, ids, prices, parameters, credentials."""

from decimal import Decimal

import pytest

from penstock.configuration.loading import load
from tests.configuration.loaded import PROVIDERS, config, deployment, errors, warnings


@pytest.mark.parametrize(
    ("params", "provider", "model"),
    [
        ("model: openai/gpt-4o", "openai", "gpt-4o"),
        ("model: openai/org/model", "openai", "org/model"),
        ("model: gpt-4o", "openai", "gpt-4o"),
        ("model: o3-mini", "openai", "o3-mini"),
        ("model: 'ft:gpt-4o-mini:acme::1'", "openai", "ft:gpt-4o-mini:acme::1"),
        ("model: text-embedding-3-small", "openai", "text-embedding-3-small"),
        ("model: claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("model: ollama_chat/llama3", "ollama", "llama3"),
        ("model: 'llama3:8b', custom_llm_provider: ollama", "ollama", "llama3:8b"),
        ("model: openai/gpt-4o, custom_llm_provider: openai", "openai", "gpt-4o"),
        ("model: openai/gpt-oss, custom_llm_provider: groq", "groq", "openai/gpt-oss"),
        ("model: meta-llama/llama-4, api_base: 'https://api.groq.com/openai/v1'", "groq", "meta-llama/llama-4"),
        ("model: my-model, base_url: 'https://api.openai.com/v1'", "openai", "my-model"),
    ],
)
def test_the_provider(tmp_path, params, provider, model):
    found = deployment(tmp_path, params)
    assert (found.provider, found.model) == (provider, model)


def test_a_star_alone_is_openais(tmp_path):
    text = "model_list: [{model_name: '*', litellm_params: {model: '*'}}]\n"
    (found,) = config(tmp_path, text).deployments
    assert (found.provider, found.model, found.litellm_model) == ("openai", "*", "*")


@pytest.mark.parametrize("written", ["3e-06", "0.000003", "3.0e-6", "'3e-06'", "0.000_003"])
def test_prices_are_exact(tmp_path, written):
    price = deployment(tmp_path, f"model: gpt-4o, input_cost_per_token: {written}").price
    assert price.input == Decimal("0.000003")
    assert price.output is None


def test_every_price(tmp_path):
    text = """
        model_list:
        - model_name: a
          litellm_params:
            model: gpt-4o
            input_cost_per_token: 1e-1
            output_cost_per_token: 2e-1
            cache_read_input_token_cost: 3e-1
            cache_creation_input_token_cost: 0.1234567890123456789
          model_info:
            output_cost_per_token: 9
            output_cost_per_reasoning_token: 5e-1
            input_cost_per_request: 0.6
            input_cost_per_audio_token: 7
            output_cost_per_audio_token: 8
        """
    loaded = config(tmp_path, text)
    assert {name: str(value) for name, value in loaded.deployments[0].price} == {
        "input": "0.1",
        "output": "0.2",
        "cache_read": "0.3",
        "cache_write": "0.1234567890123456789",
        "reasoning": "0.5",
        "request": "0.6",
        "audio_in": "7",
        "audio_out": "8",
    }
    assert loaded.warnings == ()


def test_parameters_headers_and_the_rest(tmp_path):
    text = """
        model_list:
        - model_name: a
          litellm_params:
            model: openai/x
            api_base: https://host/v1
            organization: org
            temperature: 0.2
            max_tokens: 100
            stop: [a, b]
            extra_body: {top_k: 3, deep: {x: null}}
            extra_headers: {X-Token: os.environ/TOKEN, X-N: 5}
            timeout: 30
            max_parallel_requests: 7
            configurable_clientside_auth_params: [api_key, {api_base: ".*"}]
          model_info: {mode: chat, base_model: gpt-4o, note: [1, 2]}
        """
    loaded = config(tmp_path, text, {"TOKEN": "t"})
    (found,) = loaded.deployments
    assert found.body == {"temperature": 0.2, "max_tokens": 100, "stop": ["a", "b"]}
    assert found.extra_body == {"top_k": 3, "deep": {"x": None}}
    assert found.headers == {"X-Token": "t", "X-N": "5"}
    assert (found.api_base, found.organization) == ("https://host/v1", "org")
    assert (found.timeout, found.limits.parallel, found.client_may_set) == (30, 7, {"api_key"})
    assert found.slots == 256
    assert found.price_model == "gpt-4o"
    assert len(loaded.warnings) == 1
    assert "a condition on the value" in loaded.warnings[0]


def test_explicit_values_win_over_variables_which_win_over_nothing(tmp_path):
    environ = {"OPENAI_API_KEY": "sk-env", "OPENAI_API_BASE": "https://second", "OPENAI_BASE_URL": "https://first"}
    own = deployment(tmp_path, "model: gpt-4o, api_key: sk-own, api_base: 'https://own'", environ)
    assert (own.api_key.get_secret_value(), own.api_base) == ("sk-own", "https://own")
    from_variables = deployment(tmp_path, "model: gpt-4o", environ)
    assert (from_variables.api_key.get_secret_value(), from_variables.api_base) == ("sk-env", "https://first")
    bare = deployment(tmp_path, "model: gpt-4o")
    assert (bare.api_key, bare.api_base) == (None, None)


def test_defaults_of_other_sections(tmp_path):
    text = """
        model_list:
        - {model_name: a, litellm_params: {model: gpt-4o}}
        - {model_name: b, litellm_params: {model: gpt-4o, drop_params: false, stream_timeout: 1}}
        litellm_settings: {drop_params: true}
        router_settings: {stream_timeout: 9}
        """
    first, second = config(tmp_path, text).deployments
    assert (first.drop_params, first.stream_timeout) == (True, 9)
    assert (second.drop_params, second.stream_timeout) == (False, 1)


TWO = """
    model_list:
    - {model_name: a, litellm_params: {model: gpt-4o, api_key: os.environ/A_KEY}}
    - {model_name: a, litellm_params: {model: gpt-4o, api_key: os.environ/B_KEY}}
    - {model_name: a, litellm_params: {model: gpt-4o, api_key: os.environ/B_KEY, rpm: 3}}
    """


def test_ids_do_not_depend_on_what_variables_hold(tmp_path):
    with_keys = config(tmp_path, TWO, {"A_KEY": "sk-1", "B_KEY": "sk-2"})
    without = config(tmp_path, TWO)
    ids = [found.id for found in with_keys.deployments]
    assert ids == [found.id for found in without.deployments]
    assert len(set(ids)) == 3
    assert ids[2] == f"{ids[1]}-2"
    assert all(part.isalnum() for found in ids for part in found.split("-"))


def test_an_id_does_not_show_the_key_it_was_made_of(tmp_path):
    one = deployment(tmp_path, "model: gpt-4o, api_key: sk-literal").id
    other = deployment(tmp_path, "model: gpt-4o, api_key: sk-another").id
    assert one != other
    assert "sk-literal" not in one
    assert one == deployment(tmp_path, "model: gpt-4o, api_key: sk-literal, temperature: 1").id


def test_explicit_ids(tmp_path):
    entry = "- {model_name: a, litellm_params: {model: gpt-4o}, model_info: {id: 17}}\n"
    (found,) = config(tmp_path, "model_list:\n" + entry).deployments
    assert found.id == "17"
    assert errors(tmp_path, "model_list:\n" + entry * 2) == [
        "config.yaml:3: model_list[1].model_info: the id is taken by the deployment at config.yaml:2"
    ]


def test_two_entries_on_one_line_may_not_share_an_id_either(tmp_path):
    entry = "{model_name: a, litellm_params: {model: gpt-4o}, model_info: {id: x}}"
    assert len(errors(tmp_path, f"model_list: [{entry}, {entry}]\n")) == 1


def test_a_provider_we_do_not_have_leaves_the_others(tmp_path):
    text = """
        model_list:
        - {model_name: a, litellm_params: {model: vertex_ai/gemini, vertex_project: p}}
        - {model_name: b, litellm_params: {model: gpt-4o}}
        """
    assert [found.group for found in config(tmp_path, text).deployments] == ["b"]
    assert len(warnings(tmp_path, text)) == 1


def _groups(environ):
    return [(found.group, found.provider, found.model) for found in load(None, environ, PROVIDERS).deployments]


def test_without_a_file():
    assert _groups({}) == [("demo", "demo", "demo")]
    assert _groups({"OPENAI_API_KEY": "sk-o", "GROQ_API_KEY": "g", "ANTHROPIC_API_KEY": ""}) == [
        ("demo", "demo", "demo"),
        ("openai/*", "openai", "*"),
        ("groq/*", "groq", "*"),
    ]
    (_, found) = load(None, {"FIREWORKS_AI_API_KEY": "f"}, PROVIDERS).deployments
    assert (found.group, found.api_key.get_secret_value()) == ("fireworks_ai/*", "f")


def test_without_a_file_the_key_may_be_in_one_and_the_address_in_a_variable(tmp_path):
    (tmp_path / "key").write_text("sk-f\n")
    environ = {"OPENAI_API_KEY_FILE": str(tmp_path / "key"), "OPENAI_API_BASE": "http://other/v1"}
    (_, found) = load(None, environ, PROVIDERS).deployments
    assert (found.api_key.get_secret_value(), found.api_base) == ("sk-f", "http://other/v1")


def test_the_real_providers_are_the_default():
    groups = [found.group for found in load(None, {"OPENAI_API_KEY": "x", "GROQ_API_KEY": "y"}).deployments]
    assert groups[0] == "demo"
    assert sorted(groups[1:]) == ["groq/*", "openai/*"]
