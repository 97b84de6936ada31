"""`/v1/models`: what is listed, by the parameters that LiteLLM's clients send."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api import models
from ledger.pool import Pool
from schemas.access import Access, Role, Scope
from schemas.catalog import Catalog
from schemas.config import Config, Deployment
from schemas.usage import Caller
from tests.support.keys import add_team
from tests.support.office import Bureau, bureau


def deployment(group: str, *access_groups: str) -> Deployment:
    return Deployment(id=group, group=group, provider="demo", model="demo", access_groups=access_groups)


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The model routes over two models, one of them in an access group, and a wildcard; and a team with another."""
    config = Config(deployments=(deployment("a"), deployment("b", "beta"), deployment("w/*", "wild")))
    catalog = Catalog(config)
    await add_team(pool, "t", "u", models=["b"])
    await add_team(pool, "free")

    async def admit() -> Access:
        return found.access

    async with bureau(pool, models.routes(lambda: catalog, admit)) as found:
        yield found


def key(*allowed: str, **more: Any) -> Access:
    scopes = (Scope("key", allowed),) if allowed else ()
    return Access(caller=Caller(key_hash="h", user="u", team="mine"), role=Role.USER, scopes=scopes, **more)


MEMBER = key("a", teams=frozenset({"t"}))


@pytest.mark.parametrize(
    ("access", "query", "names"),
    [
        (key(), {}, "a b w/*"),
        (key(), {"return_wildcard_routes": False}, "a b"),
        (key(), {"include_model_access_groups": True}, "a b w/* beta wild"),
        (key(), {"only_model_access_groups": True}, "beta wild"),
        (key("beta"), {}, "b"),
        (key("beta"), {"include_model_access_groups": True}, "b beta"),
        (key("b"), {"include_model_access_groups": True}, "b"),
        (key("all-proxy-models"), {"only_model_access_groups": "true"}, "beta wild"),
        (MEMBER, {}, "a"),
        (MEMBER, {"team_id": "t"}, "b"),
        (MEMBER, {"team_id": "mine"}, "a"),
        (MEMBER, {"scope": "expand"}, "a"),
        (key("a", admin_of_teams=frozenset({"t"})), {"scope": "expand"}, "a b w/*"),
        (key(), {"healthy_only": True, "include_metadata": True, "nobody": "knows"}, "a b w/*"),
    ],
)
async def test_what_is_listed(office: Bureau, access: Access, query: dict[str, Any], names: str) -> None:
    office.access = access
    found = await office.get("/v1/models", **query)
    assert [one["id"] for one in found["data"]] == names.split()
    assert {one["object"] for one in found["data"]} == {"model"}


async def test_one_model_in_a_team(office: Bureau) -> None:
    office.access = MEMBER
    await office.get("/v1/models/b", 404)
    assert (await office.get("/v1/models/b", team_id="t"))["id"] == "b"


@pytest.mark.parametrize(("team", "status"), [("free", 403), ("none", 403), ("\0", 400)])
async def test_another_team_is_not_shown(office: Bureau, team: str, status: int) -> None:
    office.access = MEMBER
    await office.get("/v1/models", status, team_id=team)


async def test_an_admin_is_told_of_a_team_that_is_not_there(office: Bureau) -> None:
    assert len((await office.get("/v1/models", team_id="free"))["data"]) == 3
    assert (await office.get("/v1/models", 404, team_id="none"))["error"]["param"] == "team_id"
    assert (await office.get("/v1/models", 400, scope="everything"))["error"]["param"] == "scope"
