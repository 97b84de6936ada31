"""LiteLLM's rows of budgets, organizations, users, teams, customers and tags as rows of ours."""

from collections.abc import Mapping
from typing import Any

from ledger.litellm.source import Row
from ledger.litellm.spend import Spending
from ledger.litellm.values import (
    Calendar,
    Say,
    count,
    fields,
    listed,
    metadata,
    model_budgets,
    moment,
    money,
    name,
    names,
    present,
    spent,
    windows,
)
from schemas.access import Account, Role

PROXY = "litellm-proxy-budget"
"""The user that stands for the whole proxy there."""


def stamps(row: Row) -> Row:
    """When and by whom."""
    return {
        "created_at": moment(row.get("created_at")),
        "created_by": name(row.get("created_by")),
        "updated_at": moment(row.get("updated_at")),
        "updated_by": name(row.get("updated_by")),
    }


def terms(row: Row, calendar: Calendar, say: Say) -> Row:
    """The columns of a budget and of limits."""
    return {
        "max_budget": money(row.get("max_budget")),
        "soft_budget": money(row.get("soft_budget")),
        "budget_duration": calendar.period(row.get("budget_duration"), say),
        "model_max_budget": model_budgets(row.get("model_max_budget"), calendar, say),
        "rpm_limit": count(row.get("rpm_limit")),
        "tpm_limit": count(row.get("tpm_limit")),
        "tpd_limit": count(row.get("tpd_limit")),
        "max_parallel_requests": count(row.get("max_parallel_requests")),
    }


def spending(account: Account, row: Row, total: Any, *budgets: Row) -> Spending:
    """What a row says was spent. `budgets`: the mapped rows whose terms count, the first before the others."""
    window = spent(row.get("spend"))
    limited = [one for one in budgets if one.get("max_budget") is not None or one.get("soft_budget") is not None]
    periods = [one["budget_duration"] for one in budgets if one.get("budget_duration")]
    ends = [one["ends"] for one in budgets if one.get("ends") is not None]
    period = (periods[0] if periods else "") if limited or periods else None
    return Spending(account, max(window, spent(total)), window, period, ends[0] if ends else None)


def budget(row: Row, calendar: Calendar, say: Say) -> Row:
    """A budget."""
    expiry = moment(row.get("temp_budget_expiry"))
    extra = present(
        temp_budget_increase=money(row.get("temp_budget_increase")),
        temp_budget_expiry=None if expiry is None else expiry.isoformat(),
    )
    return {
        "budget_id": row["budget_id"],
        "allowed_models": names(row.get("allowed_models")),
        "extra": extra,
        **terms(row, calendar, say),
        **stamps(row),
    }


def organization(row: Row, permission: Row | None, say: Say) -> Row:
    """An organization."""
    return {
        "organization_id": row["organization_id"],
        "organization_alias": row.get("organization_alias") or "",
        "budget_id": name(row.get("budget_id")),
        "models": names(row.get("models")),
        "metadata": metadata(row.get("metadata"), say),
        "extra": present_permission(permission),
        **stamps(row),
    }


def organization_member(row: Row) -> Row:
    """Somebody's place in an organization."""
    return {
        "organization_id": row["organization_id"],
        "user_id": row["user_id"],
        "user_role": name(row.get("user_role")),
        "budget_id": name(row.get("budget_id")),
        "created_at": moment(row.get("created_at")),
        "updated_at": moment(row.get("updated_at")),
    }


def user(row: Row, permission: Row | None, calendar: Calendar, say: Say) -> Row:
    """A user; the password is apart."""
    role = name(row.get("user_role"))
    if role is not None and role not in set(Role):
        say(f"the role '{role[:100]}' is not known here and allows nothing")
    extra = present(
        organization_id=name(row.get("organization_id")),
        allowed_cache_controls=names(row.get("allowed_cache_controls")),
        policies=names(row.get("policies")),
    )
    return {
        "user_id": row["user_id"],
        "user_alias": name(row.get("user_alias")),
        "user_email": name(row.get("user_email")),
        "user_role": role,
        "sso_user_id": name(row.get("sso_user_id")),
        "models": names(row.get("models")),
        "metadata": metadata(row.get("metadata"), say),
        "extra": extra | present_permission(permission),
        **terms(row, calendar, say),
        **stamps(row),
    }


def team(row: Row, aliases: Any, permission: Row | None, calendar: Calendar, say: Say) -> Row:
    """A team; `aliases` are those of its row in the table of models."""
    extra = present(
        model_aliases=fields(aliases, say, "model_aliases"),
        router_settings=fields(row.get("router_settings"), say, "router_settings"),
        team_member_permissions=names(row.get("team_member_permissions")),
        default_team_member_models=names(row.get("default_team_member_models")),
        access_group_ids=names(row.get("access_group_ids")),
        policies=names(row.get("policies")),
        budget_limits=windows(row.get("budget_limits"), calendar, say),
        allow_team_guardrail_config=row.get("allow_team_guardrail_config") or None,
    )
    return {
        "team_id": row["team_id"],
        "team_alias": name(row.get("team_alias")),
        "organization_id": name(row.get("organization_id")),
        "models": names(row.get("models")),
        "metadata": metadata(row.get("metadata"), say),
        "blocked": bool(row.get("blocked")),
        "extra": extra | present_permission(permission),
        **terms(row, calendar, say),
        **stamps(row),
    }


def team_members(row: Row, by_email: Mapping[str, str], say: Say) -> dict[str, str]:
    """Who is in a team, with the role. Members that are named by nothing but an email are looked up in `by_email`."""
    found: dict[str, str] = {}
    for one in listed(row.get("members_with_roles")):
        place = one if isinstance(one, Mapping) else {}
        email = name(place.get("user_email"))
        id = name(place.get("user_id")) or by_email.get((email or "").lower())
        if id is None:
            say(f"its member {email or 'without a name'} is no user and is left out")
            continue
        role = place.get("role")
        if role not in ("admin", "user"):
            say(f"its member {id} has a role that is not known here, and becomes a user")
        found[id] = "admin" if "admin" in (role, found.get(id)) else "user"
    if not found:  # teams that are older than roles
        found = dict.fromkeys(names(row.get("members")), "user") | dict.fromkeys(names(row.get("admins")), "admin")
    return found


def customer(row: Row, permission: Row | None) -> Row:
    """An end user."""
    extra = present(
        allowed_model_region=name(row.get("allowed_model_region")), default_model=name(row.get("default_model"))
    )
    return {
        "user_id": row["user_id"],
        "alias": name(row.get("alias")),
        "blocked": bool(row.get("blocked")),
        "budget_id": name(row.get("budget_id")),
        "models": names(row.get("models")),
        "extra": extra | present_permission(permission),
        **stamps(row),
    }


def tag(row: Row, say: Say) -> Row:
    """A tag."""
    return {
        "tag_name": row["tag_name"],
        "description": name(row.get("description")),
        "models": names(row.get("models")),
        "budget_id": name(row.get("budget_id")),
        "extra": present(model_info=fields(row.get("model_info"), say, "model_info")),
        **stamps(row),
    }


def present_permission(row: Row | None) -> Row:
    """What an entity may use beside models, as it is shown with it; kept, and not used."""
    if row is None:
        return {}
    said = {key: value for key, value in row.items() if value not in (None, [], {})}
    return {"object_permission_id": row["object_permission_id"], "object_permission": said}
