"""From rows to `Access`: what a key, or somebody who has proved who he is, may do and must keep to."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from ledger.pool import Asked
from ledger.sql import query
from ledger.terms import (
    ByModel,
    Entities,
    Row,
    Rules,
    all_terms,
    model_terms,
    tag_terms,
    terms_by_model,
    terms_of,
    throttled_terms,
)
from schemas.access import TEAM_GONE, Access, Account, Role, Scope, Terms
from schemas.usage import Caller


async def find_key(on: Asked, hash: str, rules: Rules) -> Access | None:
    """The access behind a key's stored hash; None when there is no such key."""
    row = await on.fetchrow(query("access"), hash)
    return None if row is None else _access(dict(row), rules)


async def find_user(on: Asked, user: str | None, team: str | None, organization: str | None, rules: Rules) -> Access:
    """The access of somebody without a key. What is not stored of them limits nothing, and allows nothing special."""
    row = await on.fetchrow(query("access_of_user"), user, team, organization)
    assert row is not None
    found = _access(dict(row), rules)
    caller = msgspec.structs.replace(
        found.caller, user=user or "", team=team or "", organization=organization or found.caller.organization
    )
    return msgspec.structs.replace(found, caller=caller)


class Payer(NamedTuple):
    """A customer or a tag."""

    terms: Terms
    blocked: bool
    scope: Scope
    model_terms: tuple[ByModel, ...]


async def find_payers(
    on: Asked, customer: str, tags: Iterable[str], defaults: Sequence[str] = ()
) -> dict[Account, Payer]:
    """Those of these that there is something to know of.

    `defaults` are budgets of customers without one: the first that there is counts.
    """
    found = {}
    for row in await on.fetch(query("payers"), customer, list(tags), list(defaults)):
        account = Account(row["kind"], row["id"])
        named = f"End User={row['id']}" if row["kind"] == "customer" else f"Tag={row['id']}"
        budget = _json(row["budget"])
        by_model = terms_by_model(account, named, budget) if row["kind"] == "customer" else ()
        scope = Scope(row["kind"], tuple(row["models"]))
        found[account] = Payer(terms_of(account, named, budget), row["blocked"], scope, by_model)
    return found


async def payers_exist(on: Asked) -> tuple[bool, bool]:
    """Whether there are customers, and tags with a budget, at all."""
    row = await on.fetchrow(query("payers_exist"))
    assert row is not None
    return row["customers"], row["tags"]


def _access(row: Mapping[str, Any], rules: Rules) -> Access:
    all = Entities(*(_json(row[name]) for name in Entities._fields))
    key, team = all.key, all.team
    teams, organizations = _pairs(row["teams"]), _pairs(row["organizations"])
    return Access(
        caller=Caller(
            key_hash=key.get("key_id", ""),
            key_alias=key.get("key_alias") or "",
            user=key.get("user_id") or all.user.get("user_id", ""),
            team=key.get("team_id") or team.get("team_id", ""),
            organization=all.organization.get("organization_id") or key.get("organization_id") or "",
            tags=tuple(dict.fromkeys((*_tags(key), *_tags(team)))),
        ),
        role=_role(all.user),
        scopes=_scopes(all),
        terms=all_terms(all, rules),
        throttled=throttled_terms(all, rules),
        model_terms=model_terms(all),
        tag_terms=tag_terms(all),
        customer_budget=_customer_budget(key),
        budget_fallbacks=_fallbacks(key),
        aliases={**(team.get("extra") or {}).get("model_aliases", {}), **(key.get("aliases") or {})},
        enforced=_enforced(key, rules),
        expires=_moment(key.get("expires"), row["until"]),
        blocked=_blocked(key, team),
        routes=tuple(key.get("allowed_routes") or ()),
        teams=frozenset(name for name, _ in teams),
        admin_of_teams=frozenset(name for name, what in teams if what == "admin"),
        organizations=frozenset(name for name, _ in organizations),
        admin_of_organizations=frozenset(name for name, what in organizations if what == Role.ORG_ADMIN),
        depends=_depends(all),
        shown=key.get("key_name", ""),
        member_rights=frozenset((team.get("extra") or {}).get("team_member_permissions") or ()),
    )


def _enforced(key: Row, rules: Rules) -> tuple[str, ...]:
    own = (key.get("metadata") or {}).get("enforced_params")
    found = tuple(map(str, own)) if isinstance(own, list) else ()
    return (rules.enforced_of_services if key.get("service") else ()) + found


def _customer_budget(key: Row) -> str:
    found = (key.get("metadata") or {}).get("end_user_budget_id")
    return found if isinstance(found, str) else ""


def _role(user: Row) -> Role:
    """Somebody who is stored without a role is an internal user."""
    try:
        return Role(user.get("user_role") or (Role.USER if user else Role.NONE))
    except ValueError:
        return Role.NONE


def _blocked(key: Row, team: Row) -> str:
    """Of a team that is gone nobody knows what it allowed and had left: its keys do not go on without limits."""
    if key.get("blocked"):
        return "key"
    if team.get("blocked"):
        return f"team {team['team_id']}"
    return f"{TEAM_GONE}{key['team_id']}" if key.get("team_id") and not team else ""


def _scopes(all: Entities) -> tuple[Scope, ...]:
    """A key's `all-team-models` is what its team allows; a user's own models are for keys without a team."""
    own = tuple(all.key.get("models") or all.key_budget.get("allowed_models") or ())
    found = [
        Scope("key", () if "all-team-models" in own else own),
        Scope("team", tuple(all.team.get("models") or ())),
        Scope("user", () if all.team else tuple(all.user.get("models") or ())),
        Scope("member", tuple(all.member_budget.get("allowed_models") or ())),
        Scope("organization", tuple(all.organization.get("models") or ())),
    ]
    return tuple(scope for scope in found if scope.models)


def _depends(all: Entities) -> frozenset[str]:
    linked = (all.key, all.organization, all.member, all.organization_member, all.member_default)
    names = [
        ("key", all.key.get("key_id")),
        ("team", all.key.get("team_id") or all.team.get("team_id")),
        ("user", all.key.get("user_id") or all.user.get("user_id")),
        ("organization", all.organization.get("organization_id") or all.key.get("organization_id")),
        *(("budget", row.get("budget_id")) for row in linked),
    ]
    return frozenset(f"{kind}:{name}" for kind, name in names if name)


def _moment(expires: str | None, until: datetime | None) -> float | None:
    """The earlier of a key's end and that of its old secret's grace."""
    ends = [datetime.fromisoformat(expires).timestamp()] if expires else []
    ends += [until.timestamp()] if until is not None else []
    return min(ends, default=None)


def _tags(row: Row) -> list[str]:
    found = (row.get("metadata") or {}).get("tags")
    return [str(one) for one in found] if isinstance(found, list) else []


def _fallbacks(key: Row) -> dict[str, tuple[str, ...]]:
    found = (key.get("extra") or {}).get("budget_fallbacks")
    given = found.items() if isinstance(found, dict) else ()
    return {model: tuple(map(str, others)) for model, others in given if isinstance(others, list)}


def _json(text: str | None) -> dict[str, Any]:
    return {} if text is None else _DECODER.decode(text)


def _pairs(text: str | None) -> list[tuple[str, str | None]]:
    return [] if text is None else _PAIRS.decode(text)


_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_PAIRS = msgspec.json.Decoder(list[tuple[str, str | None]])
