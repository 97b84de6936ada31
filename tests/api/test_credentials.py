"""`/credentials`: what is stored, shown and refused, and that models work by what is there now."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ledger.pool import Pool
from tests.api.stocked import Shop, shop
from tests.support.office import read

SECRET, OTHER = "sk-provider-0123456789abcdef", "sk-another-0123456789abcdef"
VALUES = {"api_key": SECRET, "api_base": f"https://u:{SECRET}@host.example/v1", "organization": "org"}
NEW = {"credential_name": "ours/eu", "credential_values": VALUES, "credential_info": {"custom_llm_provider": "OpenAI"}}
MODEL = {
    "model_name": "g",
    "litellm_params": {"model": "openai/y", "litellm_credential_name": "ours/eu"},
    "model_info": {"id": "m1"},
}


@pytest.fixture
async def shopped(pool: Pool, tmp_path: Path) -> AsyncIterator[Shop]:
    filed = {"credential_name": "filed", "credential_values": {"api_key": SECRET}}
    async with shop(pool, tmp_path, credential_list=[filed]) as found:
        yield found


def key(shopped: Shop, id: str = "m1") -> str | None:
    """The provider's key of a deployment."""
    (found,) = [one for one in shopped.current.config.deployments if one.id == id]
    return None if found.api_key is None else found.api_key.get_secret_value()


async def delete(shopped: Shop, name: str, status: int = 200) -> Any:
    return read(await shopped.http.delete(f"/credentials/{name}"), status)


async def test_it_is_stored_sealed_and_shown_masked(shopped: Shop) -> None:
    assert (await shopped.post("/credentials", **NEW))["success"] is True
    mine, filed = [await shopped.get(f"/credentials/by_name/{name}") for name in ("ours/eu", "filed")]
    assert mine == {
        "credential_name": "ours/eu",
        "display_name": None,
        "credential_values": {"api_key": "********", "api_base": "https://host.example/v1", "organization": "org"},
        "credential_info": {"custom_llm_provider": "OpenAI"},
        "source": "db",
    }
    assert (filed["credential_values"], filed["source"]) == ({"api_key": "********"}, "config")
    assert (await shopped.get("/credentials"))["credentials"] == [filed, mine]
    kept = repr([dict(row) for row in await shopped.pool.fetch("SELECT * FROM credentials")])
    assert SECRET not in kept + await shopped.said()
    assert await shopped.actions() == [("somebody", "created", "credential", "ours/eu")]


async def test_a_model_has_it_and_follows_its_changes_at_once(shopped: Shop) -> None:
    await shopped.post("/credentials", **NEW)
    row = await shopped.post("/model/new", **MODEL)
    assert row["litellm_params"] == MODEL["litellm_params"]
    assert key(shopped) == SECRET
    masked = {"api_base": "https://host.example/v1", "api_key": "********"}
    await shopped.patch(
        "/credentials/ours/eu", credential_values=masked | {"organization": "other"}, credential_info={}
    )
    (one,) = [one for one in shopped.current.config.deployments if one.id == "m1"]
    assert (key(shopped), one.organization, one.api_base) == (SECRET, "other", VALUES["api_base"])
    await shopped.patch("/credentials/ours/eu", credential_values={"api_key": OTHER}, display_name="Ours")
    assert key(shopped) == OTHER
    await shopped.patch("/credentials/ours/eu", credential_values_to_delete=["organization"])
    found = await shopped.get("/credentials/by_name/ours/eu")
    assert (sorted(found["credential_values"]), found["display_name"]) == (["api_base", "api_key"], "Ours")
    assert [action for _, action, entity, _ in await shopped.actions() if entity == "credential"] == [
        "created",
        *["updated"] * 3,
    ]


async def test_without_its_credential_there_is_no_model(shopped: Shop) -> None:
    said = await shopped.post("/model/new", 400, **MODEL)
    assert "there is no credential" in said["error"]["message"]
    await shopped.post("/credentials", **NEW)
    await shopped.post("/model/new", **MODEL)
    assert "m1" in (await delete(shopped, "ours/eu", 400))["error"]["message"]
    await shopped.post("/model/delete", id="m1")
    await delete(shopped, "ours/eu")
    assert (await shopped.get("/credentials/by_name/ours/eu", 404))["error"]["code"] == "not_found"


async def test_one_that_vanished_otherwise_takes_its_models_along(shopped: Shop) -> None:
    await shopped.post("/credentials", **NEW)
    await shopped.post("/model/new", **MODEL)
    await shopped.pool.execute("UPDATE credentials SET sealed = 'x', updated_at = now() + interval '1 second'")
    await shopped.current.reread()
    assert shopped.ids() == ["filed-1"]
    assert any("another salt key" in warning for warning in shopped.current.config.warnings)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**NEW, "credential_name": "filed"}, "credential_name"),
        ({**NEW, "credential_name": ""}, "credential_name"),
        ({**NEW, "credential_values": {}}, "credential_values"),
        ({**NEW, "credential_values": "sk-x"}, "credential_values"),
        ({"credential_name": "copy", "model_id": "filed-1"}, "model_id"),
        ({**NEW, "credential_values": {"api_key": "\x00"}}, None),
        ({**NEW, "credential_values": {"api_key": "\ud800"}}, None),
        ({**NEW, "credential_values": {"region_name": "\x00"}}, None),
    ],
)
async def test_what_is_refused(shopped: Shop, body: Any, param: str | None) -> None:
    headers = {"content-type": "application/json"}
    answer = await shopped.http.post("/credentials", content=json.dumps(body), headers=headers)
    if body["credential_name"] != NEW["credential_name"] or body["credential_values"] in ({}, "sk-x"):
        assert read(answer, 400)["error"]["param"] == param
    else:
        assert answer.status_code in (200, 400), answer.text


async def test_changes_that_are_refused(shopped: Shop) -> None:
    await shopped.post("/credentials", **NEW)
    await shopped.post("/credentials", 400, **NEW)
    await shopped.post("/model/new", **MODEL)
    said = await shopped.patch("/credentials/ours/eu", 400, credential_values={"api_base": "nonsense"})
    assert "URL" in said["error"]["message"]
    assert SECRET not in str(said)
    assert key(shopped) == SECRET
    await shopped.patch("/credentials/ours/eu", 400, credential_name="other")
    await shopped.patch(
        "/credentials/ours/eu", 400, credential_values={"api_key": "k"}, credential_values_to_delete=["api_key"]
    )
    await shopped.patch("/credentials/filed", 400, credential_values={"api_key": "k"})
    await delete(shopped, "filed", 400)
    await shopped.patch("/credentials/nobodys", 404, credential_values={"api_key": "k"})
    await delete(shopped, "nobodys", 404)


async def test_without_a_salt_key_only_what_is_no_secret_is_stored(pool: Pool, tmp_path: Path) -> None:
    async with shop(pool, tmp_path, salt=None) as found:
        said = await found.post("/credentials", 400, **NEW)
        assert said["error"]["param"] == "credential_values"
        await found.post("/credentials", credential_name="open", credential_values={"api_key": "os.environ/OUTSIDE"})
        await found.post(
            "/model/new", model_name="g", litellm_params={"model": "openai/y", "litellm_credential_name": "open"}
        )
