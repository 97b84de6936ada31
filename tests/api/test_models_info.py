"""`/model/info`, `/v2/model/info`, `/model_group/info`, `/config/reload`: what is shown, to whom, and what never is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ledger.pool import Pool
from tests.api.stocked import FILED, Shop, shop

SECRET = "sk-provider-0123456789abcdef"
MORE: list[dict[str, Any]] = [
    {
        "model_name": "big",
        "litellm_params": {
            "model": "openai/gpt-4o",
            "api_key": SECRET,
            "api_base": f"https://me:{SECRET}@host/v1",
            "extra_headers": {"x-key": SECRET},
            "tpm": 1000,
            "configurable_clientside_auth_params": ["api_key"],
        },
        "model_info": {"id": "big-1", "access_groups": ["gold"], "supports_vision": True, "note": "ours"},
    },
    {
        "model_name": "big",
        "litellm_params": {"model": "anthropic/claude-x", "rpm": 7.5, "input_cost_per_token": "0.00001"},
        "model_info": {"id": "big-2", "max_input_tokens": 10**6, "mode": "chat"},
    },
    {"model_name": "openai/*", "litellm_params": {"model": "openai/*"}, "model_info": {"id": "wild"}},
]
ALIASES = {"router_settings": {"model_group_alias": {"best": "big", "secret": {"model": "big", "hidden": True}}}}


@pytest.fixture
async def shopped(pool: Pool, tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(pool, tmp_path, **ALIASES) as found:
        found.path.write_text(yaml.safe_dump({"model_list": [FILED, *MORE], **ALIASES}))
        await found.post("/config/reload")
        yield found


def names(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["model_info"]["id"] for entry in entries]


@pytest.mark.parametrize("path", ["/model/info", "/v1/model/info"])
async def test_every_deployment_and_alias_is_listed_without_a_secret(shopped: Shop, path: str) -> None:
    answer = await shopped.http.get(path)
    assert SECRET not in answer.text
    data = answer.json()["data"]
    assert [(entry["model_name"], entry["model_info"]["id"]) for entry in data] == [
        ("filed", "filed-1"),
        ("big", "big-1"),
        ("big", "big-2"),
        ("openai/*", "wild"),
        ("best", "big-1"),
        ("best", "big-2"),
    ]
    assert data[1]["litellm_params"] == {
        "model": "openai/gpt-4o",
        "api_base": "https://host/v1",
        "extra_headers": {"x-key": "********"},
        "configurable_clientside_auth_params": ["api_key"],
        "tpm": 1000,
    }
    info = data[1]["model_info"]
    assert (info["note"], info["db_model"], info["litellm_provider"]) == ("ours", False, "openai")
    assert (info["key"], info["input_cost_per_token"], info["max_input_tokens"]) == ("gpt-4o", 2.5e-06, 128000)
    assert data[2]["litellm_params"]["rpm"] == 7.5
    assert data[2]["model_info"]["max_input_tokens"] == 10**6


async def test_one_by_its_id(shopped: Shop) -> None:
    assert names((await shopped.get("/model/info", litellm_model_id="big-2"))["data"]) == ["big-2"]
    assert "not found" in (await shopped.get("/model/info", 400, litellm_model_id="x"))["error"]["message"]


async def test_what_may_not_be_seen_is_not_there(shopped: Shop) -> None:
    shopped.may = lambda group: group == "filed"
    assert names((await shopped.get("/model/info"))["data"]) == ["filed-1"]
    assert (await shopped.get("/v2/model/info"))["total_count"] == 1
    assert [one["model_group"] for one in (await shopped.get("/model_group/info"))["data"]] == ["filed"]
    await shopped.get("/model/info", 400, litellm_model_id="big-1")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"model": "big"}, ["big-1", "big-2"]),
        ({"modelId": "nobody"}, []),
        ({"modelId": "wild"}, ["wild"]),
        ({"search": "BI"}, ["big-1", "big-2"]),
        ({"wildcard_only": "true"}, ["wild"]),
        ({"access_group": "gold", "model": "big"}, ["big-1"]),
        ({"sortBy": "costs", "sortOrder": "desc", "model": "big"}, ["big-1", "big-2"]),
        ({"sortBy": "model_name", "sortOrder": "desc", "size": "2"}, ["wild", "filed-1"]),
        ({"sortBy": "model_name", "size": "4", "page": "2"}, ["filed-1", "wild"]),
        ({"include_team_models": "true", "search": "filed"}, ["filed-1"]),
    ],
)
async def test_by_pages_searched_and_sorted(shopped: Shop, query: dict[str, str], found: list[str]) -> None:
    answer = await shopped.get("/v2/model/info", **query)
    assert names(answer["data"]) == found
    assert set(answer) == {"data", "total_count", "current_page", "total_pages", "size"}


async def test_pages_are_counted(shopped: Shop) -> None:
    answer = await shopped.get("/v2/model/info", size=4, page=2)
    assert (answer["total_count"], answer["total_pages"], len(answer["data"])) == (6, 2, 2)
    await shopped.get("/v2/model/info", 400, page=0)
    await shopped.get("/v2/model/info", 400, sortOrder="up")


async def test_a_group_has_what_its_deployments_have_together(shopped: Shop) -> None:
    (big,) = (await shopped.get("/model_group/info", model_group="big"))["data"]
    assert (big["providers"], big["max_input_tokens"]) == (["openai", "anthropic"], 10**6)
    assert big["input_cost_per_token"] == 1e-05
    assert (big["tpm"], big["rpm"], big["supports_vision"], big["supports_reasoning"]) == (1000, 7.5, True, False)
    assert big["configurable_clientside_auth_params"] == ["api_key"]
    groups = [one["model_group"] for one in (await shopped.get("/model_group/info"))["data"]]
    assert sorted(groups) == ["best", "big", "filed", "openai/*"]
    assert (await shopped.get("/model_group/info", model_group="nobody"))["data"] == []


async def test_models_of_file_and_ledger_are_one_group(shopped: Shop) -> None:
    params = {"model": "groq/llama", "rpm": 10}
    await shopped.post("/model/new", model_name="big", litellm_params=params, model_info={"id": "db-1"})
    (big,) = (await shopped.get("/model_group/info", model_group="big"))["data"]
    assert (big["providers"], big["rpm"]) == (["openai", "anthropic", "groq"], 17.5)
    (entry,) = (await shopped.get("/v2/model/info", modelId="db-1", model="big"))["data"]
    assert (entry["model_info"]["db_model"], entry["model_info"]["created_by"]) == (True, "somebody")


async def test_a_reload_says_what_has_changed(shopped: Shop) -> None:
    changed = {**FILED, "litellm_params": {"model": "openai/x", "rpm": 61}}
    added = {"model_name": "new", "litellm_params": {"model": "openai/z"}, "model_info": {"id": "new-1"}}
    sections = {"model_list": [changed, MORE[0], added], "penstock": {"port": 4999, "queue_bytes": 5}}
    shopped.path.write_text(yaml.safe_dump(sections))
    answer = await shopped.post("/config/reload")
    assert answer["models"] == {
        "added": [{"model_name": "new", "id": "new-1"}],
        "removed": [{"model_name": "big", "id": "big-2"}, {"model_name": "openai/*", "id": "wild"}],
        "changed": [{"model_name": "filed", "id": "filed-1"}],
    }
    assert answer["ignored_until_restart"] == ["port", "queue_bytes"]
    assert shopped.current.config.settings.port == 4000


@pytest.mark.parametrize("text", ["model_list: {", "model_list: [{model_name: x}]", "penstock: {port: many}"])
async def test_a_file_with_errors_changes_nothing(shopped: Shop, text: str) -> None:
    before = shopped.current.config
    shopped.path.write_text(text)
    error = (await shopped.post("/config/reload", 400))["error"]
    assert "config.yaml:1" in error["message"]
    assert shopped.current.config is before
    await shopped.post("/model/new", model_name="g", litellm_params={"model": "openai/y"})  # by the file as it was
    assert shopped.ids()[:4] == ["filed-1", "big-1", "big-2", "wild"]
