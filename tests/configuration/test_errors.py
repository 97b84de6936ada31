"""What is wrong is said with file, line and path, all at once, and never with a secret."""

import pytest

from penstock.configuration.problems import ConfigurationError, Problems
from penstock.configuration.source import parse
from tests.configuration.loaded import PROVIDERS, config, errors, load, warnings

HEAD = "model_list:\n- model_name: a\n  litellm_params:\n    model: gpt-4o\n"
AT = "config.yaml:5: model_list[0].litellm_params."


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("timeout: many", 'timeout: a number is wanted, not "many"'),
        ("timeout: -1", "timeout: a number of at least 0 is wanted, not -1"),
        ("timeout: 0", "timeout: a number of seconds above 0 is wanted, not 0"),
        ("timeout: .inf", "timeout: a number is wanted, not .inf"),
        ("timeout: 1e999999", 'timeout: a number of seconds is wanted, not "1e999999"'),
        ("timeout: [1]", "timeout: a number is wanted, not a list"),
        ("timeout: yes", "timeout: a number is wanted, not yes"),
        ("max_parallel_requests: 0", "max_parallel_requests: a whole number of at least 1 is wanted, not 0"),
        ("max_parallel_requests: 1.5", "max_parallel_requests: a whole number is wanted, not 1.5"),
        ("input_cost_per_token: free", 'input_cost_per_token: a number is wanted, not "free"'),
        ("drop_params: perhaps", 'drop_params: true or false is wanted, not "perhaps"'),
        ("extra_headers: [a]", "extra_headers: a mapping of header names to values is wanted"),
        ("extra_headers: {a: {}}", "extra_headers: each header's value must be a string"),
        ("extra_body: x", 'extra_body: a mapping is wanted, not "x"'),
        ("api_base: host:11434", "api_base: a URL with http:// or https:// is wanted"),
        ("api_key: [sk-secret]", "api_key: a string is wanted"),
        ("organization: true", "organization: a string is wanted, not true"),
        ("custom_llm_provider: nobody", None),
        (f"mock_response: {{a: {'x' * 99}}}", "mock_response: a string is wanted, not a mapping"),
    ],
)
def test_an_invalid_value(tmp_path, line, expected):
    found = errors(tmp_path, HEAD + f"    {line}\n")
    if expected is None:
        assert found == ['config.yaml:4: model_list[0].litellm_params.model: there is no provider "nobody"']
    else:
        assert found == [AT + expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model_list: {a: b}", "config.yaml:1: model_list: a list is wanted, not a mapping"),
        ("model_list: [a]", 'config.yaml:1: model_list[0]: a mapping is wanted, not "a"'),
        ("model_list:\n- litellm_params: {model: gpt-4o}", "config.yaml:2: model_list[0]: model_name is missing"),
        ("model_list:\n- model_name: a", "config.yaml:2: model_list[0]: litellm_params is missing"),
        (
            "model_list: [{model_name: a, litellm_params: {api_base: http://x}}]",
            "config.yaml:1: model_list[0].litellm_params: a model is missing",
        ),
        (
            "model_list: [{model_name: a, litellm_params: {model: my-model}}]",
            "config.yaml:1: model_list[0].litellm_params.model: nothing says which provider has "
            '"my-model": write it as provider/my-model, e.g. openai/my-model',
        ),
        (
            "model_list: [{model_name: a, litellm_params: {model: openai/}}]",
            "config.yaml:1: model_list[0].litellm_params.model: a model is wanted after openai/",
        ),
        (
            "model_list: [{model_name: a, litellm_params: {model: openai/*}}]",
            "config.yaml:1: model_list[0].litellm_params: the model has a * that no * in model_name fills",
        ),
        ("general_settings: [1]", "config.yaml:1: general_settings: a mapping is wanted, not a list"),
        (
            "general_settings: {max_request_size_mb: big}",
            'config.yaml:1: general_settings.max_request_size_mb: a number is wanted, not "big"',
        ),
        ("penstock: {pool_wiat: 5}", 'config.yaml:1: penstock.pool_wiat: there is no setting "pool_wiat"'),
        (
            "penstock:\n  drain: soon",
            'config.yaml:2: penstock.drain: a number is wanted, not "soon"',
        ),
        ("penstock: {port: 70000}", "config.yaml:1: penstock.port: a port from 0 to 65535 is wanted, not 70000"),
        (
            "router_settings: {model_group_alias: {a: [b]}}",
            "config.yaml:1: router_settings.model_group_alias.a: a string is wanted, not a list",
        ),
        (
            "router_settings: {model_group_alias: {a: {hidden: true}}}",
            "config.yaml:1: router_settings.model_group_alias.a: model is missing",
        ),
        ("a: 1\nb:\n  c: 1\n  c: 2", "config.yaml:4: b.c: written twice, first on line 3"),
        ("a: {c: 1, c: 2}", "config.yaml:1: a.c: written twice, first on line 1"),
        ("? [a]\n: b", "config.yaml:1: ?: a key must be a plain string"),
    ],
)
def test_an_invalid_structure(tmp_path, text, expected):
    found = errors(tmp_path, text + "\n")
    assert expected in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\nb: 2\n", "config.yaml:2: not valid YAML: "),
        ("- a\n", "config.yaml:1: a mapping is wanted at the top of the file"),
        ("a: b: c\n", "config.yaml:1: not valid YAML: mapping values are not allowed here"),
        ("a: \x07\n", "config.yaml: not valid YAML: it holds characters that YAML does not allow"),
        ("a: 1\n---\nb: 2\n", "config.yaml:2: not valid YAML: "),
        ("a: &x [*x]\n", "config.yaml:1: "),
    ],
)
def test_what_is_no_yaml_is_one_line(tmp_path, text, expected):
    (line,) = errors(tmp_path, text)
    assert line.startswith(expected)


