"""`/model/new`, `/model/update`, `/model/delete` and their like: what they store, refuse, show and write down."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ledger.pool import Pool, open_pool
from tests.api.stocked import Shop, shop

SECRET = "sk-provider-0123456789abcdef"
NEW = {"model_name": "g", "litellm_params": {"model": "openai/y", "api_key": SECRET}, "model_info": {"id": "m1"}}


@pytest.fixture
async def shopped(pool: Pool, tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(pool, tmp_path) as found:
        yield found


def key(shopped: Shop, id: str = "m1") -> str | None:
    """The provider's key of a deployment."""
    (found,) = [one for one in shopped.current.config.deployments if one.id == id]
    return None if found.api_key is None else found.api_key.get_secret_value()


async def test_a_new_model_is_used_and_its_secrets_are_in_no_clear_text(shopped: Shop) -> None:
    params = {
        "model": "openai/y",
        "api_key": SECRET,
        "api_base": f"https://user:{SECRET}@host/v1?token={SECRET}",
        "extra_headers": {"x-key": SECRET},
        "aws_secret_access_key": SECRET,
        "extra_body": {"password": SECRET},
        "rpm": 5,
        "input_cost_per_token": 1e-9,
    }
    row = await shopped.post("/model/new", model_name="g", litellm_params=params, model_info={"base_model": "gpt-4o"})
    id = row["model_id"]
    assert row["litellm_params"] == {
        "model": "openai/y",
        "rpm": 5,
        "input_cost_per_token": 1e-9,
        "api_base": "https://host/v1",
        **dict.fromkeys(("api_key", "extra_headers", "aws_secret_access_key", "extra_body"), "********"),
    }
    assert row["model_info"] == {"base_model": "gpt-4o", "id": id, "db_model": True}
    assert (row["created_by"], row["updated_by"], row["blocked"]) == ("somebody", "somebody", False)
    assert shopped.ids() == ["filed-1", id]
    deployment = shopped.current.config.deployments[1]
    assert (key(shopped, id), deployment.limits.rpm, deployment.headers) == (SECRET, 5, {"x-key": SECRET})
    assert str(deployment.price.input) == "1E-9"
    listings = [(await shopped.http.get(path)).text for path in ("/model/info", "/v2/model/info", "/model_group/info")]
    assert SECRET not in await shopped.said() + "".join(listings)
    assert await shopped.actions() == [("somebody", "created", "model", id)]


@pytest.mark.parametrize(
    ("body", "said", "param"),
    [
        ({"litellm_params": {"model": "openai/y"}}, "Field required", "model_name"),
        ({"model_name": "g"}, "Field required", "litellm_params"),
        ({"model_name": "g", "litellm_params": {}}, "a model is missing", "litellm_params"),
        ({"model_name": "g", "litellm_params": {"model": "y"}}, "nothing says which provider", "litellm_params.model"),
        ({"model_name": "g", "litellm_params": {"model": "bedrock/y"}}, "not supported yet", "litellm_params.model"),
        (
            {"model_name": "g", "litellm_params": {"model": "openai/y", "tpm": -1}},
            "at least 0 is wanted",
            "litellm_params.tpm",
        ),
        (
            {"model_name": "g", "litellm_params": {"model": "openai/y", "api_base": "ftp://x"}},
            "a URL with http",
            "litellm_params.api_base",
        ),
        ({**NEW, "model_info": {"id": "filed-1"}}, "already", "model_info.id"),
        ({**NEW, "model_info": {"id": ""}}, "An id is", "model_info.id"),
        ({**NEW, "model_info": {"id": 5}}, "An id is", "model_info.id"),
        ({**NEW, "model_info": {"team_id": "t"}}, "one team alone", "model_info.team_id"),
        ({**NEW, "model_info": {"note": "\u0000"}}, "", None),
    ],
)
async def test_what_is_wrong_is_said_and_not_stored(
    shopped: Shop, body: dict[str, Any], said: str, param: str | None
) -> None:
    error = (await shopped.post("/model/new", status=400, **body))["error"]
    assert said in error["message"]
    assert SECRET not in error["message"]
    assert error["param"] == param
    assert await shopped.pool.fetchval("SELECT count(*) FROM models") == 0
    assert shopped.ids() == ["filed-1"]


async def test_an_id_is_given_once(shopped: Shop) -> None:
    await shopped.post("/model/new", **NEW)
    error = (await shopped.post("/model/new", status=400, **NEW))["error"]
    assert error["param"] == "model_info.id"
    many = [shopped.http.post("/model/new", json={**NEW, "model_info": {"id": "m2"}}) for _ in range(5)]
    assert sorted(answer.status_code for answer in await asyncio.gather(*many)) == [200, 400, 400, 400, 400]


async def test_without_a_salt_key_only_what_is_no_secret_can_be_stored(pool: Pool, tmp_path: Path) -> None:
    async with shop(pool, tmp_path, salt=None) as shopped:
        error = (await shopped.post("/model/new", status=400, **NEW))["error"]
        assert "PENSTOCK_SALT_KEY" in error["message"]
        assert shopped.ids() == ["filed-1"]
        params = {"model": "openai/y", "api_key": "os.environ/OUTSIDE", "api_base": "http://host/v1"}
        row = await shopped.post("/model/new", model_name="g", litellm_params=params)
        assert row["litellm_params"] == params
        assert key(shopped, row["model_id"]) == "/dev/null"


