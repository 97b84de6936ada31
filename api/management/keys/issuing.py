"""A new key: for a user, for a team, or for a service that no user is behind."""

import secrets
from typing import Any

from api.management.keys import guarded, limits, rights, stricter, terms
from api.management.keys.bodies import NewKey
from api.management.keys.changing import spend_as_asked
from api.management.keys.desk import Work
from api.management.keys.rights import Act
from api.management.keys.shown import shown
from api.management.metadata import recorded
from api.management.office import forbidden
from ledger import keys as stored_keys
from ledger import tenants
from ledger.pool import Asked
from ledger.tenants import Row
from schemas.failures import Kind, Refused

_SERVICE = "service_account_id"


async def issue(work: Work, body: NewKey, act: Act = Act.GENERATE) -> dict[str, Any]:
    """Make a key; it as it is shown, with its secret in `key`, which nobody is ever told again. Fills `body` in.

    Raises `Refused`: 403 for what the caller may not, 400 for what cannot be.
    """
    service = act is Act.SERVICE
    if not work.access.is_admin and not service and body.user_id is None:
        body.user_id = work.user or None
    with work.office.reading():
        pepper = await work.keys.pepper()
    async with work.office.change(work.access) as change:
        on = change.connection
        team = await _team(on, body, act)
        await rights.may_generate(on, work, body, team, act)
        await _may_have(on, work, body, team)
        said = stricter.said(body)
        limits.with_defaults(body, work.keys.rules)
        limits.within_bounds(body, work.keys.rules)
        team = team or await _named(on, body)
        secret = body.key or work.keys.secret()
        values = terms.values_of(work, body, None) | {"key_name": terms.name_of(secret)}
        values |= {"created_by": work.actor, "updated_by": work.actor}
        _as_service(values, service)
        limits.in_teams_organization(values, team)
        await _inherit(on, work, values, said, team)
        await limits.guaranteed(on, values, team)
        row = await stored_keys.add(on, pepper.hash(secret.encode()), values)
        if body.spend:
            await spend_as_asked(on, work, body, row)
        await change.record("created", "key", row["key_id"], None, recorded(row))
        found = (await shown(on, work.office, [row]))[0]
    return with_secret(found, secret)


def with_secret(key: dict[str, Any], secret: str) -> dict[str, Any]:
    """A key as `/key/generate` answers it, the fields of its metadata at the top too."""
    return {**key, "key": secret, "token_id": key["token"], "tags": key["metadata"].get("tags")}


async def _team(on: Asked, body: NewKey, act: Act) -> Row | None:
    """The key's team. 400 when a service key has none."""
    if body.team_id is None:
        if act is Act.SERVICE or (body.metadata or {}).get(_SERVICE) is not None:
            raise Refused(Kind.INVALID_REQUEST, "team_id is required for service account keys.", param="team_id")
        return None
    return await _named(on, body)


async def _named(on: Asked, body: NewKey) -> Row | None:
    """The team that a request, or the rules for keys, name: a 400 when it is not there, its key could call nothing."""
    team = await limits.team_of(on, body.team_id, (body.metadata or {}) | body.in_metadata())
    if team is None and body.team_id is not None:
        raise Refused(Kind.INVALID_REQUEST, f"There is no team '{body.team_id}'.", param="team_id")
    return team


async def _may_have(on: Asked, work: Work, body: NewKey, team: Row | None) -> None:
    """What is asked for, the caller may give, and it is there. Before the rules fill in what he has not asked for."""
    if body.key is not None and not work.keys.rules.custom:
        raise forbidden("choose a key: keys are generated here")
    role = None if team is None else await rights.standing(on, work, team)
    guarded.may_set_routes(work, body, None)
    guarded.may_set_fields(work, body, None, role)
    guarded.metadata(work, body, {})
    await limits.below_ones_own(on, work, body)
    limits.known_alias(body.key_alias, work.keys.rules)
    await limits.names_what_there_is(on, body.key_alias, body.budget_id)
    if body.organization_id is not None:
        await rights.may_assign_organization(on, work, body.organization_id, team)
    if team is not None and not work.access.is_admin:
        limits.models_of_team(work, body.models or [], team)


async def _inherit(on: Asked, work: Work, values: dict[str, Any], said: frozenset[str], team: Row | None) -> None:
    """A key that makes one for its own user or team gives it no more than it has itself; one in charge gives any."""
    where = {"team_id": values.get("team_id"), "organization_id": values.get("organization_id")}
    if rights.in_charge(work, where, team):
        return
    own = await tenants.find(on, tenants.KEYS, work.access.caller.key_hash)
    if own is not None:
        budget = own["budget_id"] and await tenants.find(on, tenants.BUDGETS, own["budget_id"])
        stricter.hand_on(values, said, stricter.effective(own, budget or None), work.keys.within)


def _as_service(values: dict[str, Any], service: bool) -> None:
    """A service key has no user, and a name in its metadata, which makes it one as well."""
    metadata = values["metadata"]
    if service:
        values["user_id"] = None
        if metadata.get(_SERVICE) is None:
            values["metadata"] = metadata | {_SERVICE: values.get("key_alias") or secrets.token_hex(16)}
    values["service"] = values["metadata"].get(_SERVICE) is not None
