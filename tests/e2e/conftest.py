"""One system per form for all modules: starting one is the dear part of these tests."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.stand import EMBEDDED, PROVIDER_KEY, RABBITMQ, SEPARATE, Stand, standing
from tests.support.upstream import Upstream


def deployment(name: str, model: str, base: str, **params: Any) -> dict[str, Any]:
    """An entry of `model_list`."""
    return {
        "model_name": name,
        "litellm_params": {"model": model, "api_base": base, "api_key": PROVIDER_KEY, **params},
    }


def configuration(base: str) -> dict[str, Any]:
    """Every kind of model that the tests call, all at the same upstream."""
    prices = {"input_cost_per_token": "2.5e-06", "output_cost_per_token": "1e-05"}
    return {
        "model_list": [
            deployment("gpt-4o", "openai/gpt-4o-2024-08-06", base + "/v1", **prices),
            deployment("instruct", "openai/gpt-3.5-turbo-instruct", base + "/v1", **prices),
            deployment("embed", "openai/text-embedding-3-small", base + "/v1", input_cost_per_token="2e-08"),
            deployment("openai/*", "openai/*", base + "/v1", **prices),
            deployment("limited", "openai/gpt-4o", base + "/v1", **prices),
            deployment("limited-stream", "openai/gpt-4o", base + "/v1", **prices),
            deployment("unpriced", "openai/of-our-own", base + "/v1"),
            deployment(
                "yours",
                "openai/gpt-4o",
                base + "/v1",
                configurable_clientside_auth_params=["api_key", "api_base", "extra_headers"],
                **prices,
            ),
            deployment("mocked", "openai/gpt-4o", base + "/v1", mock_response="a mocked word"),
            deployment("away", "openai/gpt-4o", "http://127.0.0.1:9/v1"),
            deployment("hasty", "openai/gpt-4o", base + "/v1", timeout=0.4),
            deployment("claude", "anthropic/claude-3-5-haiku-20241022", base),
            deployment("llama", "ollama/llama3.1", base),
        ],
        # These tests count calls; tests/e2e/test_routing.py has retries of its own.
        "router_settings": {"model_group_alias": {"best": "gpt-4o"}, "num_retries": 0},
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=[EMBEDDED, RABBITMQ, SEPARATE])
async def every_form(
    request: pytest.FixtureRequest, shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stand]:
    servers = None
    if request.param != EMBEDDED:
        servers = request.getfixturevalue("rabbitmq"), request.getfixturevalue("postgres")
    config = configuration(shared_upstream.url)
    folder = tmp_path_factory.mktemp(request.param)
    async with standing(request.param, config, shared_upstream, folder, servers) as stand:
        yield stand


@pytest.fixture
def stand(every_form: Stand) -> Stand:
    """The system, with nothing asked of its upstream yet."""
    every_form.upstream.requests.clear()
    return every_form
