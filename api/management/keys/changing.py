"""A key gets other terms: one's own within limits, those that one administers as one likes."""

from typing import Any

from api.management.fields import Json
from api.management.keys import guarded, limits, rights, stricter, terms
from api.management.keys.bodies import ChangedKey, KeyTerms, One
from api.management.keys.desk import Work
from api.management.keys.rights import Act
from api.management.keys.shown import period_of, shown
from api.management.metadata import recorded
from api.management.office import Change, forbidden
from api.management.spending import set_spend
from ledger import keys as stored_keys
from ledger import tenants
from ledger.pepper import Pepper
from ledger.pool import Connection
from ledger.tenants import Row
from schemas.access import Account
from schemas.failures import Kind, Refused


async def peppered(work: Work) -> Pepper:
    """The pepper. Raises `Refused` as reading does."""
    with work.office.reading():
        return await work.keys.pepper()


async def wanted(on: Connection, work: Work, pepper: Pepper, given: str | None, alias: str | None = None) -> Row:
    """The key that is named, by itself or its alias, locked until the transaction ends; else a 404.

    It does not repeat what was given: that may be a key.
    """
    row = None
    if given is not None:
        row = await stored_keys.named(on, pepper, given, work.office.now(), lock=True)
    elif alias is not None:
        found = await tenants.matching(on, tenants.KEYS, {"key_alias": alias}, limit=1)
        row = await tenants.find(on, tenants.KEYS, found[0]["key_id"], lock=True) if found else None
    if row is None:
        raise Refused(Kind.NOT_FOUND, "Key not found.", param="key" if given is not None else "key_alias")
    return row


async def update(work: Work, body: ChangedKey) -> dict[str, Any]:
    """Change the fields that are given; the key as it is shown, `key` as it was named."""
    pepper = await peppered(work)
    async with work.office.change(work.access) as change:
        on = change.connection
        before = await wanted(on, work, pepper, body.key, body.key_alias)
        values = await revised(change, work, body, before, Act.UPDATE)
        row = await tenants.change(on, tenants.KEYS, [before["key_id"]], values)
        assert row is not None
        await change.record("updated", "key", row["key_id"], recorded(before), recorded(row))
        await spend_as_asked(on, work, body, row)
        found = (await shown(on, work.office, [row]))[0]
    return {**found, "key": body.key or row["key_id"]}


async def set_blocked(work: Work, body: One, blocked: bool) -> dict[str, Any]:
    """Block a key, or let it be used again; the key as it is shown. That is for its admins, not for its owner."""
    pepper = await peppered(work)
    async with work.office.change(work.access) as change:
        on = change.connection
        before = await wanted(on, work, pepper, body.key)
        await rights.must_be_in_charge(on, work, before, "block or unblock this key")
        values = {"blocked": blocked, "updated_by": work.actor}
        row = await tenants.change(on, tenants.KEYS, [before["key_id"]], values)
        assert row is not None
        action = "blocked" if blocked else "unblocked"
        await change.record(action, "key", row["key_id"], recorded(before), recorded(row))
        return (await shown(on, work.office, [row]))[0]


async def spend_as_asked(on: Connection, work: Work, body: KeyTerms, row: Row) -> None:
    """What a request says has been spent is what has been."""
    if body.spend is None:
        return
    budget = row["budget_id"] and await tenants.find(on, tenants.BUDGETS, row["budget_id"])
    account, period = Account("key", row["key_id"]), period_of(row, budget or None)
    await set_spend(on, work.office, account, body.spend, period)


async def revised(change: Change, work: Work, body: KeyTerms, before: Row, act: Act) -> Json:
    """The columns that a request changes, once it is sure that the caller may and that they can be. Else `Refused`."""
    on = change.connection
    charge = await rights.may_touch(on, work, before, act)
    values = terms.values_of(work, body, before)
    if not work.access.is_admin and values.get("user_id", before["user_id"]) != before["user_id"]:
        raise forbidden("give this key to another user, or to none")
    if body.project_id is not None and body.project_id != before["extra"].get("project_id"):
        raise Refused(Kind.INVALID_REQUEST, "A key cannot be moved to another project.", param="project_id")
    after: Row = before | values
    guarded.may_set_routes(work, body, before)
    team = await limits.team_of(on, after["team_id"], after["metadata"])
    moves = after["team_id"] != before["team_id"]
    if moves:
        limits.in_teams_organization(values, team)
    if not charge:
        await _stricter(on, work, body, before, values)
    if moves:
        await _may_move(on, work, after, team)
    limits.in_teams_organization(values, team)
    guarded.may_set_fields(work, body, before, await rights.standing(on, work, team))
    if team is not None and "models" in values and not work.access.is_admin:
        limits.models_of_team(work, values["models"], team)
    await _fits(on, work, body, before, values, team)
    return values | {"updated_by": work.actor}


async def _stricter(on: Connection, work: Work, body: KeyTerms, before: Row, values: Json) -> None:
    """An owner changes nothing of his key's budgets, and its limits only to stricter ones."""
    if guarded.changes_budget(values, body, before):
        raise forbidden("change what this key may spend: that is for its admins")
    values["metadata"] = stricter.kept(values["metadata"], before["metadata"])
    budget = before["budget_id"] and await tenants.find(on, tenants.BUDGETS, before["budget_id"])
    was, will_be = (stricter.effective(row, budget or None) for row in (before, before | values))
    name = stricter.loosened(was, will_be, work.keys.within)
    if name is not None:
        raise forbidden(f"raise or take away {name} of this key: that is for its admins")


async def _fits(on: Connection, work: Work, body: KeyTerms, before: Row, values: Json, team: Row | None) -> None:
    """What is changed is within bounds and names what there is."""
    changed = {name: value for name, value in values.items() if value is not None and value != before[name]}
    limits.within_bounds(body, work.keys.rules, before)
    limits.known_alias(changed.get("key_alias"), work.keys.rules)
    await limits.names_what_there_is(on, changed.get("key_alias"), changed.get("budget_id"), before["key_id"])
    if body.organization_id is not None and "organization_id" in changed:
        await rights.may_assign_organization(on, work, body.organization_id, team)
    await limits.guaranteed(on, before | values, team, before["key_id"])


async def _may_move(on: Connection, work: Work, after: Row, team: Row | None) -> None:
    """Into another team, or none: a team that has the key's models, user and limits."""
    if after["team_id"] is None:
        return
    if team is None:
        raise Refused(Kind.INVALID_REQUEST, "There is no such team.", param="team_id")
    if not (await rights.standing(on, work, team)).may(Act.UPDATE):
        raise forbidden(f"move a key to team '{team['team_id']}'")
    user = after["user_id"]
    if user is not None and await tenants.find(on, tenants.TEAM_MEMBERS, team["team_id"], user) is None:
        raise forbidden(f"move this key to team '{team['team_id']}': its user is not a member")
    limits.models_of_team(work, after["models"], team)
    for name in ("tpm_limit", "rpm_limit"):
        if after[name] is not None and team[name] is not None and after[name] > team[name]:
            raise forbidden(f"have a {name} of {after[name]} in team '{team['team_id']}', which has {team[name]}")