def test_an_unquoted_secret_is_not_repeated(tmp_path):
    for value in ("*sk-secret", "!sk-secret", "@sk-secret", "[sk-secret"):
        told = "\n".join(errors(tmp_path, f"general_settings:\n  master_key: {value}\n"))
        assert "config.yaml" in told
        assert "sk-secret" not in told


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    for name, reason in (("no.yaml", "cannot be read: No such file or directory"), ("b.yaml", "is not UTF-8 text")):
        (tmp_path / "b.yaml").write_bytes(b"a: \xff\n")
        with pytest.raises(ConfigurationError) as caught:
            load(tmp_path / name, {}, PROVIDERS)
        assert str(caught.value) == f"{tmp_path / name}: {reason}"


def test_all_errors_come_at_once(tmp_path):
    text = """
        model_list:
        - model_name: a
          litellm_params: {model: gpt-4o, timeout: soon, drop_params: 3}
        - model_name: b
          litellm_params: {model: nobody-knows}
        penstock: {drain: x}
        """
    assert [line.split(":")[1] for line in errors(tmp_path, text)] == ["6", "3", "3", "5"]


def test_aliases_of_aliases_are_bounded():
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigurationError, match="too many aliases"):
        parse("\n".join(laughs), "f", Problems())


def test_anchors_and_merge_keys_work(tmp_path):
    text = """
        model_list:
        - model_name: a
          litellm_params: &defaults {model: gpt-4o, timeout: 5, max_parallel_requests: 3}
        - model_name: b
          litellm_params: {<<: *defaults, timeout: 7}
        """
    first, second = config(tmp_path, text).deployments
    assert (first.timeout, second.timeout, second.limits.parallel) == (5, 7, 3)


def test_an_empty_file_is_an_empty_configuration(tmp_path):
    assert config(tmp_path, "# nothing\n").deployments == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("guardrails: []", "guardrails: not supported yet, has no effect (config.yaml:1)"),
        ("modle_list: []", "modle_list: unknown key, has no effect (config.yaml:1)"),
        ("router_settings: {client_ttl: 3}", "router_settings.client_ttl: not supported yet, has no effect"),
        ("router_settings: {nmu_retries: 3}", "router_settings.nmu_retries: unknown key, has no effect"),
        ("litellm_settings: {cache: true}", "litellm_settings.cache: not supported yet, has no effect"),
        ("general_settings: {custom_auth: x}", "general_settings.custom_auth: not supported yet, has no effect"),
        (HEAD + "    roles: {}", "litellm_params.roles: not supported yet, has no effect (config.yaml:5)"),
        (HEAD + "    aws_region_name: x", "litellm_params.aws_region_name: not supported yet, has no effect"),
        (HEAD + "    input_cost_per_second: 1", "litellm_params.input_cost_per_second: not supported yet"),
        (HEAD + "    temprature: 5", "litellm_params.temprature: unknown key, has no effect (config.yaml:5)"),
        (HEAD + "  model_info: {tier: free}", "model_info.tier: not supported yet, has no effect (config.yaml:5)"),
        (HEAD + "  wieght: 1", "model_list[].wieght: unknown key, has no effect (config.yaml:5)"),
        (
            "model_list: [{model_name: a, litellm_params: {model: bedrock/x}}]",
            "config.yaml:1: model_list[0].litellm_params.model: the provider bedrock is not supported yet, "
            "this deployment is left out",
        ),
        (
            "router_settings: {model_group_alias: {a: gone}}",
            'router_settings.model_group_alias.a: "gone" names no model group',
        ),
    ],
)
def test_what_has_no_effect_is_named(tmp_path, text, expected):
    (line,) = warnings(tmp_path, text + "\n")
    assert line.startswith(expected)


def test_the_same_key_in_many_deployments_is_one_warning(tmp_path):
    entry = "- {model_name: a, litellm_params: {model: gpt-4o, max_budget: 1}}\n"
    assert warnings(tmp_path, "model_list:\n" + entry * 6) == [
        "litellm_params.max_budget: not supported yet, has no effect "
        "(config.yaml:2, config.yaml:3, config.yaml:4 and 3 more)"
    ]


def test_what_has_an_effect_or_is_null_is_not_named(tmp_path):
    text = """
        model_list:
        - model_name: a
          litellm_params: {model: gpt-4o, rpm: null, temperature: 1, mock_response: hi, timeout: 3, num_ctx: 5,
                           configurable_clientside_auth_params: [api_key], extra_headers: {x: y}, stream_timeout: 2}
          model_info: {id: x, mode: chat, anything: [1], base_model: gpt-4o}
        litellm_settings: {drop_params: true, request_timeout: 100}
        router_settings: {timeout: 10, stream_timeout: 5, model_group_alias: {b: a}}
        general_settings: {master_key: sk-x, database_url: "postgresql://h/d", max_request_size_mb: 3}
        environment_variables: {A: b}
        penstock: {drain: 5}
        """
    assert warnings(tmp_path, text) == []
