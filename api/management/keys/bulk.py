"""Many keys changed at once, each on its own: what could be changed, and what could not and why."""

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from api.management.fields import Body, Json, Name
from api.management.keys import changing, rights
from api.management.keys.bodies import MOST, ChangedKey, Naming, words
from api.management.keys.desk import Work
from api.management.keys.rights import Act
from api.management.office import forbidden
from ledger import key_listing, tenants
from ledger import keys as stored_keys
from ledger.key_listing import Filter, Sight
from ledger.pages import Slice
from schemas.failures import Kind, Refused

_OF_TEAM = words(
    """max_budget budget_id budget_duration budget_limits model_max_budget tpm_limit rpm_limit model_tpm_limit
    model_rpm_limit max_parallel_requests rpm_limit_type tpm_limit_type temp_budget_increase temp_budget_expiry
    duration tags metadata"""
)
"""What can be changed of all keys of a team: no owner, no scope, no spend."""


class ManyChanges(Body):
    """The body of `/key/bulk_update`. Each is judged on its own when its turn comes."""

    keys: list[Json] = Field(min_length=1, max_length=MOST, repr=False)


class TeamChange(Body):
    """The body of `/team/key/bulk_update`: one change for many keys of a team."""

    model_config = ConfigDict(extra="forbid")

    team_id: Name
    key_ids: Annotated[list[Naming], Field(max_length=MOST)] | None = Field(default=None, repr=False)
    all_keys_in_team: bool = False
    update_fields: Annotated[Json, Field(min_length=1)]

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.key_ids) == self.all_keys_in_team:
            raise ValueError("either key_ids or all_keys_in_team is wanted")
        strange = sorted(self.update_fields.keys() - _OF_TEAM)
        if strange:
            raise ValueError(f"{strange[0][:100]} cannot be changed for many keys")
        return self


async def update(work: Work, body: ManyChanges) -> dict[str, Any]:
    """Change these keys as each item says; that is for proxy admins."""
    if not work.access.is_admin:
        raise forbidden("change keys in bulk")
    return await _each(work, body.keys)


async def update_team(work: Work, body: TeamChange) -> dict[str, Any]:
    """Change keys of a team alike: those named, or all that are neither blocked nor expired. At most `MOST`."""
    rights.may_change_anything(work)
    pepper = await changing.peppered(work)
    with work.office.reading() as pool:
        team = await tenants.find(pool, tenants.TEAMS, body.team_id)
        if not (await rights.standing(pool, work, team)).may(Act.UPDATE):
            raise forbidden(f"change keys of team '{body.team_id}'")
        if body.all_keys_in_team:
            wanted = Filter(work.office.now(), team=body.team_id, status="active")
            total, named = await key_listing.find(pool, Sight(everything=True), wanted, Slice(MOST))
            if total > MOST:
                message = f"The team has more than {MOST} keys: name them, {MOST} at a time."
                raise Refused(Kind.INVALID_REQUEST, message, param="all_keys_in_team")
        else:
            named = list(dict.fromkeys(body.key_ids or ()))
        ids = await stored_keys.identify(pool, pepper, named, work.office.now())
        rows = await tenants.matching(
            pool, tenants.KEYS, {"key_id": list(ids.values()), "team_id": body.team_id}, limit=MOST
        )
    if not named:
        raise Refused(Kind.NOT_FOUND, "There is no such key in the team.", param="key_ids")
    there = {row["key_id"] for row in rows}
    return await _each(
        work,
        ({"key": one if ids.get(one) in there else "", **body.update_fields} for one in named),
        named,
    )


async def _each(work: Work, changes: Iterable[Json], names: list[str] | None = None) -> dict[str, Any]:
    changed: list[Json] = []
    failed: list[Json] = []
    for number, one in enumerate(changes):
        name = one.get("key") if names is None else names[number]
        try:
            changed.append({"key": name, "key_info": await _change_one(work, one)})
        except Refused as refusal:
            if refusal.failure.kind is Kind.LEDGER_DOWN:
                raise
            failed.append({"key": name, "key_info": None, "failed_reason": refusal.failure.message})
    return {
        "total_requested": len(changed) + len(failed),
        "successful_updates": changed,
        "failed_updates": failed,
    }


async def _change_one(work: Work, fields: Json) -> dict[str, Any]:
    if fields.get("key") == "":
        raise Refused(Kind.NOT_FOUND, "Key not found.", param="key")
    try:
        body = ChangedKey.model_validate(fields)
    except ValidationError as problem:
        first = problem.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(Kind.INVALID_REQUEST, f"{where}: {first['msg']}", param=where or None) from None
    return await changing.update(work, body)
