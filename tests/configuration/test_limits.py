"""A deployment's limits and what else of it steers routing: good and bad values, and who wins."""

import pytest

from penstock.configuration.deployments import _FIELDS, _INFO_FIELDS
from penstock.configuration.limits import KEYS
from schemas.config import Limits
from tests.configuration.loaded import config, deployment, errors, warnings

GOOD_LIMITS = [
    ("rpm: 500", {"rpm": 500.0}),
    ("rpm: 0.5", {"rpm": 0.5}),
    ("rpm: '60'", {"rpm": 60.0}),
    ("tpm: 2e6", {"tpm": 2_000_000.0}),
    ("itpm: 40_000", {"itpm": 40_000.0}),
    ("otpm: 8000", {"otpm": 8000.0}),
    ("rpd: 10000", {"rpd": 10_000.0}),
    ("tpd: 1000000", {"tpd": 1_000_000.0}),
    ("max_parallel_requests: 7", {"parallel": 7}),
    ("daily_reset_time: '00:00'", {"daily_reset": 0}),
    ("daily_reset_time: '08:30'", {"daily_reset": 30_600}),
    ("daily_reset_time: '9:05'", {"daily_reset": 32_700}),
    ("daily_reset_time: 12:30", {"daily_reset": 45_000}),  # YAML reads 750, a number in base 60
    ("daily_reset_time: 23:59", {"daily_reset": 86_340}),
    ("rpm: null, max_parallel_requests: null", {}),
]
GOOD_FIELDS = [
    ("weight: 9", "weight", 9.0),
    ("weight: 0", "weight", 0.0),
    ("weight: 0.25", "weight", 0.25),
    ("order: 2", "order", 2),
    ("order: 0", "order", 0),
    ("tags: [free, eu]", "tags", ("free", "eu")),
    ("tags: paid", "tags", ("paid",)),
    ("num_retries: 0", "num_retries", 0),
    ("num_retries: 5", "num_retries", 5),
    ("cooldown_time: 30", "cooldown_time", 30.0),
    ("cooldown_time: 0", "cooldown_time", 0.0),
]
GOOD_INFO = [
    ("allowed_fails: 3", "allowed_fails", 3),
    ("allowed_fails: 0", "allowed_fails", 0),
    ("cooldown_time: 1.5", "cooldown_time", 1.5),
    ("max_input_tokens: 128000", "context_window", 128_000),
    ("max_input_tokens: 2e5", "context_window", 200_000),
]


@pytest.mark.parametrize(("params", "expected"), GOOD_LIMITS)
def test_a_limit(tmp_path, params, expected):
    assert deployment(tmp_path, f"model: gpt-4o, {params}").limits == Limits(**expected)


@pytest.mark.parametrize(("params", "field", "expected"), GOOD_FIELDS)
def test_what_steers_routing(tmp_path, params, field, expected):
    assert getattr(deployment(tmp_path, f"model: gpt-4o, {params}"), field) == expected
    assert warnings(tmp_path, f"model_list: [{{model_name: g, litellm_params: {{model: gpt-4o, {params}}}}}]") == []


@pytest.mark.parametrize(("info", "field", "expected"), GOOD_INFO)
def test_what_model_info_says(tmp_path, info, field, expected):
    text = f"model_list: [{{model_name: g, litellm_params: {{model: gpt-4o}}, model_info: {{{info}}}}}]\n"
    assert getattr(config(tmp_path, text).deployments[0], field) == expected
    assert warnings(tmp_path, text) == []


def test_the_tables_above_have_every_key():
    assert {params.split(":")[0] for params, _ in GOOD_LIMITS} == {key for key, _ in KEYS.values()}
    assert {field for _, field, _ in GOOD_INFO} == set(_INFO_FIELDS)
    assert {field for _, field, _ in GOOD_FIELDS} <= set(_FIELDS)


def test_without_any_nothing_is_limited(tmp_path):
    found = deployment(tmp_path, "model: gpt-4o")
    assert found.limits == Limits()
    assert (found.slots, found.weight, found.order, found.tags) == (256, None, None, ())
    assert (found.num_retries, found.allowed_fails, found.cooldown_time, found.context_window) == (None,) * 4


def test_a_limit_may_come_from_a_variable(tmp_path):
    found = deployment(tmp_path, "model: gpt-4o, rpm: os.environ/RPM", {"RPM": "90"})
    assert found.limits.rpm == 90
    text = "model_list: [{model_name: g, litellm_params: {model: gpt-4o, rpm: os.environ/RPM}}]"
    assert errors(tmp_path, text, {"RPM": "sk-secret"}) == [
        "config.yaml:1: model_list[0].litellm_params.rpm: a number is wanted, not what RPM holds"
    ]


def test_deployments_of_one_group_may_have_an_order_or_none(tmp_path):
    text = """
        model_list:
        - {model_name: a, litellm_params: {model: gpt-4o, order: 1}}
        - {model_name: a, litellm_params: {model: gpt-4o-mini}}
        """
    assert [found.order for found in config(tmp_path, text).deployments] == [1, None]
    assert warnings(tmp_path, text) == []


