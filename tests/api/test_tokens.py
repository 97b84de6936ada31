"""From a token to an `Access`: what claims say, what the ledger knows, and what is remembered of it."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from api.claims import who
from api.management.groups import Group, routes
from api.management.registrar import Registrar
from api.management.rights import TABLE, Rights
from api.management.rules import TeamRules, UserRules
from api.signing_keys import SigningKeys
from api.tokens import _OF_A_ROLE, Tokens
from ledger import tenants
from ledger.access import find_user
from ledger.directory import Directory
from ledger.pool import Pool
from ledger.terms import Rules
from schemas.access import Access, Role, Scope
from schemas.config import ClaimFields, Issuer, Jwt
from schemas.failures import Kind, Refused
from tests.support.audit import audited
from tests.support.issuer import AUDIENCE, NAME, NOW, URL, Provider, token

USER = ClaimFields(user_id="sub")


# --- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "claims", "expected"),
    [
        ({"user_id": "sub"}, {"sub": "ada"}, {"user": "ada"}),
        ({"user_id": "sub"}, {"sub": 7}, {"user": "7"}),
        ({"user_id": "sub"}, {"sub": True}, {"user": ""}),
        ({"user_id": "sub"}, {"sub": {"a": "b"}}, {"user": ""}),
        ({"user_id": "sub"}, {"sub": "a\0b"}, {"user": ""}),
        ({"user_id": "sub", "user_email": "mail"}, {"mail": "a@x.org"}, {"user": "a@x.org", "email": "a@x.org"}),
        ({"user_id": "a.b"}, {"a": {"b": "ada"}}, {"user": "ada"}),
        ({"user_id": "a.b"}, {"a.b": "ada"}, {"user": "ada"}),
        ({"user_id": "https://x\\.org/id.n"}, {"https://x.org/id": {"n": "ada"}}, {"user": "ada"}),
        ({"user_id": "a.b"}, {"a": "text"}, {"user": ""}),
        ({"team_id": "team"}, {"team": "t"}, {"team": "t"}),
        ({"team_id": "roles"}, {"roles": ["t", "u"]}, {"team": "t"}),
        ({"team_ids": "groups"}, {"groups": ["a", "b", None, 3]}, {"teams": ("a", "b", "3")}),
        ({"team_ids": "groups"}, {"groups": "a"}, {"teams": ("a",)}),
        ({"team_alias": "name"}, {"name": "The Team"}, {"team": "", "team_alias": "The Team"}),
        ({"org_id": "o", "end_user_id": "e"}, {"o": "x", "e": "y"}, {"organization": "x", "end_user": "y"}),
        ({}, {"email_verified": False}, {"proved_email": False}),
    ],
)
def test_claims_are_read_as_the_fields_say(
    fields: dict[str, str], claims: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = who(claims, Jwt(), ClaimFields(**fields))
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("settings", "claims", "admin"),
    [
        ({}, {"scope": "openid litellm_proxy_admin"}, True),
        ({}, {"scope": ["litellm_proxy_admin"]}, True),
        ({}, {"scope": "litellm_proxy_admin_not"}, False),
        ({}, {"scope": {"litellm_proxy_admin": 1}}, False),
        ({"admin_scope": "boss"}, {"scope": "litellm_proxy_admin"}, False),
        ({"role_mappings": (("root", "proxy_admin"),)}, {"roles": ["root"]}, True),
        ({"role_mappings": (("root", "proxy_admin"),)}, {"roles": ["roots"]}, False),
        ({"role_mappings": (("root", "internal_user"),)}, {"roles": ["root"]}, False),
    ],
)
def test_who_is_an_admin(settings: dict[str, Any], claims: dict[str, Any], admin: bool) -> None:
    assert who(claims, Jwt(**settings), ClaimFields(roles="roles")).admin is admin


def test_an_object_id_is_what_the_role_says() -> None:
    settings = Jwt(role_mappings=(("app", "team"), ("person", "internal_user")))
    fields = ClaimFields(roles="roles", object_id="oid")
    assert who({"roles": ["app"], "oid": "x"}, settings, fields).team == "x"
    assert who({"roles": ["person"], "oid": "x"}, settings, fields).user == "x"
    assert who({"roles": ["?"], "oid": "x"}, settings, fields)[:1] == ("",)


@pytest.mark.parametrize(
    ("settings", "fields", "claims", "kind"),
    [
        ({"role_needed": True}, {}, {}, Kind.FORBIDDEN),
        ({"role_needed": True}, {"user_id": "sub"}, {"sub": "ada"}, None),
        ({"role_needed": True, "user_roles": frozenset({"r"})}, {"user_roles": "r"}, {"r": ["r"]}, None),
        ({"email_domain": "x.org"}, {"user_email": "mail"}, {"mail": "a@x.org"}, None),
        ({"email_domain": "x.org"}, {"user_email": "mail"}, {"mail": "a@X.ORG"}, None),
        ({"email_domain": "x.org"}, {"user_email": "mail"}, {"mail": "a@evilx.org"}, Kind.FORBIDDEN),
        ({"email_domain": "x.org"}, {"user_email": "mail"}, {"mail": "x.org"}, Kind.FORBIDDEN),
        ({"email_domain": "x.org"}, {"user_email": "mail"}, {}, Kind.FORBIDDEN),
        ({}, {"team_id": "team"}, {}, Kind.UNAUTHENTICATED),
        ({"team_default": "t"}, {"team_id": "team"}, {}, None),
        ({"team_of_user": True}, {"team_id": "team"}, {}, None),
        ({}, {"team_id": "team"}, {"scope": "litellm_proxy_admin"}, None),
    ],
)
def test_who_is_not_admitted(
    settings: dict[str, Any], fields: dict[str, str], claims: dict[str, Any], kind: Kind | None
) -> None:
    found = None
    try:
        who(claims, Jwt(**settings), ClaimFields(**fields))
    except Refused as refused:
        found = refused.failure.kind
    assert found is kind


# --- with the ledger --------------------------------------------------------------------------------------------------


class Desk:
    """Tokens over a real ledger. `told` is what every process was told of."""

    def __init__(
        self,
        pool: Pool,
        fields: ClaimFields,
        users: UserRules | None = None,
        teams: TeamRules | None = None,
        **settings: Any,
    ) -> None:
        self.pool = pool
        self.provider = Provider()
        self.told: list[frozenset[str]] = []
        self.found = 0
        self.now = NOW
        issuer = Issuer(name=NAME, key_urls=(URL,), audiences=(AUDIENCE,), fields=fields)
        self.tokens = Tokens(
            Jwt(issuers=(issuer,), **settings),
            SigningKeys(self.provider.fetch, 600, 3600),
            Directory(pool, self.told.append, Registrar(users or UserRules(), teams or TeamRules())),
            self._find,
            lambda: self.now,
        )

    async def _find(self, user: str | None, team: str | None, organization: str | None) -> Access:
        self.found += 1
        return await find_user(self.pool, user, team, organization, Rules())

    async def access(self, chosen: str = "", **claims: Any) -> Access:
        return await self.tokens.access_of(token(**claims), chosen)

    async def refused(self, chosen: str = "", **claims: Any) -> Kind:
        with pytest.raises(Refused) as caught:
            await self.access(chosen, **claims)
        return caught.value.failure.kind


async def rows(pool: Pool, table: tenants.Table, *values: Mapping[str, Any]) -> None:
    async with pool.acquire() as connection:
        for row in values:
            await tenants.insert(connection, table, row)


async def test_a_user_is_found_by_id_by_the_providers_id_and_by_email(pool: Pool) -> None:
    await rows(
        pool,
        tenants.USERS,
        {"user_id": "ada", "user_role": "internal_user"},
        {"user_id": "b", "sso_user_id": "bob-at-idp"},
        {"user_id": "c", "user_email": "Cleo@x.org", "user_role": "proxy_admin_viewer"},
        {"user_id": "d1", "user_email": "twice@x.org"},
        {"user_id": "d2", "user_email": "twice@x.org"},
    )
    desk = Desk(pool, ClaimFields(user_id="sub", user_email="mail"))
    assert (await desk.access(sub="ada")).caller.user == "ada"
    bob = await desk.access(sub="bob-at-idp")
    assert (bob.caller.user, bob.role) == ("b", Role.USER)
    cleo = await desk.access(sub="?", mail="cleo@x.org")
    assert (cleo.caller.user, cleo.role) == ("c", Role.VIEWER)
    assert await desk.refused(sub="?", mail="cleo@x.org", email_verified=False) is Kind.UNAUTHENTICATED
    assert await desk.refused(sub="?", mail="twice@x.org") is Kind.UNAUTHENTICATED
    assert await desk.refused(sub="nobody") is Kind.UNAUTHENTICATED


async def test_an_unknown_user_is_added_when_the_configuration_wants_it(pool: Pool) -> None:
    desk = Desk(pool, ClaimFields(user_id="sub", user_email="mail"), user_upsert=True)
    access = await desk.access(sub="new", mail="n@x.org")
    assert (access.caller.user, access.role, access.routes) == ("new", Role.USER, ())
    row = await tenants.find(pool, tenants.USERS, "new")
    assert row is not None
    assert (row["user_email"], row["user_role"]) == ("n@x.org", "internal_user")
    assert [entry["action"] for entry in await audited(pool, entity="user", id="new")] == ["created"]
    assert desk.told == [frozenset({"user:new"})]


async def test_an_address_that_nobody_has_checked_takes_its_owners_from_nobody(pool: Pool) -> None:
    await rows(pool, tenants.USERS, {"user_id": "c", "user_email": "cleo@x.org"})
    desk = Desk(pool, ClaimFields(user_id="sub", user_email="mail"), user_upsert=True)
    assert (await desk.access(sub="mallory", mail="cleo@x.org", email_verified=False)).caller.user == "mallory"
    assert (await desk.access(sub="cleo-at-idp", mail="cleo@x.org")).caller.user == "c"


async def test_an_admins_token_needs_no_row(pool: Pool) -> None:
    access = await Desk(pool, USER).access(sub="root", scope="litellm_proxy_admin")
    assert (access.role, access.caller.user) == (Role.ADMIN, "root")
    Rights().check(access, "POST", "/key/generate")
    with pytest.raises(Refused):  # as in LiteLLM, `admin_allowed_routes` has no models unless it is said
        Rights().check(access, "POST", "/v1/chat/completions")


async def test_a_teams_token(pool: Pool) -> None:
    await rows(pool, tenants.TEAMS, {"team_id": "t", "models": ["gpt-4o"]})
    desk = Desk(pool, ClaimFields(team_id="team"))
    access = await desk.access(team="t")
    assert (access.caller.team, access.caller.user, access.role) == ("t", "", Role.TEAM)
    assert access.scopes == (Scope("team", ("gpt-4o",)),)
    assert Rights().may_infer(access)
    with pytest.raises(Refused):
        Rights().check(access, "POST", "/key/generate")
    assert await desk.refused(team="none") is Kind.UNAUTHENTICATED
    assert await desk.refused() is Kind.UNAUTHENTICATED


async def test_a_team_that_is_not_known(pool: Pool) -> None:
    fields = ClaimFields(user_id="sub", team_id="team")
    await rows(pool, tenants.USERS, {"user_id": "ada"})
    added = await Desk(pool, fields, team_upsert=True).access(team="new")
    assert added.caller.team == "new"
    assert await tenants.find(pool, tenants.TEAMS, "new") is not None
    fallen = await Desk(pool, fields, team_fallback=True).access(team="none")
    assert (fallen.caller.team, fallen.caller.user) == ("", "ada")


async def test_a_team_by_its_alias(pool: Pool) -> None:
    await rows(
        pool,
        tenants.TEAMS,
        {"team_id": "t", "team_alias": "The Team"},
        {"team_id": "u", "team_alias": "Twice"},
        {"team_id": "v", "team_alias": "Twice"},
    )
    await rows(pool, tenants.ORGANIZATIONS, {"organization_id": "o", "organization_alias": "The Org"})
    desk = Desk(pool, ClaimFields(team_alias="alias", org_alias="org"))
    access = await desk.access(alias="The Team", org="The Org")
    assert (access.caller.team, access.caller.organization) == ("t", "o")
    assert await desk.refused(alias="Twice") is Kind.UNAUTHENTICATED
    assert await desk.refused(alias="none") is Kind.UNAUTHENTICATED


async def test_of_several_groups_the_first_that_is_a_team_or_that_suits(pool: Pool) -> None:
    await rows(pool, tenants.USERS, {"user_id": "ada"})
    await rows(pool, tenants.TEAMS, {"team_id": "b", "models": ["x"]}, {"team_id": "c", "models": ["y"]})
    desk = Desk(pool, ClaimFields(user_id="sub", team_ids="groups"))
    given = token(groups=["a", "b", "c"])
    first = await desk.tokens.access_of(given)
    assert (first.caller.team, first.caller.user) == ("b", "ada")
    assert Rights().may_infer(first)
    Rights().check(first, "POST", "/key/generate")

    def suits(access: Access) -> bool:
        return Scope("team", ("y",)) in access.scopes

    assert (await desk.tokens.access_of(given, suits=suits)).caller.team == "c"
    assert (await desk.tokens.access_of(given, suits=lambda _: False)).caller.team == "b"
    assert (await desk.tokens.access_of(given, "c")).caller.team == "c"
    assert await desk.refused("a", groups=["a", "b", "c"]) is Kind.FORBIDDEN
    assert await desk.refused("d", groups=["a", "b", "c"]) is Kind.FORBIDDEN


async def test_without_a_claim_the_users_own_team(pool: Pool) -> None:
    await rows(pool, tenants.USERS, {"user_id": "ada"}, {"user_id": "bob"})
    await rows(pool, tenants.TEAMS, {"team_id": "t"}, {"team_id": "u"})
    members = [("t", "ada"), ("t", "bob"), ("u", "bob")]
    await rows(pool, tenants.TEAM_MEMBERS, *({"team_id": team, "user_id": user} for team, user in members))
    desk = Desk(pool, USER)
    assert (await desk.access(sub="ada")).caller.team == "t"
    assert (await desk.access(sub="bob")).caller.team == ""
    any = Desk(pool, USER, team_of_user=True)
    assert (await any.access(sub="bob")).caller.team == "t"
    assert (await any.access("u", sub="bob")).caller.team == "u"
    assert await Desk(pool, USER, team_needed=True).refused(sub="bob") is Kind.FORBIDDEN


async def test_roles_and_memberships_follow_the_claims_when_that_is_wanted(pool: Pool) -> None:
    await rows(pool, tenants.USERS, {"user_id": "ada", "user_role": "internal_user"})
    await rows(pool, tenants.TEAMS, {"team_id": "old"}, {"team_id": "new"})
    await rows(pool, tenants.TEAM_MEMBERS, {"team_id": "old", "user_id": "ada"})
    await rows(pool, tenants.KEYS, {"key_id": "k", "key_name": "sk-...", "user_id": "ada", "team_id": "old"})
    fields = ClaimFields(user_id="sub", team_ids="groups", roles="roles")
    desk = Desk(pool, fields, role_sync=True, role_map=(("view-*", "proxy_admin_viewer"),))
    access = await desk.access(groups=["new"], roles=["view-all"])
    assert (access.role, access.teams) == (Role.VIEWER, frozenset({"new"}))
    assert frozenset({"user:ada"}) in desk.told
    assert frozenset({"user:ada", "team:old", "team:new"}) in desk.told
    log = [(entry["action"], entry["entity_id"]) for entry in await audited(pool, actor="jwt")]
    assert sorted(log) == [("deleted", "k"), ("member_added", "new"), ("member_deleted", "old"), ("updated", "ada")]
    assert await tenants.find(pool, tenants.KEYS, "k") is None
    before = list(desk.told)
    desk.now += 61
    await desk.access(groups=["new"], roles=["view-all"])
    assert desk.told == before


async def test_who_comes_with_a_team_joins_it_when_that_is_wanted(pool: Pool) -> None:
    await rows(pool, tenants.USERS, {"user_id": "ada"})
    await rows(pool, tenants.TEAMS, {"team_id": "t"})
    await Desk(pool, ClaimFields(user_id="sub", team_id="team"), user_joins_team=True).access(team="t")
    assert await tenants.find(pool, tenants.TEAM_MEMBERS, "t", "ada") is not None


async def test_several_first_tokens_of_somebody_at_once_are_all_taken(pool: Pool) -> None:
    await rows(pool, tenants.TEAMS, {"team_id": "t"})
    fields = ClaimFields(user_id="sub", team_id="team")
    desks = [Desk(pool, fields, user_joins_team=True, user_upsert=True) for _ in range(4)]
    found = await asyncio.gather(*(desk.access(sub="ada", team="t") for desk in desks))
    assert [(access.caller.user, access.caller.team) for access in found] == [("ada", "t")] * 4


async def test_whom_a_token_brings_has_what_everybody_gets_who_is_new(pool: Pool) -> None:
    desk = Desk(
        pool,
        ClaimFields(user_id="sub", team_id="team"),
        UserRules({"rpm_limit": 7, "user_role": "proxy_admin"}),
        TeamRules({"max_budget": 5, "team_member_budget": 2, "default_team_member_models": ["m"]}),
        user_upsert=True,
        team_upsert=True,
        user_joins_team=True,
    )
    access = await desk.access(sub="ann", team="t")
    assert access.role is Role.USER_VIEWER
    assert {(budget.account.kind, budget.most) for budget in access.terms.budgets} == {("team", 5), ("member", 2)}
    assert {(rate.account.kind, rate.most) for rate in access.terms.rates} == {("user", 7)}
    assert access.scopes == (Scope("member", ("m",)),)
    assert [entry["actor"] for entry in await audited(pool, entity="team", id="t")] == ["jwt", "jwt"]
    assert await desk.refused(sub="ann", team="t" * 151) is Kind.FORBIDDEN
    internal = UserRules(internal_budget=Decimal(3))
    access = await Desk(pool, USER, internal, user_upsert=True).access(sub="bob")
    assert [(budget.account.kind, budget.most) for budget in access.terms.budgets] == [("user", 3)]


async def test_scopes_may_say_which_models(pool: Pool) -> None:
    await rows(pool, tenants.USERS, {"user_id": "ada"})
    desk = Desk(pool, USER, scope_models=(("small", ("mini",)), ("big", ("gpt", "claude"))))
    assert (await desk.access(scope="big small")).scopes == (Scope("user", ("mini", "gpt", "claude")),)
    assert (await desk.access(scope="openid")).scopes == (Scope("user", ("no-default-models",)),)


async def test_an_end_user_is_who_pays_too(pool: Pool) -> None:
    await rows(pool, tenants.USERS, {"user_id": "ada"})
    access = await Desk(pool, ClaimFields(user_id="sub", end_user_id="customer")).access(customer="acme")
    assert access.caller.end_user == "acme"


async def test_a_token_is_remembered_for_a_minute_but_not_beyond_its_end(pool: Pool) -> None:
    await rows(pool, tenants.USERS, {"user_id": "ada"})
    desk = Desk(pool, USER, leeway=0.0)
    given = token(exp=NOW + 90)
    first = await desk.tokens.access_of(given)
    assert first.expires == NOW + 90
    looked = desk.found
    for _ in range(3):
        assert await desk.tokens.access_of(given) is first
    assert desk.found == looked
    desk.now = NOW + 61
    await desk.tokens.access_of(given)
    assert desk.found > looked
    desk.now = NOW + 90
    with pytest.raises(Refused, match="Expired"):
        await desk.tokens.access_of(given)


async def test_what_is_remembered_is_void_when_its_entities_change(pool: Pool) -> None:
    await rows(pool, tenants.USERS, {"user_id": "ada"})
    await rows(pool, tenants.TEAMS, {"team_id": "t"})
    desk = Desk(pool, ClaimFields(user_id="sub", team_id="team"))
    given = token(team="t")
    for name in ("user:ada", "team:t"):
        first = await desk.tokens.access_of(given)
        desk.tokens.forget(frozenset({"user:other", "team:other"}))
        assert await desk.tokens.access_of(given) is first
        desk.tokens.forget(frozenset({name, "key:x"}))
        assert await desk.tokens.access_of(given) is not first


async def test_nothing_is_looked_up_for_a_token_that_does_not_count(pool: Pool) -> None:
    desk = Desk(pool, USER, user_upsert=True)
    with pytest.raises(Refused):
        await desk.tokens.access_of(token("other", headers={"kid": "rsa"}, sub="mallory"))
    assert await tenants.count(pool, tenants.USERS, {}) == 0


@pytest.mark.parametrize("role", [Role.ORG_ADMIN, Role.USER, Role.USER_VIEWER])
def test_a_users_token_with_a_team_may_do_what_the_role_allows(role: Role) -> None:
    """`team_allowed_routes` are about calls of models alone."""
    covered = routes(_OF_A_ROLE).groups
    assert {group for group in Group if role in TABLE[group]} - covered <= {Group.OPEN, Group.INFERENCE}
    assert Group.INFERENCE not in covered
