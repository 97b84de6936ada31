"""The rules of who may call and who pays: a new configuration replaces all of them in one step, or none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from fastapi import Request

from api import app
from api.authenticate import DoorRules, Gatekeeper
from api.hold import Bill
from api.keyring import Keyring
from api.management.office import PRESENT, admit
from api.management.routers import ROUTERS
from broker.events import Events
from broker.memory import MemoryBus
from broker.outbox import Outbox
from broker.topology import topology_of
from ledger.leases import NANO
from ledger.pepper import Pepper
from ledger.pool import Pool
from ledger.prices import PriceBook
from ledger.terms import Rules
from penstock.configuration.problems import ConfigurationError
from penstock.current import Current
from penstock.house import House
from penstock.needs import Needs, Source
from penstock.rules import rights_of
from penstock.tenancy import Tenancy, open_tenancy
from schemas.access import Account, Budget, Terms
from schemas.config import AccessSettings, Config, Settings, TenantSettings
from schemas.failures import Kind, Refused

MASTER = "sk-0123456789"
KEYS = {"PENSTOCK_MASTER_KEY": MASTER, "PENSTOCK_SALT_KEY": "salt"}
ISSUER = "http://127.0.0.1:1"  # nobody is there
READS = set[str]()


class Watched:
    """A value of the configuration that tells what is read of it."""

    def __getattribute__(self, name: str) -> Any:
        READS.add(name)
        return super().__getattribute__(name)


class Access(Watched, AccessSettings):
    """Watched."""


class Tenants(Watched, TenantSettings):
    """Watched."""


class Process:
    """An API process, without inference, that follows its file."""

    def __init__(self, path: Path, current: Current, tenancy: Tenancy, http: httpx.AsyncClient) -> None:
        self.path, self.current, self.tenancy, self.http = path, current, tenancy, http

    async def reload(self, **sections: Any) -> tuple[str, ...]:
        """With this file; what is ignored until a restart."""
        self.path.write_text(yaml.safe_dump(sections))
        return (await self.current.reload()).ignored

    async def status(self, path: str, **body: Any) -> int:
        """Of an answer to the master key."""
        return (await self.http.request("POST" if body else "GET", path, json=body or None)).status_code


@pytest.fixture
async def process(pool: Pool, tmp_path: Path) -> AsyncIterator[Process]:
    path = tmp_path / "config.yaml"
    path.write_text("")
    source = Source(path, Needs(embedded=True), {**KEYS, "PENSTOCK_STATE_DIR": str(tmp_path)})
    written = source.read()
    current = Current(source, written, source.config(written))
    async with AsyncExitStack() as stack:
        bus = MemoryBus(topology_of((), 1000))
        await bus.open()
        stack.push_async_callback(bus.close)
        events = Events(bus)
        await events.open()
        stack.push_async_callback(events.close)
        house = House(current, "me", bus, events, Outbox(bus, tmp_path / "spool"))
        tenancy = open_tenancy(house, pool, PriceBook(), stack)

        async def adopt(config: Config) -> None:
            tenancy.adopt(config)

        current.follow(adopt, tenancy.judge)
        desk: Any = SimpleNamespace(settings=Settings())
        transport = httpx.ASGITransport(app.build(desk, ROUTERS, "0", lambda: tenancy.present))
        headers = {"authorization": f"Bearer {MASTER}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
            yield Process(path, current, tenancy, http)


def inference(key: str = MASTER) -> dict[str, Any]:
    """The scope of a chat."""
    headers = [(b"authorization", b"Bearer " + key.encode())]
    return {"path": "/v1/chat/completions", "method": "POST", "headers": headers, "client": ("192.0.2.7", 1)}


async def test_there_is_no_setting_that_a_reload_does_not_read(process: Process) -> None:
    READS.clear()
    config = process.current.config
    process.tenancy.adopt(
        config.model_copy(update={"access": Access(jwt=None), "tenants": Tenants(max_budget=Decimal(1))})
    )
    assert AccessSettings.model_fields.keys() | TenantSettings.model_fields.keys() <= READS


@pytest.mark.parametrize(
    ("section", "settings", "path", "body", "status"),
    [
        ("general", {"allowed_ips": ["192.0.2.1"]}, "/key/list", {}, 403),
        ("general", {"allowed_routes": ["/team/list"]}, "/key/list", {}, 403),
        ("general", {"disable_custom_api_keys": True}, "/key/generate", {"key": "sk-custom-0123456789-{n}"}, 403),
        ("litellm", {"upperbound_key_generate_params": {"rpm_limit": 5}}, "/key/generate", {"rpm_limit": 6}, 400),
        ("litellm", {"key_alias_pattern": "a+"}, "/key/generate", {"key_alias": "b{n}"}, 400),
    ],
)
async def test_rules_of_routes_count_with_the_reload(
    process: Process, section: str, settings: Any, path: str, body: Any, status: int
) -> None:
    first, second = ({name: str(value).format(n=n) for name, value in body.items()} for n in (1, 2))
    assert await process.status(path, **first) == 200
    assert await process.reload(**{f"{section}_settings": settings}) == ()
    assert await process.status(path, **second) == status


async def test_defaults_and_the_calendar_count_with_the_reload(process: Process) -> None:
    await process.reload(
        litellm_settings={
            "timezone": "Pacific/Auckland",
            "default_key_generate_params": {"max_budget": 3, "budget_duration": "1d"},
        }
    )
    made = (await process.http.post("/key/generate", json={})).json()
    assert made["max_budget"] == 3
    assert datetime.fromisoformat(made["budget_reset_at"]).astimezone(UTC).hour in (11, 12)


async def test_what_everybodys_terms_are_counts_for_keys_that_are_known(process: Process) -> None:
    key = (await process.http.post("/key/generate", json={})).json()["key"]
    keeper = process.tenancy.gatekeeper
    assert not (await keeper.admit_to_inference(inference(key))).terms.budgets
    await process.reload(litellm_settings={"max_budget": 7, "budget_duration": "1d"})
    for one in (key, MASTER):
        access = await keeper.admit_to_inference(inference(one))
        assert [budget.most for budget in access.terms.budgets] == [Decimal(7)]
    assert (await process.http.get("/global/spend")).json()["max_budget"] == 7
    await process.reload(litellm_settings={})
    assert (await keeper.admit_to_inference(inference())).terms.empty


async def test_tokens_are_taken_and_no_longer_and_keys_of_issuers_are_kept(process: Process) -> None:
    keeper, token = process.tenancy.gatekeeper, jwt.encode({"iss": ISSUER}, generate_private_key(65537, 2048), "RS256")

    async def refused() -> Kind:
        with pytest.raises(Refused) as caught:
            await keeper.admit_to_inference(inference(token))
        return caught.value.failure.kind

    mine = {"issuer": ISSUER, "audience": "one"}
    await process.reload(general_settings={"enable_jwt_auth": True, "litellm_jwtauth": mine})
    first, keys = keeper.rules.tokens, process.tenancy._keys
    assert await refused() is Kind.ISSUER_DOWN
    await process.reload(
        general_settings={"enable_jwt_auth": True, "litellm_jwtauth": mine, "admin_only_routes": ["/key/list"]}
    )
    assert keeper.rules.tokens is not first
    assert process.tenancy._keys is keys
    await process.reload(general_settings={"enable_jwt_auth": True, "litellm_jwtauth": {**mine, "audience": "two"}})
    assert keeper.rules.tokens is not None
    assert keeper.rules.tokens._settings.issuers[0].audiences == ("two",)
    await process.reload()
    assert await refused() is Kind.UNAUTHENTICATED


@pytest.mark.parametrize(
    "settings",
    [
        {"default_key_generate_params": {"max_budget": "many"}},
        {"upperbound_key_generate_params": {"unknown": 1}},
        {"default_internal_user_params": {"teams": 7}},
        {"default_internal_user_params": {"max_budget": "many"}},
        {"default_internal_user_params": {"shoe_size": 7}},
        {"default_team_params": {"rpm_limit": -1}},
        {"timezone": "Nowhere"},
    ],
)
async def test_a_wrong_rule_changes_nothing_and_is_said(process: Process, settings: Any) -> None:
    before, present = process.current.config, process.tenancy.present
    models = [{"model_name": "new", "litellm_params": {"model": "openai/x"}}]
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        await process.reload(litellm_settings=settings, model_list=models, general_settings={"allowed_ips": []})
    assert process.current.config is before
    assert process.tenancy.present is present


async def test_what_has_to_wait_is_named_whatever_it_is(process: Process) -> None:
    ignored = await process.reload(
        penstock={"amqp_url": "amqp://elsewhere/", "database_url": "postgresql://elsewhere/x", "stream_gap": 7},
        general_settings={"allowed_ips": ["192.0.2.0/24"]},
    )
    assert ignored == ("database_url", "amqp_url", "stream_gap")
    assert process.current.config.access.allowed_ips == ("192.0.2.0/24",)


async def test_a_change_of_models_leaves_the_rules_alone(process: Process) -> None:
    present = process.tenancy.present
    await process.reload(model_list=[{"model_name": "new", "litellm_params": {"model": "openai/x"}}])
    assert process.tenancy.present is present


async def test_who_is_being_judged_when_the_rules_change_is_judged_by_the_new_ones(pool: Pool) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def pepper() -> Pepper:
        asked.set()
        await go_on.wait()
        return Pepper(b"pepper")

    id = Pepper(b"pepper").hash(b"sk-known-0123456789")
    await pool.execute("INSERT INTO virtual_keys (key_id, key_name) VALUES ($1, 'sk-...6789')", id)
    await pool.execute("INSERT INTO key_hashes (hash, key_id) VALUES ($1, $1)", id)
    keeper = Gatekeeper(None, Keyring(pool, pepper, Rules(), lambda: 1.0, lambda: 1.0))
    judged = asyncio.create_task(keeper.admit_to_inference(inference("sk-known-0123456789")))
    await asked.wait()
    keeper.rules = DoorRules(rights=rights_of(AccessSettings(admin_only_routes=("llm_api_routes",))))
    go_on.set()
    with pytest.raises(Refused, match="admin only"):
        await judged


async def test_a_management_call_goes_by_what_was_present_when_it_came(process: Process) -> None:
    scope = {**inference(), "type": "http", "path": "/key/list", PRESENT: process.tenancy.present}
    await process.reload(general_settings={"allowed_ips": []})
    assert (await admit(Request(scope))).is_admin
    with pytest.raises(Refused):
        await admit(Request(scope | {PRESENT: process.tenancy.present}))


async def test_of_a_body_without_end_no_more_is_read_than_a_request_may_have(process: Process) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 40:
            sent += 1
            yield bytes(2**20)

    answer = await process.http.post("/key/generate", content=endless(), headers={"authorization": "Bearer sk-nobody"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, None)
    assert sent <= Settings().max_request_bytes // 2**20 + 2


async def test_another_calendar_begins_another_window_and_gives_back_what_the_old_one_held(
    process: Process, pool: Pool
) -> None:
    budget = Budget(account=Account("key", "k"), named="Key=k", most=Decimal(1), period="1d")
    bill = Bill((Terms(budgets=(budget,)),), NANO // 2, 10, datetime.now(UTC).timestamp() + 20)
    purse = process.tenancy.purse
    first = await purse.reserve(bill)
    await process.reload(litellm_settings={"timezone": "Asia/Kathmandu", "budget_exceeded_status_code": 402})
    second = await purse.reserve(bill)
    assert first.leases != second.leases
    assert (purse.exceeded, str(purse.zone)) == (402, "Asia/Kathmandu")
    assert await pool.fetchval("SELECT count(DISTINCT began) FROM balances") == 2
    first.void()
    second.void()