def test_the_default_of_calls_under_way(tmp_path):
    text = """
        model_list:
        - {model_name: a, litellm_params: {model: gpt-4o, rpm: 5}}
        - {model_name: b, litellm_params: {model: gpt-4o, max_parallel_requests: 2}}
        router_settings: {default_max_parallel_requests: 40}
        """
    loaded = config(tmp_path, text)
    assert [found.limits for found in loaded.deployments] == [Limits(rpm=5, parallel=40), Limits(parallel=2)]
    assert [found.slots for found in loaded.deployments] == [256, 256]
    assert loaded.warnings == ()


def test_litellm_params_win_over_model_info(tmp_path):
    text = """
        model_list:
        - {model_name: a, litellm_params: {model: gpt-4o, cooldown_time: 0}, model_info: {cooldown_time: 9}}
        - {model_name: a, litellm_params: {model: gpt-4o-mini}, model_info: {cooldown_time: 9}}
        """
    assert [found.cooldown_time for found in config(tmp_path, text).deployments] == [0, 9]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("rpm: 0", "rpm: a number above 0 is wanted, not 0"),
        ("rpm: -5", "rpm: a number of at least 0 is wanted, not -5"),
        ("rpm: lots", 'rpm: a number is wanted, not "lots"'),
        ("rpm: true", "rpm: a number is wanted, not true"),
        ("tpm: .inf", "tpm: a number is wanted, not .inf"),
        ("tpm: 1e999", 'tpm: a number is wanted, not "1e999"'),
        ("tpm: [1]", "tpm: a number is wanted, not a list"),
        ("itpm: 0", "itpm: a number above 0 is wanted, not 0"),
        ("otpm: x", 'otpm: a number is wanted, not "x"'),
        ("rpd: 0", "rpd: a number above 0 is wanted, not 0"),
        ("tpd: {}", "tpd: a number is wanted, not a mapping"),
        ("max_parallel_requests: 0", "max_parallel_requests: a whole number of at least 1 is wanted, not 0"),
        ("daily_reset_time: '24:00'", 'daily_reset_time: a time of day as HH:MM (UTC) is wanted, not "24:00"'),
        ("daily_reset_time: '12:60'", 'daily_reset_time: a time of day as HH:MM (UTC) is wanted, not "12:60"'),
        ("daily_reset_time: noon", 'daily_reset_time: a time of day as HH:MM (UTC) is wanted, not "noon"'),
        ("daily_reset_time: 750", "daily_reset_time: a time of day as HH:MM (UTC) is wanted, not 750"),
        ("daily_reset_time: true", "daily_reset_time: a string is wanted, not true"),
        ("weight: -1", "weight: a number of at least 0 is wanted, not -1"),
        ("weight: heavy", 'weight: a number is wanted, not "heavy"'),
        ("order: 1.5", "order: a whole number is wanted, not 1.5"),
        ("order: first", 'order: a number is wanted, not "first"'),
        ("tags: {a: b}", "tags: a string is wanted, not a mapping"),
        ("tags: [null]", "tags: a string is wanted, not null"),
        ("tags: [[a]]", "tags: a string is wanted, not a list"),
        ("num_retries: -1", "num_retries: a number of at least 0 is wanted, not -1"),
        ("num_retries: 1.5", "num_retries: a whole number is wanted, not 1.5"),
        ("cooldown_time: soon", 'cooldown_time: a number is wanted, not "soon"'),
    ],
)
def test_an_invalid_value(tmp_path, params, expected):
    text = f"model_list: [{{model_name: g, litellm_params: {{model: gpt-4o, {params}}}}}]\n"
    assert errors(tmp_path, text) == [f"config.yaml:1: model_list[0].litellm_params.{expected}"]


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("allowed_fails: some", 'allowed_fails: a number is wanted, not "some"'),
        ("allowed_fails: 0.5", "allowed_fails: a whole number is wanted, not 0.5"),
        ("cooldown_time: -1", "cooldown_time: a number of at least 0 is wanted, not -1"),
        ("max_input_tokens: 128k", 'max_input_tokens: a number is wanted, not "128k"'),
        ("max_input_tokens: 0", "max_input_tokens: a whole number of at least 1 is wanted, not 0"),
    ],
)
def test_an_invalid_value_in_model_info(tmp_path, info, expected):
    text = f"model_list: [{{model_name: g, litellm_params: {{model: gpt-4o}}, model_info: {{{info}}}}}]\n"
    assert errors(tmp_path, text) == [f"config.yaml:1: model_list[0].model_info.{expected}"]


def test_what_has_still_no_effect_says_so(tmp_path):
    text = """
        model_list:
        - model_name: a
          litellm_params: {model: gpt-4o, max_retries: 3, fallbacks: [b], context_window_fallback_dict: {a: b}}
          model_info: {allowed_fails_policy: {RateLimitErrorAllowedFails: 3}}
        """
    assert warnings(tmp_path, text) == [
        "litellm_params.max_retries: not supported yet, has no effect (config.yaml:3)",
        "litellm_params.fallbacks: not supported yet, has no effect (config.yaml:3)",
        "litellm_params.context_window_fallback_dict: not supported yet, has no effect (config.yaml:3)",
        "model_info.allowed_fails_policy: not supported yet, has no effect (config.yaml:4)",
    ]
