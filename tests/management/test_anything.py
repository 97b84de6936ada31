"""Whatever is thrown at the management API: never our own fault, and a refusal always in OpenAI's shape."""

import asyncio
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
import schemathesis
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from api import app, management
from api.management import models
from api.management.keys.desk import KeyDesk
from api.management.office import Office
from api.management.routers import ROUTERS
from api.management.spend import calculation
from ledger.credentials import Credential
from ledger.migrate import migrate
from ledger.models import Model, Row
from ledger.pepper import Pepper
from ledger.pool import Pool, open_pool
from ledger.prices import PriceBook
from schemas.access import Access, Role
from schemas.catalog import Catalog
from schemas.config import Config
from schemas.usage import Caller
from tests.support.fuzz import Sent, encoded, operations, requests
from tests.support.inside import DEMO
from tests.support.office import ADMIN

_MEMBER = Access(
    caller=Caller(key_hash="a", user="a", team="a", organization="a"),
    role=Role.USER,
    teams=frozenset("a"),
    admin_of_teams=frozenset("a"),
    organizations=frozenset("a"),
    admin_of_organizations=frozenset("a"),
)
_VIEWER = Access(caller=Caller(key_hash="v", user="v"), role=Role.VIEWER)
_NOBODY = Access(caller=Caller(key_hash="n"))
_OURS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # what the ledger holds changes with each example: none can be made smaller
    suppress_health_check=list(HealthCheck),
)


class _Stock:
    """One model of the file, and nothing in the ledger that it could not judge or seal."""

    config = Config(deployments=(DEMO,))
    rows: tuple[Row, ...] = ()
    credentials: tuple[Credential, ...] = ()

    async def judge(self, model: Model, secrets: Mapping[str, Any]) -> None:
        pass

    def seal(self, id: str, secrets: Mapping[str, Any]) -> bytes | None:
        return repr(sorted(secrets)).encode() if secrets else None

    def unseal(self, model: Model) -> dict[str, Any]:
        return {}

    async def settle(self, id: str) -> None:
        pass

    async def reload(self) -> dict[str, Any]:
        return {}


def own_routers() -> list[APIRouter]:
    """Those of all modules of the management API that have one."""
    names = [module.name for module in pkgutil.walk_packages(management.__path__, f"{management.__name__}.")]
    modules = [importlib.import_module(name) for name in sorted(names)]
    return list({id(module.ROUTER): module.ROUTER for module in modules if hasattr(module, "ROUTER")}.values())


_SEED = """
INSERT INTO budgets (budget_id, max_budget, budget_duration) VALUES ('a', 1, '1d') ON CONFLICT DO NOTHING;
INSERT INTO users (user_id, user_email) VALUES ('a', 'a@b.c') ON CONFLICT DO NOTHING;
INSERT INTO organizations (organization_id, budget_id) VALUES ('a', 'a') ON CONFLICT DO NOTHING;
INSERT INTO organization_members (organization_id, user_id) VALUES ('a', 'a') ON CONFLICT DO NOTHING;
INSERT INTO teams (team_id, organization_id) VALUES ('a', 'a') ON CONFLICT DO NOTHING;
INSERT INTO team_members (team_id, user_id, budget_id) VALUES ('a', 'a', 'a') ON CONFLICT DO NOTHING;
INSERT INTO virtual_keys (key_id, key_name, user_id, team_id) VALUES ('a', 'a', 'a', 'a') ON CONFLICT DO NOTHING;
INSERT INTO key_hashes (hash, key_id) VALUES ('a', 'a') ON CONFLICT DO NOTHING;
INSERT INTO customers (user_id, budget_id) VALUES ('a', 'a') ON CONFLICT DO NOTHING;
INSERT INTO tags (tag_name, budget_id) VALUES ('a', 'a') ON CONFLICT DO NOTHING;
"""
"""One of everything, all named `a`: what an example finds, whatever those before it removed."""


