"""`/key/*` as an admin uses it: what is set is found again, and the secret is nowhere but in one answer."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from broker.seal import Seal
from ledger import keys as stored_keys
from ledger import tenants
from ledger.pool import Pool
from schemas.access import Account
from tests.support.audit import audited
from tests.support.keys import KeyBureau, add, add_team, key_bureau, someone
from tests.support.office import ADMIN

CALLBACK = {"callback_name": "langfuse", "callback_vars": {"langfuse_secret_key": "hidden"}}


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[KeyBureau]:
    async with key_bureau(pool) as found:
        yield found


async def everything_stored(pool: Pool) -> str:
    """All rows of all tables."""
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = [await pool.fetch(f"SELECT t::text FROM {row['tablename']} AS t") for row in tables]
    return "\n".join(row["t"] for rows in found for row in rows)


async def test_a_key_from_first_to_last(office: KeyBureau) -> None:
    made = await office.post(
        "/key/generate",
        key_alias="first",
        models=["a", "b"],
        aliases={"x": "a"},
        duration="30d",
        max_budget=12.5,
        budget_duration="1d",
        rpm_limit=5,
        metadata={"color": "red"},
        tags=["t"],
        model_rpm_limit={"a": 3},
        user_id="u",
        budget_limits=[{"budget_duration": "1h", "max_budget": 2}],
        model_max_budget={"a": 1.5},
        config={"x": 1},
    )
    secret, id = made["key"], made["token"]
    assert secret.startswith("sk-")
    assert len(secret) > 24
    assert (made["token_id"], made["key_name"]) == (id, f"sk-...{secret[-4:]}")
    assert id == office.hash(secret)
    assert made["expires"] == "2026-04-03T12:00:00Z"
    assert made["budget_reset_at"] == "2026-03-05T00:00:00Z"
    assert made["metadata"] == {"color": "red", "tags": ["t"], "model_rpm_limit": {"a": 3}}
    assert made["budget_limits"] == [{"budget_duration": "1h", "max_budget": 2, "reset_at": "2026-03-04T13:00:00Z"}]
    assert made["model_max_budget"] == {"a": {"budget_limit": 1.5}}
    assert (made["created_by"], made["spend"], made["total_spend"]) == ("default_user_id", 0, 0)
    changed = await office.post("/key/update", key=secret, rpm_limit=None, models=["c"], metadata={"color": "blue"})
    assert (changed["rpm_limit"], changed["models"], changed["max_budget"]) == (None, ["c"], 12.5)
    assert changed["metadata"] == {"color": "blue"}
    for named in (secret, id, sha(secret)):
        told = await office.get("/key/info", key=named)
        assert told["key"] == named
        assert told["info"]["token"] == id
    assert told["info"]["status"] == "active"
    assert told["info"]["config"] == {"x": 1}
    assert told["info"]["budget_limits_usage"] == {"1h": {"current_spend": 0}}
    assert told["info"]["model_max_budget_usage"] == {
        "a": {"current_spend": 0, "budget_limit": 1.5, "time_period": None}
    }
    assert (await office.post("/key/block", key=secret))["blocked"] is True
    assert (await office.get("/key/info", key=id))["info"]["status"] == "revoked"
    assert (await office.post("/key/unblock", key=id))["blocked"] is False
    assert secret not in await everything_stored(office.pool)
    assert sha(secret) not in await everything_stored(office.pool)
    assert await office.post("/key/delete", keys=[secret, "sk-not-a-key-at-all"]) == {"deleted_keys": [secret]}
    assert await office.pool.fetch("SELECT * FROM key_hashes") == []
    assert office.told == [frozenset({f"key:{id}"})] * 5
    log = await audited(office.pool, entity="key")
    assert [entry["action"] for entry in log] == ["deleted", "unblocked", "blocked", "updated", "created"]
    assert log[3]["before"]["rpm_limit"] == 5
    assert secret not in await everything_stored(office.pool)


def sha(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


async def test_what_is_not_there_is_a_404_that_does_not_repeat_the_key(office: KeyBureau) -> None:
    secret = "sk-nobody-has-this-key"
    for path, body in (
        ("/key/update", {"key": secret}),
        ("/key/update", {"key_alias": "none"}),
        ("/key/delete", {"keys": [secret]}),
        ("/key/delete", {"key_aliases": ["none"]}),
        ("/key/block", {"key": secret}),
        ("/key/unblock", {"key": secret}),
        ("/key/regenerate", {"key": secret}),
        (f"/key/{secret}/regenerate", {}),
        (f"/key/{secret}/reset_spend", {"reset_to": 0}),
    ):
        said = await office.post(path, 404, **body)
        assert secret not in str(said)
    assert secret not in str(await office.get("/key/info", 404, key=secret))
    assert (await office.post("/v2/key/info", keys=[secret]))["info"] == []
    assert office.told == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", "my-own-key-of-some-length"),
        ("key", "sk-short"),
        ("key", "sk-with a blank in it"),
        ("max_budget", -1),
        ("max_budget", "NaN"),
        ("soft_budget", True),
        ("duration", "soon"),
        ("duration", "0d"),
        ("budget_duration", "often"),
        ("budget_limits", [{"budget_duration": "1h"}]),
        ("budget_limits", [{"budget_duration": "1h", "max_budget": -2}]),
        ("models", "gpt"),
        ("models", [""]),
        ("key_alias", "a\0b"),
        ("rpm_limit_type", "some"),
        ("key_type", "god"),
        ("auto_rotate", True),
        ("rotation_interval", "x"),
        ("model_rpm_limit", {"a": -1}),
        ("budget_id", "none"),
        ("organization_id", "none"),
        ("metadata", {"a": "b\0"}),
        ("metadata", {"service_account_id": "s"}),
        ("spend", -1),
        ("temp_budget_increase", 5),
    ],
)
async def test_a_value_that_means_nothing_is_refused(office: KeyBureau, field: str, value: object) -> None:
    said = await office.post("/key/generate", 400, **{field: value})
    if field == "key":
        assert str(value) not in str(said)
    assert (await office.get("/key/list"))["keys"] == []
    assert office.told == []


async def test_a_key_of_ones_own_choice_is_taken_once(office: KeyBureau) -> None:
    secret = "sk-chosen-by-hand"
    assert (await office.post("/key/generate", key=secret))["key"] == secret
    await office.post("/key/generate", 400, key=secret)
    other = await office.post("/key/generate", key_alias="other")
    said = await office.post("/key/generate", 400, key_alias="other")
    assert "already exists" in said["error"]["message"]
    await office.post("/key/regenerate", 400, key=other["key"], new_key=secret)
    await office.post("/key/update", 400, key=secret, key_alias="other")
    assert (await office.post("/key/update", key=other["key"], key_alias="other"))["key_alias"] == "other"
    assert (await office.post("/key/update", key_alias="other", tpm_limit=3))["tpm_limit"] == 3


async def test_what_a_client_may_not_set_is_not_set(office: KeyBureau) -> None:
    made = await office.post(
        "/key/generate", token="t", key_name="n", created_by="b", rotation_count=9, total_spend=7, service=True, extra=1
    )
    row = await office.row(made["token"])
    assert (row["key_name"], row["created_by"], row["rotation_count"]) == (made["key_name"], "default_user_id", 0)
    assert (row["service"], row["extra"], made["total_spend"]) == (False, {}, 0)


async def test_fields_that_only_litellm_knows_come_back(office: KeyBureau) -> None:
    given: dict[str, Any] = {"permissions": {"p": 1}, "router_settings": {"num_retries": 2}, "agent_id": "a"}
    given |= {"object_permission": {"mcp_servers": ["m"]}, "access_group_ids": ["g"], "whatever": [1]}
    made = await office.post("/key/generate", **given)
    assert {name: made[name] for name in given} == given
    changed = await office.post("/key/update", key=made["key"], whatever=None, agent_id=None, access_group_ids=["h"])
    assert (changed["agent_id"], changed["access_group_ids"]) == (None, ["h"])
    assert "whatever" not in changed
    assert changed["router_settings"] == {"num_retries": 2}


async def test_the_type_of_a_key_is_a_list_of_routes(office: KeyBureau) -> None:
    types = {"llm_api": ["llm_api_routes"], "management": ["management_routes"], "read_only": ["info_routes"]}
    for name, routes in (types | {"default": []}).items():
        made = await office.post("/key/generate", key_type=name)
        assert (made["key_type"], made["allowed_routes"]) == (name, routes)
    made = await office.post("/key/generate", key_type="llm_api", allowed_routes=["/v1/models"])
    assert made["allowed_routes"] == ["/v1/models"]


async def test_how_long_a_key_lives_can_be_changed(office: KeyBureau) -> None:
    made = await office.post("/key/generate", duration="1mo")
    assert made["expires"] == "2026-04-04T12:00:00Z"
    assert (await office.post("/key/update", key=made["key"], duration=""))["expires"] == "2026-04-04T12:00:00Z"
    assert (await office.post("/key/update", key=made["key"], duration="1h"))["expires"] == "2026-03-04T13:00:00Z"
    office.now += timedelta(hours=2)
    assert (await office.get("/key/info", key=made["key"]))["info"]["status"] == "expired"
    assert (await office.post("/key/update", key=made["key"], duration="-1"))["expires"] is None
    assert (await office.post("/key/generate", duration="-1"))["expires"] is None


async def test_a_service_key_belongs_to_a_team_alone(office: KeyBureau) -> None:
    await office.post("/key/service-account/generate", 400)
    await office.post("/key/service-account/generate", 400, team_id="t")
    await add_team(office.pool, "t")
    made = await office.post("/key/service-account/generate", team_id="t", key_alias="robot", user_id="u")
    assert (made["user_id"], made["metadata"]) == (None, {"service_account_id": "robot"})
    assert (await office.row(made["token"]))["service"] is True
    said = await office.post("/key/update", 400, key=made["key"], metadata={"service_account_id": "x"})
    assert said["error"]["param"] == "service_account_id"
    changed = await office.post("/key/update", key=made["key"], metadata={"a": 1})
    assert changed["metadata"] == {"a": 1, "service_account_id": "robot"}


async def test_a_key_has_its_teams_organization_and_the_terms_of_its_budget(office: KeyBureau) -> None:
    await add(office.pool, tenants.ORGANIZATIONS, organization_id="o")
    await add(office.pool, tenants.BUDGETS, budget_id="b", max_budget=Decimal(3), budget_duration="7d")
    await add_team(office.pool, "t", organization_id="o")
    made = await office.post("/key/generate", team_id="t", budget_id="b")
    assert (made["organization_id"], made["org_id"]) == ("o", "o")
    assert made["litellm_budget_table"]["max_budget"] == 3
    assert made["budget_reset_at"] == "2026-03-09T00:00:00Z"
    refused = await office.post("/key/generate", 400, team_id="unknown", models=["all-team-models"])
    assert refused["error"]["param"] == "team_id"


async def test_many_are_changed_each_on_its_own(office: KeyBureau) -> None:
    made = await office.post("/key/generate")
    changes = [
        {"key": made["key"], "max_budget": 7, "tags": ["x"]},
        {"key": "sk-nobody-has-this-key"},
        {"key": made["key"], "max_budget": -1},
        {"max_budget": 1},
    ]
    said = await office.post("/key/bulk_update", keys=changes)
    assert said["total_requested"] == 4
    assert [one["key_info"]["max_budget"] for one in said["successful_updates"]] == [7]
    assert len(said["failed_updates"]) == 3
    assert (await office.row(made["token"]))["metadata"] == {"tags": ["x"]}
    await office.post("/key/bulk_update", 400, keys=[])


class TestTeamInBulk:
    """One change for many keys of a team."""

    async def test_of_those_named(self, office: KeyBureau) -> None:
        await add_team(office.pool, "t", admins=("a",))
        made, other = await office.post("/key/generate", team_id="t"), await office.post("/key/generate")
        office.access = someone("a", admin_of_teams=frozenset({"t"}))
        names = [made["key"], other["key"], "none", made["key"]]
        body = {"team_id": "t", "key_ids": names, "update_fields": {"rpm_limit": 3}}
        said = await office.post("/team/key/bulk_update", **body)
        assert [one["key"] for one in said["successful_updates"]] == [made["key"]]
        assert [one["key"] for one in said["failed_updates"]] == [other["key"], "none"]
        assert (await office.row(made["token"]))["rpm_limit"] == 3
        assert (await office.row(other["token"]))["rpm_limit"] is None
        office.access = someone("m", teams=frozenset({"t"}))
        await office.post("/team/key/bulk_update", 403, **body)

    async def test_of_all_that_are_in_use(self, office: KeyBureau) -> None:
        await add_team(office.pool, "t")
        kinds: tuple[dict[str, Any], ...] = ({}, {"blocked": True}, {"duration": "1h"}, {"duration": "5h"})
        made = [await office.post("/key/generate", team_id="t", **kind) for kind in kinds]
        office.now += timedelta(hours=2)
        body: dict[str, Any] = {"team_id": "t", "all_keys_in_team": True, "update_fields": {"max_budget": 2}}
        said = await office.post("/team/key/bulk_update", **body)
        assert {one["key"] for one in said["successful_updates"]} == {made[0]["token"], made[3]["token"]}
        await office.post("/team/key/bulk_update", 404, **body | {"team_id": "none"})
        for wrong in ({"user_id": "x"}, {"team_id": "y"}, {"spend": 0}, {"allowed_routes": []}, {}):
            await office.post("/team/key/bulk_update", 400, **body | {"update_fields": wrong})
        await office.post("/team/key/bulk_update", 400, **body | {"key_ids": ["x"]})


async def test_of_two_with_one_alias_or_secret_at_once_one_is_made(office: KeyBureau) -> None:
    for fields in ({"key_alias": "same"}, {"key": "sk-chosen-by-hand"}):
        posts = (office.http.post("/key/generate", json=fields) for _ in range(4))
        statuses = [response.status_code for response in await asyncio.gather(*posts)]
        assert sorted(statuses) == [200, 400, 400, 400]


async def test_credentials_of_callbacks_are_kept_sealed_and_shown_to_nobody(pool: Pool) -> None:
    logging = [{"callback_name": "langfuse", "callback_vars": {"langfuse_secret_key": "hidden", "langfuse_host": "h"}}]
    async with key_bureau(pool, seal=Seal("salt")) as office:
        made = await office.post("/key/generate", metadata={"logging": logging})
        stored = (await office.row(made["token"]))["metadata"]["logging"]
        changed = await office.post("/key/update", key=made["key"], metadata={**made["metadata"], "a": 1})
        assert (await office.row(made["token"]))["metadata"]["logging"] == stored, "what was shown may be sent back"
        said = [made, changed, await office.get("/key/info", key=made["key"])]
        said.append(await office.post("/key/regenerate", key=made["key"]))
        said.append(await office.listed(return_full_object=True))
        log = await audited(office.pool, entity="key")
        assert log[0]["after"]["metadata"]["logging"][0]["callback_name"] == "langfuse"
        assert "hidden" not in str([said, log, stored])
        assert "sealed:" not in str([said, log])
        assert stored[0]["callback_vars"]["langfuse_host"] == "h"


async def test_without_a_salt_key_credentials_of_callbacks_are_refused(office: KeyBureau) -> None:
    for logging in ([CALLBACK], CALLBACK):
        refused = await office.post("/key/generate", 400, metadata={"logging": logging})
        assert "PENSTOCK_SALT_KEY" in refused["error"]["message"]
    await office.post("/key/generate", 400, logging=[CALLBACK])
    await office.post("/key/generate", metadata={"logging": [{**CALLBACK, "callback_vars": {"langfuse_host": "h"}}]})


async def test_health_looks_at_the_callers_own_key(office: KeyBureau) -> None:
    assert await office.post("/key/health") == {"key": "healthy", "logging_callbacks": None}
    for named, state in (({"callback_name": "langfuse"}, "healthy"), ({}, "unhealthy")):
        made = await office.generate(metadata={"logging": [named]}, user_id="u")
        office.access = someone("u", key=made["token"])
        said = await office.post("/key/health")
        assert (said["key"], said["logging_callbacks"]["status"]) == (state, state)


class TestSpend:
    """What a key has spent can be set, downwards over the API of its own, anywhere by an update."""

    async def spent(self, office: KeyBureau, id: str, total: int, window: int, period: str = "1d") -> None:
        await office.pool.execute("INSERT INTO totals VALUES ('key', $1, '', $2)", id, Decimal(total))
        await office.pool.execute(
            """INSERT INTO balances (kind, id, scope, period, began, ends, spent, soft, alerted)
            VALUES ('key', $1, '', $3, now() - interval '1 hour', now() + interval '1 hour', $2, 2, true)""",
            id,
            Decimal(window),
            period,
        )

    @pytest.fixture
    async def key(self, office: KeyBureau) -> Any:
        office.now = await office.pool.fetchval("SELECT now()")
        made = await office.post("/key/generate", max_budget=8, budget_duration="1d")
        await self.spent(office, made["token"], 100, 5)
        return made

    async def test_it_is_set_to_less_than_it_is(self, office: KeyBureau, key: Any) -> None:
        shown = (await office.get("/key/info", key=key["key"]))["info"]
        assert (shown["spend"], shown["total_spend"]) == (5, 100)
        await office.post(f"/key/{key['key']}/reset_spend", 400, reset_to=6)
        await office.post(f"/key/{key['key']}/reset_spend", 400, reset_to=-1)
        await office.post(f"/key/{key['key']}/reset_spend", 400, reset_to=True)
        said = await office.post(f"/key/{key['token']}/reset_spend", reset_to=1.5)
        assert (said["key_hash"], said["spend"], said["previous_spend"]) == (key["token"], 1.5, 5)
        shown = (await office.get("/key/info", key=key["key"]))["info"]
        assert (shown["spend"], shown["total_spend"]) == (1.5, 1.5)
        assert await office.pool.fetchval("SELECT alerted FROM balances") is False
        assert office.told[-1] == frozenset({f"key:{key['token']}"})

    async def test_an_update_may_say_what_was_spent(self, office: KeyBureau, key: Any) -> None:
        assert (await office.post("/key/update", key=key["key"], spend=7))["spend"] == 7
        assert await office.pool.fetchval("SELECT alerted FROM balances") is True
        assert (await office.post("/key/generate", spend=3))["spend"] == 3

    async def test_other_windows_show_no_more(self, office: KeyBureau, key: Any) -> None:
        insert = """INSERT INTO balances (kind, id, scope, period, began, ends, spent)
            VALUES ('key', $1, '', '1h', $2::timestamptz - interval '1 min', $2 + interval '1 min', 1),
                ('key', $1, '', '7d', $2, $2 + interval '1 min', 9),
                ('key', $1, '', '7d', $2 - interval '1 min', $2, 9)"""
        await office.pool.execute(insert, key["token"], office.now)
        async with office.pool.acquire() as on:
            await stored_keys.reset_spend(on, Account("key", key["token"]), Decimal(2), office.now, "1d")
        found = await office.pool.fetch("SELECT period, spent FROM balances ORDER BY period, ends")
        assert [(row["period"], row["spent"]) for row in found] == [("1d", 2), ("1h", 1), ("7d", 9), ("7d", 2)]

    async def test_balances_go_with_the_key_and_totals_stay(self, office: KeyBureau, key: Any) -> None:
        await office.post("/key/delete", keys=[key["key"]])
        assert await office.pool.fetchval("SELECT count(*) FROM balances") == 0
        assert await office.pool.fetchval("SELECT spend FROM totals") == 100


async def test_what_is_deleted_is_still_known_of(office: KeyBureau) -> None:
    made = await office.post("/key/generate", user_id="u", key_alias="gone", max_budget=2, agent_id="x")
    await office.post("/key/delete", key_aliases=["gone"])
    for named in (made["key"], made["token"]):
        told = (await office.get("/key/info", key=named))["info"]
        assert (told["status"], told["max_budget"], told["agent_id"]) == ("deleted", 2, "x")
    assert (await office.listed(status="deleted"))["keys"] == [made["token"]]
    page = await office.listed(status="deleted", return_full_object=True, page=2)
    assert (page["keys"], page["total_count"]) == ([], 1)
    office.access = someone("u")
    assert (await office.listed(status="deleted"))["total_count"] == 1
    assert (await office.get("/key/info", key=made["key"]))["info"]["deleted_by"] == "default_user_id"
    office.access = someone("other")
    assert (await office.listed(status="deleted"))["total_count"] == 0
    await office.get("/key/info", 403, key=made["key"])
    office.access = ADMIN
