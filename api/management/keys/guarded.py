"""Which fields of a key only its admins may change, and which only a proxy admin."""

from collections.abc import Mapping
from typing import Any

from api.management.fields import Json
from api.management.keys.bodies import ROUTES_OF, KeyTerms, KeyType
from api.management.keys.desk import Work
from api.management.keys.rights import ACCESS_GROUPS, Standing
from api.management.office import forbidden
from ledger.tenants import Row
from schemas.failures import Kind, Refused

_ADMINS_METADATA = (
    "throttle_on_budget_exceeded",
    "disable_global_guardrails",
    "end_user_budget_id",
    "default_estimated_output_tokens",
    "default_estimated_output_tokens_per_model",
    "enforced_batch_output_expires_after",
    "enforced_file_expires_after",
    "allowed_passthrough_routes",
    "denied_passthrough_routes",
)
_BUDGET = ("max_budget", "soft_budget", "budget_duration", "budget_id", "budget_limits", "model_max_budget")
_RAISE = ("temp_budget_increase", "temp_budget_expiry")
_SAFE_ROUTES = frozenset({"llm_api_routes", "info_routes"})
_SERVICE = "service_account_id"


def routes(body: KeyTerms) -> list[str] | None:
    """The `allowed_routes` that a request wants: as it says, or what its `key_type` stands for. None: says nothing."""
    if "allowed_routes" in body.model_fields_set:
        return body.allowed_routes or []
    if body.key_type is None:
        return None
    return ROUTES_OF.get(body.key_type, [])


def may_set_routes(work: Work, body: KeyTerms, stored: Row | None) -> None:
    """A proxy admin may; others choose between presets, and neither widen a read-only key nor undo an admin's list."""
    wanted = routes(body)
    if work.access.is_admin or wanted is None:
        return
    if stored is None:
        if "allowed_routes" in body.model_fields_set or body.key_type is KeyType.MANAGEMENT:
            raise forbidden("set allowed_routes: key_type has presets")
        return
    before, after = frozenset(stored["allowed_routes"]), frozenset(wanted)
    widened = before == {"info_routes"} and after != before
    if before != after and (widened or not before | after <= _SAFE_ROUTES):
        raise forbidden("set allowed_routes")


def may_set_fields(work: Work, body: KeyTerms, stored: Row | None, team: Standing | None) -> None:
    """`permissions` are for proxy admins, access groups for members whose team grants it.

    So is a raised budget of a new key, and of any where budgets are bounded: it would be above whatever bounds them.
    """
    if work.access.is_admin:
        return
    said, known = (body.metadata or {}) | body.in_metadata(), {} if stored is None else stored["metadata"]
    raises = any(said.get(name) not in (None, known.get(name)) for name in _RAISE)
    if raises and (stored is None or work.keys.rules.bounds.max_budget is not None):
        raise forbidden("raise this budget for a while")
    if "permissions" in body.model_fields_set:
        raise forbidden("set permissions")
    before = {} if stored is None else stored["extra"]
    groups = set(body.access_group_ids or ()) - set(before.get("access_group_ids") or ())
    if groups and (team is None or not team.may(ACCESS_GROUPS)):
        raise forbidden(f"give a key access groups: members of its team need the permission {ACCESS_GROUPS}")


def metadata(work: Work, body: KeyTerms, stored: Json) -> Json:
    """The key's metadata after the request.

    Who is no proxy admin leaves the fields as they are that are his; raises a 403 when they would change, and a 400
    when the id of a service account would.
    """
    given = stored if "metadata" not in body.model_fields_set else body.metadata or {}
    found = given | body.in_metadata()
    for name in (_SERVICE,) if work.access.is_admin else (_SERVICE, *_ADMINS_METADATA):
        if name not in stored:
            if name in found and found[name] not in (None, False) and name != _SERVICE:
                raise forbidden(f"set {name}")
            continue
        if name in found and found[name] != stored[name]:
            if name == _SERVICE:
                raise Refused(Kind.INVALID_REQUEST, f"{_SERVICE} cannot be changed.", param=_SERVICE)
            raise forbidden(f"set {name}")
        found = found | {name: stored[name]}
    return found


def changes_budget(values: Mapping[str, Any], body: KeyTerms, stored: Row) -> bool:
    """Whether a request changes what the key may spend, or what it has spent."""
    if body.spend is not None:
        return True
    after = values.get("metadata", stored["metadata"])
    return any(name in values and values[name] != stored[name] for name in _BUDGET) or any(
        after.get(name) != stored["metadata"].get(name) for name in _RAISE
    )
