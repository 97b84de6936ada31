"""`router_settings`, and what `litellm_settings` may say of the same."""

import pytest

from penstock.configuration.routing import FALLBACKS, KEYS
from schemas.config import Fallback, Limits, Routing, Strategy
from schemas.failures import POLICY_NAMES
from tests.configuration.loaded import config, errors, warnings

MODELS = "model_list: [{model_name: a, litellm_params: {model: gpt-4o}}]\n"
GOOD = [
    ("num_retries: 0", "num_retries", 0),
    ("num_retries: 3", "num_retries", 3),
    ("retry_after: 1.5", "retry_after", 1.5),
    ("allowed_fails: 1", "allowed_fails", 1),
    ("allowed_fails: 0", "allowed_fails", 0),
    ("cooldown_time: 30", "cooldown_time", 30.0),
    ("disable_cooldowns: true", "cooldowns", False),
    ("disable_cooldowns: false", "cooldowns", True),
    ("max_fallbacks: 2", "max_fallbacks", 2),
    ("enable_pre_call_checks: true", "pre_call_checks", True),
    ("enable_tag_filtering: true", "tag_filtering", True),
    ("tag_filtering_match_any: false", "tags_match_any", False),
    ("routing_strategy_args: {lowest_latency_buffer: 0.5}", "latency_buffer", 0.5),
    ("retry_policy: {RateLimitErrorRetries: 4}", "retry_policy", {"RateLimitError": 4}),
    ("retry_policy: {DefaultRetries: 0}", "retry_policy", {"Default": 0}),
    (
        "model_group_retry_policy: {a: {TimeoutErrorRetries: 1, DefaultRetries: 2}, b: null}",
        "group_retry_policy",
        {"a": {"TimeoutError": 1, "Default": 2}},
    ),
    (
        "allowed_fails_policy: {AuthenticationErrorAllowedFails: 0, TimeoutErrorAllowedFails: 12}",
        "allowed_fails_policy",
        {"AuthenticationError": 0, "TimeoutError": 12},
    ),
    *((f"routing_strategy: {strategy.value}", "strategy", strategy) for strategy in Strategy),
]


@pytest.mark.parametrize(("written", "field", "expected"), GOOD)
def test_a_good_value(tmp_path, written, field, expected):
    loaded = config(tmp_path, f"{MODELS}router_settings: {{{written}}}\n")
    assert loaded.routing == Routing(**{field: expected})
    assert loaded.warnings == ()


def test_the_tables_above_and_in_test_fallbacks_have_every_field():
    assert {field for _, field, _ in GOOD} | set(FALLBACKS) == set(Routing.model_fields)
    assert set(KEYS) <= {field for _, field, _ in GOOD}


def test_nothing_said_is_the_default(tmp_path):
    assert config(tmp_path, MODELS).routing == Routing()
    assert Routing().num_retries == 2


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_every_name_of_a_failure(tmp_path, name):
    text = f"""
        router_settings:
          retry_policy: {{{name}Retries: 4}}
          allowed_fails_policy: {{{name}AllowedFails: 5}}
        """
    routing = config(tmp_path, text).routing
    assert (routing.retry_policy, routing.allowed_fails_policy) == ({name: 4}, {name: 5})


