"""Who may call what: role × route as a table, and that every route of the application is in it."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from fastapi import APIRouter

import api
from api import app
from api.management import groups, rights
from api.management.groups import NAMES, PATHS, Group, find
from api.management.rights import NOBODY, TABLE, Rights
from schemas.access import Access, Role
from schemas.failures import Kind, Refused
from schemas.usage import Caller

# A route, then who may call it: admin, admin viewer, an organization's admin, user, user viewer, key without a user
ROUTES = """
POST /v1/chat/completions                       yes yes yes yes yes yes
POST /engines/a/b/chat/completions              yes yes yes yes yes yes
POST /openai/deployments/a/embeddings           yes yes yes yes yes yes
GET  /v1/models                                 yes yes yes yes yes yes
GET  /v1/models/openai/gpt-4o                   yes yes yes yes yes yes
GET  /model/info                                yes yes yes yes yes yes
GET  /health                                    yes yes yes yes yes yes
GET  /key/info                                  yes yes yes yes yes yes
GET  /key/list                                  yes yes yes yes yes yes
POST /key/generate                              yes no  yes yes no  no
POST /key/abc/regenerate                        yes no  yes yes no  no
POST /key/delete                                yes no  yes yes no  no
POST /key/block                                 yes no  yes yes no  no
GET  /user/info                                 yes yes yes yes yes yes
GET  /user/daily/activity                       yes yes yes yes yes yes
POST /user/new                                  yes no  yes no  no  no
POST /user/delete                               yes no  yes no  no  no
POST /invitation/new                            yes no  yes yes yes yes
GET  /team/list                                 yes yes yes yes yes yes
GET  /team/daily/activity                       yes yes yes yes yes yes
POST /team/update                               yes no  yes yes yes yes
POST /team/member_add                           yes no  yes yes yes yes
POST /team/t/member/u/reset_spend               yes no  yes yes yes yes
POST /team/new                                  yes no  yes no  no  no
POST /team/block                                yes no  yes no  no  no
GET  /organization/list                         yes yes yes yes yes yes
GET  /organization/info                         yes yes yes no  no  no
POST /organization/member_add                   yes no  yes no  no  no
POST /organization/new                          yes no  no  no  no  no
GET  /tag/list                                  yes yes yes yes yes no
POST /tag/new                                   yes no  no  no  no  no
GET  /global/activity                           yes yes yes yes no  no
GET  /spend/logs                                yes yes yes yes yes no
GET  /spend/logs/ui/r1                          yes yes yes yes yes no
GET  /global/spend                              yes yes no  no  no  no
GET  /global/spend/report                       yes yes no  no  no  no
POST /global/spend/reset                        yes no  no  no  no  no
POST /model/new                                 yes no  no  no  no  no
POST /budget/new                                yes no  no  no  no  no
GET  /budget/list                               yes yes no  no  no  no
POST /customer/new                              yes no  no  no  no  no
GET  /customer/info                             yes yes no  no  no  no
GET  /end_user/list                             yes yes no  no  no  no
GET  /audit                                     yes yes no  no  no  no
GET  /audit/7                                   yes yes no  no  no  no
POST /credentials                               yes no  no  no  no  no
GET  /credentials/by_name/a/b                   yes no  no  no  no  no
POST /config/reload                             yes no  no  no  no  no
GET  /nobody/knows/this                         yes no  no  no  no  no
GET  /v1/chat/completions/and/more              yes no  no  no  no  no
POST /key/generate/                             yes no  no  no  no  no
POST //key/generate                             yes no  no  no  no  no
POST /Key/generate                              yes no  no  no  no  no
"""
ROWS = [
    (method, path, dict(zip(rights.COLUMNS, marks, strict=True)))
    for method, path, *marks in (line.split() for line in ROUTES.strip().splitlines())
]


def access(role: Role, *routes: str, **more: Any) -> Access:
    return Access(caller=Caller(user="somebody-with-a-name"), role=role, routes=routes, **more)


def refusal(who: Access, path: str, method: str = "POST", of: Rights | None = None) -> Kind | None:
    """Why the call is refused; None when it is not."""
    try:
        (of or Rights()).check(who, method, path)
    except Refused as refused:
        return refused.failure.kind
    return None


@pytest.mark.parametrize(("method", "path", "expected"), ROWS, ids=[row[1] for row in ROWS])
def test_role_and_route(method: str, path: str, expected: dict[Role, str]) -> None:
    found = {role: "no " if refusal(access(role), path, method) else "yes" for role in rights.COLUMNS}
    assert {role: mark.strip() for role, mark in found.items()} == expected


def test_the_table_above_has_a_row_of_every_group_that_needs_a_key() -> None:
    assert {found.group for _, path, _ in ROWS if (found := find(path))} == set(Group) - {Group.OPEN}


@pytest.mark.parametrize("role", [Role.TEAM, Role.CUSTOMER])
def test_other_roles_are_a_key_without_a_user(role: Role) -> None:
    for method, path, expected in ROWS:
        assert (refusal(access(role), path, method) is None) == (expected[Role.NONE] == "yes")


def test_who_leads_an_organization_has_its_admins_rights_beside_their_own() -> None:
    leader = access(Role.USER_VIEWER, admin_of_organizations=frozenset({"o"}))
    assert refusal(leader, "/team/new") is None
    assert refusal(leader, "/spend/logs") is None
    assert refusal(leader, "/organization/new") is Kind.ROLE


def test_how_it_is_refused() -> None:
    assert refusal(access(Role.USER), "/team/new") is Kind.ROLE
    assert refusal(access(Role.NONE), "/key/generate") is Kind.ROLE
    assert refusal(access(Role.VIEWER), "/team/new") is Kind.FORBIDDEN
    with pytest.raises(Refused) as caught:
        Rights().check(access(Role.USER), "POST", "/team/new")
    assert "somebody-with-a-name" not in caught.value.failure.message
    assert "internal_user" in caught.value.failure.message
    assert "/team/new" in caught.value.failure.message
    assert "proxy_admin, org_admin may" in caught.value.failure.message


# --- routes of a key -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "path", "expected"),
    [
        (("llm_api_routes",), "/v1/chat/completions", None),
        (("openai_routes",), "/engines/x/completions", None),
        (("llm_api_routes",), "/v1/models", None),
        (("llm_api_routes",), "/key/info", Kind.FORBIDDEN),
        (("llm_api_routes",), "/key/generate", Kind.FORBIDDEN),
        (("management_routes",), "/key/generate", None),
        (("management_routes",), "/team/new", Kind.ROLE),  # the name of a group grants nothing
        (("management_routes",), "/v1/chat/completions", Kind.FORBIDDEN),
        (("info_routes",), "/key/info", None),
        (("info_routes",), "/key/generate", Kind.FORBIDDEN),
        (("spend_tracking_routes",), "/spend/logs", None),
        (("mcp_routes",), "/v1/chat/completions", Kind.FORBIDDEN),
        (("nonsense",), "/v1/chat/completions", Kind.FORBIDDEN),
        (("/v1/embeddings",), "/v1/embeddings", None),
        (("/v1/embeddings",), "/v1/embeddings/below", None),
        (("/v1/embeddings",), "/v1/embeddings2", Kind.FORBIDDEN),
        (("/v1/embeddings",), "/v1/chat/completions", Kind.FORBIDDEN),
        (("/v1/*",), "/v1/chat/completions", None),
        (("/v1/*",), "/chat/completions", Kind.FORBIDDEN),
        (("/v1/embeddings", "info_routes"), "/key/info", None),
        (("/team/new",), "/team/new", None),  # a path is a grant: only an admin can have written it
        (("/config/*",), "/config/reload", None),
        (("/",), "/v1/chat/completions", Kind.FORBIDDEN),
        (("",), "/v1/chat/completions", Kind.FORBIDDEN),
    ],
)
def test_allowed_routes(allowed: tuple[str, ...], path: str, expected: Kind | None) -> None:
    assert refusal(access(Role.USER, *allowed), path) is expected


def test_allowed_routes_hold_for_admins_too() -> None:
    assert refusal(access(Role.ADMIN, "management_routes"), "/team/new") is None
    assert refusal(access(Role.ADMIN, "management_routes"), "/v1/chat/completions") is Kind.FORBIDDEN


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((), True),
        (("llm_api_routes",), True),
        (("info_routes", "openai_routes"), True),
        (("management_routes",), False),
        (("/v1/chat/completions",), False),  # not every inference path: ask `check`
        (("*",), False),
    ],
)
def test_inference_needs_no_check_unless_routes_are_named(entries: tuple[str, ...], expected: bool) -> None:
    assert Rights().may_infer(access(Role.NONE, *entries)) is expected


def test_whoever_may_infer_would_pass_the_check() -> None:
    for role in Role:
        for entries in ((), ("llm_api_routes",), ("info_routes",)):
            who = access(role, *entries)
            assert Rights().may_infer(who) == all(
                refusal(who, path.replace("{model:path}", "a/b")) is None for path in PATHS[Group.INFERENCE].split()
            )


# --- what a team grants its members ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "granted", "path", "allowed"),
    [
        (Role.NONE, "/key/generate", "/key/generate", True),
        (Role.TEAM, "/key/update", "/key/update", True),
        (Role.NONE, "/key/update", "/key/generate", False),
        (Role.NONE, "/key/{key_id}/regenerate", "/key/abc/regenerate", True),
        (Role.NONE, "/spend/logs", "/spend/logs", True),
        (Role.NONE, "/user/new", "/user/new", False),  # not a team's to grant
        (Role.NONE, "/config/update", "/config/update", False),
        (Role.USER_VIEWER, "/key/generate", "/key/generate", False),
        (Role.VIEWER, "/key/generate", "/key/generate", False),
    ],
)
def test_what_a_team_grants(role: Role, granted: str, path: str, allowed: bool) -> None:
    assert (refusal(access(role, member_rights=frozenset({granted})), path) is None) is allowed


# --- routes of the whole proxy ---------------------------------------------------------------------------------------


def test_the_configuration_may_serve_some_routes_only() -> None:
    some = Rights(allowed=("/v1/chat/completions", "info_routes"))
    for role in (Role.ADMIN, Role.USER):
        assert refusal(access(role), "/v1/chat/completions", of=some) is None
        assert refusal(access(role), "/key/info", of=some) is None
        assert refusal(access(role), "/v1/embeddings", of=some) is Kind.FORBIDDEN
        assert refusal(access(role), "/key/generate", of=some) is Kind.FORBIDDEN
        assert not some.may_infer(access(role))


def test_the_configuration_may_keep_routes_to_admins() -> None:
    some = Rights(admin_only=("/key/generate", "/v1/embeddings"))
    assert refusal(access(Role.ADMIN), "/key/generate", of=some) is None
    assert refusal(access(Role.USER), "/key/generate", of=some) is Kind.FORBIDDEN
    assert refusal(access(Role.USER, "/key/generate"), "/key/generate", of=some) is Kind.FORBIDDEN
    assert refusal(access(Role.USER), "/v1/embeddings", of=some) is Kind.FORBIDDEN
    assert refusal(access(Role.USER), "/v1/chat/completions", of=some) is None
    assert not some.may_infer(access(Role.USER))


def test_public_routes() -> None:
    some = Rights(public=("LiteLLMRoutes.public_routes", "/spend/calculate", "/public/*"))
    assert [path for path in ("/health/readiness", "/spend/calculate", "/public/x") if not some.is_public(path)] == []
    assert not some.is_public("/spend/logs")
    assert not Rights().is_public("/health/readiness")
    assert (NOBODY.role, NOBODY.is_admin, NOBODY.reads_all) == (Role.NONE, False, False)


# --- the application --------------------------------------------------------------------------------------------------


def routers() -> Iterator[APIRouter]:
    """Every router of `api`: those that are there, and those that a function makes."""
    for info in pkgutil.walk_packages(api.__path__, "api."):
        module = importlib.import_module(info.name)
        for thing in vars(module).values():
            if isinstance(thing, APIRouter):
                yield thing
            elif inspect.isfunction(thing) and thing.__module__ == info.name:
                signature = inspect.signature(thing)
                if signature.return_annotation in (APIRouter, "APIRouter"):
                    yield thing(*(MagicMock() for _ in signature.parameters))


def application() -> list[str]:
    """The paths of all routes."""
    desk: Any = SimpleNamespace(settings=SimpleNamespace(cors_origins=(), max_request_bytes=1))
    found = [*app.build(desk, [], "0")._app.routes, *(route for router in routers() for route in router.routes)]
    return sorted({route.path for route in found})


def test_every_route_of_the_application_is_in_a_group() -> None:
    paths = application()
    assert {"/v1/chat/completions", "/budget/new", "/health/liveliness", "/audit/{id}"} <= set(paths)
    listed = {groups.shape(path) for text in PATHS.values() for path in text.split()}
    missing = [path for path in paths if groups.shape(path) not in listed]
    assert not missing, "give them a group in api/management/groups.py"
    assert not listed - {groups.shape(path) for path in paths}, "listed, and no route"


def test_a_path_is_in_one_group() -> None:
    every = [groups.shape(path) for text in PATHS.values() for path in text.split()]
    assert len(every) == len(set(every))
    for group, text in PATHS.items():
        for path in text.split():
            found = find(re.sub(r"\{\w+(:path)?\}", "x", path))
            assert found is not None
            assert found.group is group


def test_every_group_has_paths_and_a_row() -> None:
    assert set(PATHS) == set(TABLE) == set(Group)


def test_litellms_names_mean_something() -> None:
    assert all(NAMES.values())


# --- the document -----------------------------------------------------------------------------------------------------


def test_the_document_shows_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "access.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    (head,) = [row for row in rows if row[0] == "group"]
    assert [cell.strip("`") for cell in head[2:-1]] == [role.value for role in rights.COLUMNS[:-1]]
    shown = {row[0]: [mark == "yes" for mark in row[2:]] for row in rows if row[0] in set(Group)}
    assert shown == {group: [role in TABLE[group] for role in rights.COLUMNS] for group in Group}
