"""Whatever is thrown at the routes that change models: stored, or refused in OpenAI's shape; never our own fault."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from ledger.migrate import migrate
from ledger.pool import open_pool
from tests.api.stocked import Shop, shop

_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just("1e999999999")
_JSON: st.SearchStrategy[Any] = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
_NAMES = """api_key api_base rpm tpm max_parallel_requests order weight tags timeout extra_headers headers extra_body n
input_cost_per_token num_retries daily_reset_time mock_response temperature base_model drop_params vertex_credentials
configurable_clientside_auth_params organization custom_llm_provider cooldown_time max_retries"""
_PARAMS = st.fixed_dictionaries(
    {"model": st.sampled_from(["openai/x", "demo/demo", "openai/*", "x"]) | _JSON},
    optional=dict.fromkeys(_NAMES.split(), _JSON),
)
_INFO = st.none() | st.fixed_dictionaries(
    {}, optional={**dict.fromkeys(("allowed_fails", "max_input_tokens", "base_model", "note"), _JSON), "id": _JSON}
)
_BODIES = st.fixed_dictionaries(
    {"model_name": st.text(max_size=10) | _JSON, "litellm_params": _PARAMS | _JSON},
    optional={"model_info": _INFO | _JSON, "blocked": _JSON},
)
_CREDENTIALS = st.fixed_dictionaries(
    {},
    optional={
        "credential_name": st.text(max_size=10) | _JSON,
        "credential_values": st.dictionaries(st.sampled_from(_NAMES.split()), _JSON, max_size=3) | _JSON,
        **dict.fromkeys(("credential_info", "display_name", "credential_values_to_delete", "model_id"), _JSON),
    },
)
_DEEP: Any = 1
for _ in range(150):
    _DEEP = {"a": _DEEP}


async def throw(found: Shop, body: Any) -> None:
    """As a new model, as two changes of one that is there; then whatever it became is listed, and goes."""
    data = json.dumps(body).encode()
    for method, path in (("POST", "/model/new"), ("POST", "/model/update"), ("PATCH", "/model/there/update")):
        answer = await found.http.request(method, path, content=data, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 400, 404), answer.text
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    for path in ("/model/info", "/v2/model/info", "/model_group/info"):
        assert (await found.http.get(path)).status_code == 200
    await found.pool.execute("DELETE FROM models WHERE model_id <> 'there'")


async def throw_credential(found: Shop, body: Any) -> None:
    """As a new credential, and as a change of one that is there."""
    for method, path in (("POST", "/credentials"), ("PATCH", "/credentials/there")):
        headers = {"content-type": "application/json"}
        answer = await found.http.request(method, path, content=json.dumps(body).encode(), headers=headers)
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert (await found.http.get("/credentials")).status_code == 200
    await found.pool.execute("DELETE FROM credentials WHERE credential_name <> 'there'")


def test_anything_is_answered(database_url: str, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def open_all() -> Shop:
            await migrate(database_url)
            pool = await open_pool(database_url)
            stack.push_async_callback(pool.close)
            found = await stack.enter_async_context(shop(pool, tmp_path))
            there = {"model_name": "g", "litellm_params": {"model": "openai/y", "api_key": "sk-0123456789"}}
            await found.post("/model/new", **there, model_info={"id": "there"})
            await found.post("/credentials", credential_name="there", credential_values={"api_key": "sk-0123456789"})
            return found

        found = runner.run(open_all())

        @settings(
            max_examples=150,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(_BODIES)
        @example({"model_name": "g", "litellm_params": {"model": "openai/x", "extra_body": {"a": "\ud800"}}})
        @example({"model_name": "g", "litellm_params": {"model": "openai/x", "rpm": "\ud800"}})
        @example({"model_name": "g", "litellm_params": {"model": "openai/x", "extra_body": {"a": 2**70}}})
        @example({"model_name": "g", "litellm_params": {"model": "openai/x", "order": "1e999999999"}})
        @example({"model_name": "g", "litellm_params": {"model": "openai/x", "extra_body": _DEEP}})
        @example({"model_name": "g", "litellm_params": {"model": "openai/x"}, "model_info": {"note": _DEEP}})
        @example({"model_name": "\ud800", "litellm_params": {"model": "openai/x"}, "model_info": {"id": "\ud800"}})
        def anything(body: Any) -> None:
            runner.run(throw(found, body))

        @settings(
            max_examples=30,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(_CREDENTIALS)
        @example({"credential_name": "new", "credential_values": {"api_key": "\ud800"}})
        @example({"credential_name": "new", "credential_values": {"region_name": "\x00"}})
        @example({"credential_name": "new", "credential_values": {"region_name": "\ud800"}})
        @example({"credential_name": "new", "credential_values": {"extra_body": _DEEP}})
        @example({"credential_name": "new", "credential_values": {"order": 2**70}, "credential_info": {"a": "\x00"}})
        @example({"credential_name": "\ud800", "credential_values": {"api_key": "k"}, "display_name": "\ud800"})
        def any_credential(body: Any) -> None:
            runner.run(throw_credential(found, body))

        try:
            anything()
            any_credential()
        finally:
            runner.run(stack.aclose())