@pytest.mark.parametrize("field", ["num_retries", "allowed_fails", "cooldown_time", "max_fallbacks"])
def test_litellm_settings_count_where_router_settings_say_nothing(tmp_path, field):
    theirs = f"litellm_settings: {{{field}: 7}}\n"
    assert config(tmp_path, theirs).routing == Routing(**{field: 7})
    assert config(tmp_path, f"{theirs}router_settings: {{{field}: null}}\n").routing == Routing(**{field: 7})
    assert config(tmp_path, f"{theirs}router_settings: {{{field}: 0}}\n").routing == Routing(**{field: 0})
    assert warnings(tmp_path, theirs) == []
    assert errors(tmp_path, f"litellm_settings: {{{field}: x}}\nrouter_settings: {{{field}: 0}}\n") == [
        f'config.yaml:1: litellm_settings.{field}: a number is wanted, not "x"'
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("num_retries: many", 'num_retries: a number is wanted, not "many"'),
        ("num_retries: 1.5", "num_retries: a whole number is wanted, not 1.5"),
        ("num_retries: -1", "num_retries: a number of at least 0 is wanted, not -1"),
        ("retry_after: soon", 'retry_after: a number is wanted, not "soon"'),
        ("retry_after: -1", "retry_after: a number of at least 0 is wanted, not -1"),
        ("allowed_fails: [1]", "allowed_fails: a number is wanted, not a list"),
        ("cooldown_time: .nan", "cooldown_time: a number is wanted, not .nan"),
        ("disable_cooldowns: perhaps", 'disable_cooldowns: true or false is wanted, not "perhaps"'),
        ("max_fallbacks: 0.5", "max_fallbacks: a whole number is wanted, not 0.5"),
        ("enable_pre_call_checks: 1", "enable_pre_call_checks: true or false is wanted, not 1"),
        ("enable_tag_filtering: [a]", "enable_tag_filtering: true or false is wanted, not a list"),
        ("tag_filtering_match_any: x", 'tag_filtering_match_any: true or false is wanted, not "x"'),
        ("routing_strategy: [a]", "routing_strategy: a string is wanted, not a list"),
        ("routing_strategy_args: fast", 'routing_strategy_args: a mapping is wanted, not "fast"'),
        (
            "routing_strategy_args: {lowest_latency_buffer: -1}",
            "routing_strategy_args.lowest_latency_buffer: a number of at least 0 is wanted, not -1",
        ),
        ("retry_policy: [a]", "retry_policy: a mapping is wanted, not a list"),
        (
            "retry_policy: {RateLimitErrorRetries: x}",
            'retry_policy.RateLimitErrorRetries: a number is wanted, not "x"',
        ),
        ("model_group_retry_policy: 3", "model_group_retry_policy: a mapping is wanted, not 3"),
        ("model_group_retry_policy: {a: 3}", "model_group_retry_policy.a: a mapping is wanted, not 3"),
        (
            "model_group_retry_policy: {a: {TimeoutErrorRetries: 0.5}}",
            "model_group_retry_policy.a.TimeoutErrorRetries: a whole number is wanted, not 0.5",
        ),
        (
            "allowed_fails_policy: {TimeoutErrorAllowedFails: -1}",
            "allowed_fails_policy.TimeoutErrorAllowedFails: a number of at least 0 is wanted, not -1",
        ),
        ("default_max_parallel_requests: 0", "default_max_parallel_requests: a whole number of at least 1 is wanted"),
        ("optional_pre_call_checks: x", 'optional_pre_call_checks: a list is wanted, not "x"'),
    ],
)
def test_an_invalid_value(tmp_path, written, expected):
    (line,) = errors(tmp_path, f"{MODELS}router_settings: {{{written}}}\n")
    assert line.startswith(f"config.yaml:2: router_settings.{expected}")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "routing_strategy: lar1",
            'config.yaml:2: router_settings.routing_strategy: "lar1" is not supported, simple-shuffle takes its place',
        ),
        (
            "routing_strategy: Least-Busy",
            'config.yaml:2: router_settings.routing_strategy: "Least-Busy" is not supported, '
            "simple-shuffle takes its place",
        ),
        (
            "routing_strategy_args: {ttl: 60}",
            "router_settings.routing_strategy_args.ttl: not supported yet, has no effect (config.yaml:2)",
        ),
        (
            "routing_strategy_args: {tll: 60}",
            "router_settings.routing_strategy_args.tll: unknown key, has no effect (config.yaml:2)",
        ),
        (
            "retry_policy: {TimeoutRetries: 1}",
            "router_settings.retry_policy.TimeoutRetries: unknown key, has no effect (config.yaml:2)",
        ),
        (
            "allowed_fails_policy: {DefaultAllowedFails: 1}",
            "router_settings.allowed_fails_policy.DefaultAllowedFails: unknown key, has no effect (config.yaml:2)",
        ),
        (
            "model_group_retry_policy: {a: {Timeout: 1}}",
            "router_settings.model_group_retry_policy.*.Timeout: unknown key, has no effect (config.yaml:2)",
        ),
        (
            "model_group_retry_policy: {gone: {TimeoutErrorRetries: 1}}",
            'config.yaml:2: router_settings.model_group_retry_policy.gone: "gone" names no model group',
        ),
        (
            "optional_pre_call_checks: [enforce_model_rate_limits, prompt_caching]",
            "router_settings.optional_pre_call_checks: prompt_caching: not supported yet, "
            "has no effect (config.yaml:2)",
        ),
        (
            "routing_groups: []",
            "router_settings.routing_groups: not supported yet, has no effect (config.yaml:2)",
        ),
    ],
)
def test_what_has_no_effect_is_named(tmp_path, written, expected):
    text = f"{MODELS}router_settings: {{{written}}}\n"
    assert warnings(tmp_path, text) == [expected]
    assert config(tmp_path, text).routing.strategy is Strategy.SHUFFLE


