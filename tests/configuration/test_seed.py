"""The model list that users of LiteLLM bring along, split over two files as they have it."""

from decimal import Decimal

from penstock.configuration.loading import load
from schemas.catalog import Catalog, upstream_model
from tests.configuration.loaded import PROVIDERS, write

MODELS = """
    model_list:
      - model_name: gpt-4o
        litellm_params:
          model: gpt-4o
          api_key: os.environ/OPENAI_API_KEY
      - model_name: gpt-4o-mini
        litellm_params:
          model: gpt-4o-mini
          api_key: os.environ/OPENAI_API_KEY
      - model_name: gpt-3.5-turbo
        litellm_params:
          model: gpt-3.5-turbo
          api_key: os.environ/OPENAI_API_KEY
      - model_name: claude-3-5-sonnet
        litellm_params:
          model: anthropic/claude-3-5-sonnet-20241022
          api_key: os.environ/ANTHROPIC_API_KEY
      - model_name: claude-3-5-haiku
        litellm_params:
          model: anthropic/claude-3-5-haiku-20241022
          api_key: os.environ/ANTHROPIC_API_KEY
      - model_name: llama3.1
        litellm_params:
          model: ollama/llama3.1
          api_base: http://ollama:11434
          input_cost_per_token: 0.0
          output_cost_per_token: 0.0
      - model_name: codellama
        litellm_params:
          model: ollama/codellama
          api_base: http://ollama:11434
          input_cost_per_token: 0
          output_cost_per_token: 0
      - model_name: mistral
        litellm_params:
          model: ollama/mistral
          api_base: http://ollama:11434
        model_info:
          input_cost_per_token: 0
          output_cost_per_token: 0
    """
MAIN = """
    include: [model_list/model_config.yaml]
    litellm_settings: {success_callback: [mlflow, langfuse], failure_callback: [mlflow, langfuse], drop_params: true}
    general_settings:
      master_key: os.environ/LITELLM_MASTER_KEY
      database_url: os.environ/DATABASE_URL
      store_model_in_db: true
    """
ENVIRON = {
    "LITELLM_MASTER_KEY": "sk-of-the-master",
    "DATABASE_URL": "postgresql://llm:pw@db:5432/litellm?connection_limit=10&pool_timeout=60",
    "OPENAI_API_KEY": "sk-openai",
    "ANTHROPIC_API_KEY": "sk-anthropic",
}


def test_the_seed_loads_verbatim(tmp_path):
    write(tmp_path, MODELS, "model_list/model_config.yaml")
    config = load(write(tmp_path, MAIN), ENVIRON, PROVIDERS)
    seen = [(d.group, d.provider, d.model, d.api_base) for d in config.deployments]
    assert seen == [
        ("gpt-4o", "openai", "gpt-4o", None),
        ("gpt-4o-mini", "openai", "gpt-4o-mini", None),
        ("gpt-3.5-turbo", "openai", "gpt-3.5-turbo", None),
        ("claude-3-5-sonnet", "anthropic", "claude-3-5-sonnet-20241022", None),
        ("claude-3-5-haiku", "anthropic", "claude-3-5-haiku-20241022", None),
        ("llama3.1", "ollama", "llama3.1", "http://ollama:11434"),
        ("codellama", "ollama", "codellama", "http://ollama:11434"),
        ("mistral", "ollama", "mistral", "http://ollama:11434"),
    ]
    keys = [d.api_key and d.api_key.get_secret_value() for d in config.deployments]
    assert keys == ["sk-openai"] * 3 + ["sk-anthropic"] * 2 + [None] * 3
    assert all(d.drop_params for d in config.deployments)
    assert all((d.price.input, d.price.output) == (Decimal(0), Decimal(0)) for d in config.deployments[5:])
    assert config.settings.master_key.get_secret_value() == "sk-of-the-master"
    assert config.settings.database_url.get_secret_value() == "postgresql://llm:pw@db:5432/litellm"


def test_what_the_seed_asks_for_and_we_do_not_do_is_named(tmp_path):
    write(tmp_path, MODELS, "model_list/model_config.yaml")
    config = load(write(tmp_path, MAIN), ENVIRON, PROVIDERS)
    assert [line.split(":")[0] for line in config.warnings] == [
        "the database URL",
        "litellm_settings.success_callback",
        "litellm_settings.failure_callback",
    ]


def test_every_name_of_the_seed_resolves(tmp_path):
    write(tmp_path, MODELS, "model_list/model_config.yaml")
    catalog = Catalog(load(write(tmp_path, MAIN), ENVIRON, PROVIDERS))
    for name in catalog.listing():
        found = catalog.resolve(name)
        assert found is not None
        assert [upstream_model(d, found.model) for d in found.deployments] == [found.deployments[0].model]
    assert catalog.resolve("gpt-4") is None


def test_it_loads_the_same_with_the_providers_there_are(tmp_path):
    write(tmp_path, MODELS, "model_list/model_config.yaml")
    path = write(tmp_path, MAIN)
    assert load(path, ENVIRON).deployments == load(path, ENVIRON, PROVIDERS).deployments


def test_no_secret_is_in_a_repr_or_a_warning(tmp_path):
    write(tmp_path, MODELS, "model_list/model_config.yaml")
    config = load(write(tmp_path, MAIN), ENVIRON, PROVIDERS)
    told = repr(config) + "".join(config.warnings)
    assert not [secret for secret in ("sk-of-the-master", "pw@", "sk-openai", "sk-anthropic") if secret in told]