async def test_an_update_merges_and_knows_what_it_has_masked(shopped: Shop) -> None:
    await shopped.post("/model/new", **{**NEW, "litellm_params": {**NEW["litellm_params"], "rpm": 5, "timeout": 7}})
    masked = {"api_key": "********", "rpm": 6, "timeout": None}
    row = await shopped.post(
        "/model/update", model_name="h", litellm_params=masked, model_info={"id": "m1", "note": "n", "db_model": False}
    )
    assert row["litellm_params"] == {"model": "openai/y", "rpm": 6, "timeout": 7, "api_key": "********"}
    assert (row["model_name"], row["model_info"]) == ("h", {"note": "n", "id": "m1", "db_model": True})
    assert key(shopped) == SECRET
    row = await shopped.patch("/model/m1/update", litellm_params={"timeout": None, "api_key": None})
    assert row["litellm_params"] == {"model": "openai/y", "rpm": 6, "api_key": "********"}
    assert key(shopped) == SECRET
    await shopped.patch("/model/m1/update", litellm_params={"api_key": "sk-new-0123456789"})
    assert key(shopped) == "sk-new-0123456789"
    assert SECRET not in await shopped.said()
    assert [action for _, action, _, _ in await shopped.actions()] == ["created", "updated", "updated", "updated"]


async def test_a_wrong_update_changes_nothing(shopped: Shop) -> None:
    await shopped.post("/model/new", **NEW)
    error = (await shopped.patch("/model/m1/update", status=400, litellm_params={"rpm": "x"}))["error"]
    assert error["param"] == "litellm_params.rpm"
    assert await shopped.actions() == [("somebody", "created", "model", "m1")]
    assert (await shopped.get("/model/info", litellm_model_id="m1"))["data"][0]["litellm_params"] == {
        "model": "openai/y"
    }


async def test_updates_at_the_same_time_lose_nothing(shopped: Shop) -> None:
    await shopped.post("/model/new", **NEW)
    await asyncio.gather(
        *(
            shopped.patch("/model/m1/update", litellm_params={name: n + 1})
            for n, name in enumerate(("rpm", "tpm", "rpd"))
        )
    )
    limits = shopped.current.config.deployments[1].limits
    assert (limits.rpm, limits.tpm, limits.rpd) == (1, 2, 3)


async def test_a_model_of_the_file_is_changed_in_the_file_alone(shopped: Shop) -> None:
    for method, path, body in (
        ("POST", "/model/update", {"model_info": {"id": "filed-1"}, "litellm_params": {}}),
        ("PATCH", "/model/filed-1/update", {"litellm_params": {}}),
        ("POST", "/model/block", {"model_id": "filed-1"}),
        ("POST", "/model/delete", {"id": "filed-1"}),
    ):
        answer = await shopped.http.request(method, path, json=body)
        assert answer.status_code == 400, path
    assert shopped.ids() == ["filed-1"]
    assert await shopped.actions() == []


async def test_what_is_not_there_cannot_be_changed(shopped: Shop) -> None:
    await shopped.post("/model/update", status=400, model_info={"id": "x"}, litellm_params={})
    await shopped.post("/model/update", status=400, litellm_params={})
    await shopped.patch("/model/x/update", status=404)
    await shopped.post("/model/block", status=404, model_id="x")
    await shopped.post("/model/delete", status=400, id="x")


async def test_a_blocked_model_is_listed_and_not_used(shopped: Shop) -> None:
    await shopped.post("/model/new", **NEW)
    assert (await shopped.post("/model/block", model_id="m1"))["blocked"]
    assert shopped.ids() == ["filed-1"]
    (entry,) = (await shopped.get("/model/info", litellm_model_id="m1"))["data"]
    assert entry["model_info"]["blocked"]
    assert not (await shopped.post("/model/unblock", model_id="m1"))["blocked"]
    assert shopped.ids() == ["filed-1", "m1"]
    assert [action for _, action, _, _ in await shopped.actions()] == ["created", "blocked", "unblocked"]


async def test_a_removed_model_is_gone(shopped: Shop) -> None:
    await shopped.post("/model/new", **NEW)
    assert await shopped.post("/model/delete", id="m1") == {"message": "Model: m1 deleted successfully"}
    assert shopped.ids() == ["filed-1"]
    await shopped.post("/model/delete", status=400, id="m1")
    await shopped.post("/model/new", **NEW)


async def test_with_another_salt_key_nothing_of_a_secret_is_lost(pool: Pool, tmp_path: Path) -> None:
    async with shop(pool, tmp_path) as shopped:
        await shopped.post("/model/new", **NEW)
    async with shop(pool, tmp_path, salt="another") as shopped:
        assert shopped.ids() == ["filed-1"]
        assert any("PENSTOCK_SALT_KEY" in warning for warning in shopped.current.config.warnings)
        error = (await shopped.patch("/model/m1/update", status=400, litellm_params={"rpm": 1}))["error"]
        assert "PENSTOCK_SALT_KEY" in error["message"]
        await shopped.post("/model/block", model_id="m1")
        await shopped.post("/model/unblock", model_id="m1")
    async with shop(pool, tmp_path) as shopped:
        assert key(shopped) == SECRET
    async with shop(pool, tmp_path, salt="another") as shopped:
        await shopped.post("/model/delete", id="m1")


async def test_without_a_ledger_the_answer_says_so(pool: Pool, tmp_path: Path, unused_tcp_port: int) -> None:
    async with shop(pool, tmp_path) as shopped:
        nowhere = await open_pool(f"postgresql://127.0.0.1:{unused_tcp_port}/x")
        shopped.current._pool = nowhere
        await shopped.post("/config/reload", status=503)
        assert shopped.ids() == ["filed-1"]
        await nowhere.close()
