"""Which team a caller may change, and what its organization, or the caller's own role, lets it become."""

from collections.abc import Iterable, Mapping
from typing import Any

from api.management.office import forbidden, missing
from ledger import tenants
from ledger.pool import Asked
from ledger.tenants import Row
from schemas.access import Access
from schemas.failures import Kind, Refused

ALL_MODELS = "all-proxy-models"
NO_MODELS = "no-default-models"
_BOUNDED = ("max_budget", "tpm_limit", "rpm_limit")
_NOT_VALUES = frozenset({"metadata", "extra", "updated_by"})


async def managed(on: Asked, access: Access, team_id: str, *, lock: bool = False, absent: Kind = Kind.NOT_FOUND) -> Row:
    """The team, if the caller may change it. Raises `Refused`: FORBIDDEN, and `absent` to admins when there is none.

    To everybody else a team that is not there looks like one that is not theirs.
    """
    row = await tenants.find(on, tenants.TEAMS, team_id, lock=lock)
    if row is None and access.is_admin:
        raise absent_team(team_id, absent)
    if row is None or not access.manages_team(team_id, row["organization_id"]):
        raise forbidden(f"change the team '{team_id}'")
    return row


async def governed(on: Asked, access: Access, team_id: str) -> Row:
    """The team, locked, if the caller stands above it, see `governs`. Raises `Refused` as `managed` does."""
    row = await managed(on, access, team_id, lock=True)
    if not governs(access, row["organization_id"]):
        raise forbidden(f"change the team '{team_id}', which it is only the admin of")
    return row


def absent_team(team_id: str, kind: Kind = Kind.NOT_FOUND) -> Refused:
    """There is no such team."""
    if kind is Kind.NOT_FOUND:
        return missing("team", team_id)
    return Refused(kind, f"There is no team '{team_id}'.", param="team_id")


def governs(access: Access, organization: str | None) -> bool:
    """Whether the caller stands above the teams of this organization, and is not only one team's admin."""
    return access.is_admin or (organization is not None and organization in access.admin_of_organizations)


def check_team_admin(access: Access, row: Row, values: Mapping[str, Any], editable: Iterable[str]) -> None:
    """A team's own admin changes what the settings let him (LiteLLM: nothing), and never lifts its budget."""
    if governs(access, row["organization_id"]):
        return
    changed = {name for name in values.keys() - _NOT_VALUES if values[name] != row[name]}
    changed |= {name for name in ("metadata", "extra") if values.get(name, row[name]) != row[name]}
    if refused := sorted(changed - set(editable)):
        raise forbidden(f"change {refused[0]} of a team that it is the admin of")
    check_not_lifted(row, values)


def check_not_lifted(row: Row, values: Mapping[str, Any]) -> None:
    """A budget or a limit that is set may be lowered, not raised or taken away."""
    for name in _BOUNDED:
        limit = row[name]
        if name in values and limit is not None and (values[name] is None or values[name] > limit):
            raise forbidden(f"raise {name} of the team '{row['team_id']}'")


def check_budgets(values: Mapping[str, Any], row: Row | None = None) -> None:
    """A soft budget is below the hard one."""
    known = {**(row or {}), **values}
    soft, most = known.get("soft_budget"), known.get("max_budget")
    if {"soft_budget", "max_budget"} & values.keys() and soft is not None and most is not None and soft >= most:
        raise Refused(
            Kind.INVALID_REQUEST, f"soft_budget ({soft}) must be lower than max_budget ({most}).", param="soft_budget"
        )


async def check_organization(on: Asked, organization_id: str, values: Mapping[str, Any]) -> None:
    """What is set keeps to the organization's models and terms. Raises `Refused(INVALID_REQUEST)`."""
    organization = await tenants.find(on, tenants.ORGANIZATIONS, organization_id)
    if organization is None:
        raise Refused(Kind.INVALID_REQUEST, f"There is no organization '{organization_id}'.", param="organization_id")
    check_models(organization, values.get("models") or [])
    if organization["budget_id"] is None:
        return
    budget = await tenants.find(on, tenants.BUDGETS, organization["budget_id"]) or {}
    for name in _BOUNDED:
        most, value = budget.get(name), values.get(name)
        if most is not None and value is not None and value > most:
            raise Refused(Kind.INVALID_REQUEST, f"{name} ({value}) is above the organization's ({most}).", param=name)


def check_models(organization: Row, models: Iterable[str]) -> None:
    """A team's models are among its organization's. Raises `Refused(INVALID_REQUEST)`."""
    allowed = organization["models"]
    if not allowed or ALL_MODELS in allowed:
        return
    for model in models:
        if model not in allowed and model != NO_MODELS:
            raise Refused(
                Kind.INVALID_REQUEST, f"The model '{model}' is not among the organization's models.", param="models"
            )