class Target:
    """The management API over a real ledger. `send` judges every answer."""

    def __init__(self, application: FastAPI, pool: Pool, run: Callable[[Any], Any]) -> None:
        self.document = application.openapi()
        self.access = ADMIN
        self.statuses: dict[int, int] = {}
        self._pool = pool
        self._run = run
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test")

    def send(self, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> httpx.Response:
        """Send a request. What the application raises is raised here."""
        answer: httpx.Response = self._run(self._send(method, url, body, headers or {}))
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, f"{method} {url[:200]} {body[:2000]!r} {headers}: {answer.text[:500]}"
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert isinstance(error["message"], str)
            assert error["message"]
        return answer

    async def close(self) -> None:
        """No more requests."""
        await self._http.aclose()

    async def _send(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        sent = {"content-type": "application/json", **headers}
        try:
            async with asyncio.timeout(20):
                await self._pool.execute(_SEED)
                return await self._http.request(method, url, content=body, headers=sent)
        except Exception as problem:
            problem.add_note(f"{method} {url[:500]} {body[:2000]!r} {headers}")
            raise


@pytest.fixture
def target(database_url: str) -> Iterator[Target]:
    """All routers, on a fresh ledger and a loop that examples share."""
    with asyncio.Runner() as runner:
        runner.run(migrate(database_url))
        pool = runner.run(open_pool(database_url))

        async def admit(_request: Request) -> Access:
            return found.access

        stock, prices, catalog = _Stock(), PriceBook(), Catalog(_Stock.config)
        made = [
            *models.routers(pool, stock, prices, admit, lambda _: lambda _: True),
            calculation.routes(lambda: catalog, prices, len),
        ]
        application = app.bare([*own_routers(), *made], "0")
        found = Target(application, pool, runner.run)

        async def pepper() -> Pepper:
            return Pepper(b"pepper")

        application.state.office = Office(pool, admit, lambda _told: None)
        application.state.keys = KeyDesk(pepper)
        yield found
        runner.run(found.close())
        runner.run(pool.close())


def test_every_router_is_served() -> None:
    def served(found: Iterable[APIRouter]) -> set[tuple[str, str]]:
        routes = [route for router in found for route in router.routes if isinstance(route, APIRoute)]
        return {(method, route.path) for route in routes for method in route.methods}

    assert served(own_routers()) <= served(ROUTERS)


@pytest.mark.timeout(180)  # ten seconds of work, on a machine that may have much else to do
def test_what_nearly_fits_is_answered(target: Target) -> None:
    def send(sent: Sent, access: Access) -> None:
        target.access = access
        url = quote(sent.path, safe="/") + (f"?{urlencode(sent.query)}" if sent.query else "")
        target.send(sent.method, url, sent.body)

    accesses = st.sampled_from([ADMIN, ADMIN, ADMIN, _MEMBER, _VIEWER, _NOBODY])
    for one in operations(target.document):
        settings(_OURS, max_examples=6)(given(requests(one, target.document), accesses)(send))()
    assert {200, 400, 403, 404} <= target.statuses.keys(), "examples reach less than they did"
    assert target.statuses[200] > target.statuses[400] / 2


@pytest.mark.timeout(180)
def test_what_a_schema_allows_or_forbids_is_answered(target: Target) -> None:
    def send(case: schemathesis.Case) -> None:
        parts = case.as_transport_kwargs(base_url="http://test")
        query = urlencode(parts.get("params") or {}, doseq=True, errors="replace")
        body = encoded(parts["json"]) if "json" in parts else parts.get("data") or b""
        url = f"{parts['url']}?{query}"[:20_000]
        target.send(case.method, url, body if isinstance(body, bytes) else b"")

    for result in schemathesis.openapi.from_dict(target.document).get_all_operations():
        one = result.ok()
        cases = st.one_of([one.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode])
        settings(_OURS, max_examples=2)(given(cases)(send))()


_ODD_URLS = [
    *("/organization/info/", "//organization/list", "/organization/list//", "/organization", "/tag/%00", "/tag/%ff"),
    *(
        "/%2e%2e/budget/list",
        "/budget/../budget/list",
        "/BUDGET/LIST",
        "/budget/list;a=b",
        "/%F0%9F%92%A9",
        "/" + "a" * 5000,
    ),
    *("/tag/list?", "/tag/list?&&=&", "/tag/list?start_date=%00&end_date=%ff", "/tag/list?" + "a=b&" * 2000),
    *("/organization/list?page=-1", "/organization/list?page=%D9%A3", "/customer/list?page=" + "9" * 5000),
    *("/customer/list?page=1&page=x", "/customer/info?end_user_id=%00", "/customer/info?end_user_id=%ED%A0%80"),
    *("/organization/list?org_alias=%25_%5C", "/organization/list?org_id=%00", "/budget/settings?budget_id="),
]


def test_odd_addresses_are_answered(target: Target) -> None:
    for target.access in (ADMIN, _NOBODY):
        for url in _ODD_URLS:
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"):
                target.send(method, f"http://test{url}")


def test_only_what_can_be_read_again_is_stored(target: Target) -> None:
    for value in ("@100 deep@", "@900 deep@", "@915 deep@", float("nan"), float("inf"), float("-inf"), "@40 deep@"):
        answer = target.send("POST", "/tag/new", encoded({"name": "new", "not_declared": [value]}))
        assert answer.status_code == (200 if value == "@40 deep@" else 400)
        assert target.send("GET", "/tag/list").status_code == 200


_ODD_HEADERS = [
    *({"content-type": "text/plain"}, {"content-type": ""}, {"content-type": "application/json; charset=nonsense"}),
    *({"content-type": "multipart/form-data"}, {"content-type": "application/x-www-form-urlencoded"}),
    *({"content-length": "nonsense"}, {"accept": "image/png"}, {"authorization": "Basic \x7f"}),
]


def test_odd_headers_are_answered(target: Target) -> None:
    for headers in _ODD_HEADERS:
        for body in (b"", b"a=b", b'{"name":"a"}', b"--x\r\n\r\n--x--"):
            target.send("POST", "/tag/info", body, headers)
            target.send("GET", "/tag/list", body, headers)
