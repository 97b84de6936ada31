"""A team's permissions and callbacks: credentials are sealed in the ledger and shown to nobody."""

from typing import Any

from api.management.rules import TeamRules
from broker.seal import Seal
from ledger import tenants
from ledger.pool import Pool
from tests.management.tenancy import tenancy
from tests.support.audit import audited
from tests.support.office import Bureau

SECRET = "sk-lf-1234567890"
SEALED = TeamRules(adds_admin=False, seal=Seal("salt"))
CALLBACK: dict[str, Any] = {
    "callback_name": "langfuse",
    "callback_type": "success",
    "callback_vars": {"langfuse_host": "https://x.org", "langfuse_secret_key": SECRET},
}


async def test_permissions_of_members(pool: Pool) -> None:
    async with tenancy(pool) as office:
        await office.post("/team/new", team_id="t")
        found = await office.get("/team/permissions_list", team_id="t")
        assert found["team_member_permissions"] == ["/key/info", "/key/health"]
        assert "/key/generate" in found["all_available_permissions"]
        changed = await office.post("/team/permissions_update", team_id="t", team_member_permissions=["/key/generate"])
        assert changed["team_member_permissions"] == ["/key/generate"]
        await office.post("/team/permissions_update", 400, team_id="t", team_member_permissions=["/key/steal"])
        found = await office.get("/team/permissions_list", team_id="t")
        assert found["team_member_permissions"] == ["/key/generate"]
        await office.get("/team/permissions_list", 404, team_id="none")


async def test_permissions_of_many_teams(pool: Pool) -> None:
    async with tenancy(pool) as office:
        for team_id in ("s", "t"):
            await office.post("/team/new", team_id=team_id)
        many = "/team/permissions_bulk_update"
        found = await office.post(many, permissions=["/key/list", "/key/generate"], team_ids=["t"])
        assert found["teams_updated"] == 1
        found = await office.post(many, permissions=["/key/list"], apply_to_all_teams=True)
        assert found["teams_updated"] == 1, "one had it already"
        for team_id, expected in (("s", ["/key/list"]), ("t", ["/key/generate", "/key/list"])):
            shown = await office.get("/team/permissions_list", team_id=team_id)
            assert shown["team_member_permissions"] == expected
        await office.post(many, 404, permissions=["/key/list"], team_ids=["t", "none"])
        await office.post(many, 400, permissions=["/key/list"])
        await office.post(many, 400, permissions=["/key/list"], team_ids=["t"], apply_to_all_teams=True)
        await office.post(many, 400, permissions=["/key/steal"], team_ids=["t"])


async def kept(office: Bureau) -> str:
    """The team's metadata as the ledger has it."""
    row = await tenants.find(office.pool, tenants.TEAMS, "t")
    assert row is not None
    return str(row["metadata"])


async def test_callbacks_are_kept_and_their_credentials_sealed(pool: Pool) -> None:
    async with tenancy(pool, for_teams=SEALED) as office:
        answers = [await office.post("/team/new", team_id="t")]
        answers.append(await office.post("/team/t/callback", **CALLBACK))
        await office.post("/team/t/callback", 400, **CALLBACK)
        failure = {**CALLBACK, "callback_type": "failure", "callback_vars": {"langfuse_host": "h"}}
        answers.append(await office.post("/team/t/callback", **failure))
        found = await office.get("/team/t/callback")
        assert found["data"] == {
            "team_id": "t",
            "success_callbacks": ["langfuse"],
            "failure_callbacks": ["langfuse"],
            "callback_vars": {"langfuse_host": "h", "langfuse_secret_key": "***REDACTED***"},
        }
        shown = (await office.get("/team/info", team_id="t"))["team_info"]["metadata"]
        before = await kept(office)
        answers.append(await office.post("/team/update", team_id="t", metadata={**shown, "a": 1}))
        assert before[1:-1] in await kept(office), "what was shown and is sent back leaves the credential"
        answers.append(await office.post("/team/update", team_id="t", rpm_limit=1))
        assert before[1:-1] in await kept(office)
        assert "sealed:" in before
        everything = str([answers, shown, await audited(pool), await kept(office)])
        assert SECRET not in everything
        assert "sealed:" not in str([answers, shown, await audited(pool)])
        response = await office.http.delete("/team/t/callback/langsmith")
        assert response.status_code == 404
        other = {**failure, "callback_name": "langsmith"}
        await office.post("/team/t/callback", **other)
        response = await office.http.delete("/team/t/callback/langsmith")
        left = {"team_id": "t", "success_callbacks": ["langfuse"], "failure_callbacks": ["langfuse"]}
        assert response.json()["data"] == left
        await office.post("/team/t/disable_logging")
        assert "sealed:" not in await kept(office)
        assert (await office.get("/team/t/callback"))["data"]["success_callbacks"] == []


UNSEALED: list[tuple[str, dict[str, Any]]] = [
    ("/team/t/callback", CALLBACK),
    ("/team/update", {"team_id": "t", "metadata": {"logging": [CALLBACK]}}),
    ("/team/update", {"team_id": "t", "logging": [CALLBACK]}),
    ("/team/update", {"team_id": "t", "metadata": {"callback_settings": CALLBACK}}),
    ("/team/new", {"team_id": "n", "metadata": {"logging": [CALLBACK]}}),
]


async def test_without_a_salt_key_no_credential_is_kept(pool: Pool) -> None:
    async with tenancy(pool) as office:
        await office.post("/team/new", team_id="t")
        for path, body in UNSEALED:
            refused = await office.post(path, 400, **body)
            assert "PENSTOCK_SALT_KEY" in refused["error"]["message"], (path, body)
            assert SECRET not in str(refused)
        assert SECRET not in await kept(office)


async def test_metadata_of_any_shape_can_be_kept_and_shown(pool: Pool) -> None:
    async with tenancy(pool, for_teams=SEALED) as office:
        for value in (None, 1, "x", [1, None, "x", {"callback_vars": 3}], {"a": 1}):
            for metadata in ({"logging": value}, {"callback_settings": value}):
                await office.post("/team/new", team_id="t", metadata=metadata)
                await office.get("/team/t/callback")
                await office.post("/team/update", team_id="t", metadata={**metadata, "a": 1})
                await office.post("/team/t/callback", **CALLBACK)
                await office.get("/team/info", team_id="t")
                await office.post("/team/t/disable_logging")
                await office.post("/team/delete", team_ids=["t"])