def test_limits_hold_without_being_asked_for(tmp_path):
    assert warnings(tmp_path, "router_settings: {optional_pre_call_checks: [enforce_model_rate_limits]}\n") == []


PRODUCTION = """
    model_list:
      - model_name: gpt-4o
        litellm_params:
          model: openai/gpt-4o
          api_key: os.environ/OPENAI_API_KEY
          rpm: 500
          tpm: 300000
          order: 1
          tags: ["default", "eu"]
        model_info: {id: gpt-4o-first, max_input_tokens: 128000, allowed_fails: 5}
      - model_name: gpt-4o
        litellm_params:
          model: openai/gpt-4o-2024-08-06
          api_key: os.environ/OPENAI_API_KEY_2
          rpd: 10000
          daily_reset_time: 07:00
          max_parallel_requests: 8
          order: 2
          num_retries: 1
          cooldown_time: 60
      - model_name: claude
        litellm_params: {model: anthropic/claude-sonnet-4-5, itpm: 40000, otpm: 8000, weight: 2}
      - model_name: local
        litellm_params: {model: ollama/llama3.1}
    router_settings:
      routing_strategy: latency-based-routing
      routing_strategy_args: {ttl: 3600, lowest_latency_buffer: 0.1}
      num_retries: 3
      retry_after: 1
      timeout: 120
      allowed_fails: 3
      cooldown_time: 30
      enable_pre_call_checks: true
      default_max_parallel_requests: 100
      retry_policy: {AuthenticationErrorRetries: 0, RateLimitErrorRetries: 5, TimeoutErrorRetries: 1}
      model_group_retry_policy:
        claude: {InternalServerErrorRetries: 4}
      allowed_fails_policy: {AuthenticationErrorAllowedFails: 0, RateLimitErrorAllowedFails: 10000}
      model_group_alias: {gpt-4: gpt-4o}
      fallbacks:
        - gpt-4o: [claude, local]
        - claude: [gpt-4]
      context_window_fallbacks: [{local: [claude]}]
      redis_host: os.environ/REDIS_HOST
    litellm_settings:
      num_retries: 9
      request_timeout: 600
      content_policy_fallbacks: [{gpt-4o: [{model: claude, temperature: 0}]}]
      default_fallbacks: [local]
    """


def test_a_realistic_file(tmp_path):
    loaded = config(tmp_path, PRODUCTION, {"REDIS_HOST": "redis", "OPENAI_API_KEY": "sk-1", "OPENAI_API_KEY_2": "sk-2"})
    first, second, claude, local = loaded.deployments
    assert first.limits == Limits(rpm=500, tpm=300_000, parallel=100)
    assert (first.order, first.tags, first.context_window, first.allowed_fails) == (1, ("default", "eu"), 128_000, 5)
    assert second.limits == Limits(rpd=10_000, daily_reset=25_200, parallel=8)
    assert (second.order, second.num_retries, second.cooldown_time) == (2, 1, 60)
    assert claude.limits == Limits(itpm=40_000, otpm=8000, parallel=100)
    assert (claude.weight, claude.order) == (2, None)
    assert local.limits == Limits(parallel=100)
    assert loaded.settings.request_timeout == 120
    assert loaded.routing == Routing(
        strategy=Strategy.LATENCY,
        latency_buffer=0.1,
        num_retries=3,
        retry_after=1,
        retry_policy={"AuthenticationError": 0, "RateLimitError": 5, "TimeoutError": 1},
        group_retry_policy={"claude": {"InternalServerError": 4}},
        allowed_fails=3,
        allowed_fails_policy={"AuthenticationError": 0, "RateLimitError": 10_000},
        cooldown_time=30,
        pre_call_checks=True,
        fallbacks={
            "gpt-4o": (Fallback(model="claude"), Fallback(model="local")),
            "claude": (Fallback(model="gpt-4"),),
            "*": (Fallback(model="local"),),
        },
        context_window_fallbacks={"local": (Fallback(model="claude"),)},
        content_policy_fallbacks={"gpt-4o": (Fallback(model="claude", body={"temperature": 0}),)},
    )
    assert [line.split(":")[0] for line in loaded.warnings] == [
        "router_settings.routing_strategy_args.ttl",
        "router_settings.redis_host",
    ]
