"""Paths that belong together: each path of the application is in one group. LiteLLM's names for routes mean groups."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from schemas.envelope import Endpoint


class Group(StrEnum):
    """What a path is for. `rights.TABLE` says who may call the paths of a group."""

    OPEN = "open"  # without a key
    INFERENCE = "inference"
    MODELS = "models"  # which models there are
    HEALTH = "health"
    KEY_READS = "key_reads"
    KEYS = "keys"
    USER_READS = "user_reads"
    USER_SELF = "user_self"
    USERS = "users"
    INVITATIONS = "invitations"
    TEAM_READS = "team_reads"
    TEAM_REPORTS = "team_reports"
    TEAM_MEMBERS = "team_members"  # what an admin of the team may do to it
    TEAMS = "teams"
    ORGANIZATION_LISTS = "organization_lists"
    ORGANIZATION_READS = "organization_reads"
    ORGANIZATION_MEMBERS = "organization_members"  # what an admin of the organization may do to it
    TAG_READS = "tag_reads"
    ACTIVITY = "activity"
    SPEND_LOGS = "spend_logs"
    SPEND = "spend"
    GLOBAL_SPEND = "global_spend"  # everybody's
    MODEL_CHANGES = "model_changes"
    ADMIN_READS = "admin_reads"
    ADMIN = "admin"


_DAILY = "daily/activity daily/activity/aggregated"


def _below(prefix: str, paths: str) -> str:
    return " ".join(f"{prefix}/{path}" for path in paths.split())


_INFERENCE = " ".join(
    f"/v1/{endpoint} /{endpoint} /engines/{{model:path}}/{endpoint} /openai/deployments/{{model:path}}/{endpoint}"
    for endpoint in Endpoint
)

PATHS: Mapping[Group, str] = {
    Group.OPEN: "/health/liveliness /health/liveness /health/readiness /docs /docs/oauth2-redirect /openapi.json",
    Group.INFERENCE: _INFERENCE,
    Group.MODELS: """/v1/models /models /v1/models/{model:path} /models/{model:path} /model/info /v1/model/info
        /v2/model/info /model_group/info""",
    Group.HEALTH: "/health",
    Group.KEY_READS: "/key/info /v2/key/info /key/list /key/aliases /key/health",
    Group.KEYS: """/key/generate /key/service-account/generate /key/update /key/bulk_update /key/delete /key/regenerate
        /key/{key}/regenerate /key/{key}/reset_spend /key/block /key/unblock /team/key/bulk_update""",
    Group.USER_READS: "/user/info /v2/user/info",
    Group.USER_SELF: "/user/list /user/available_roles /user/password/change " + _below("/user", _DAILY),
    Group.USERS: "/user/new /user/update /user/bulk_update /user/delete",
    Group.INVITATIONS: "/invitation/new /invitation/update /invitation/delete",
    Group.TEAM_READS: "/team/info /team/list /v2/team/list /team/available /team/{team}/members/me",
    Group.TEAM_REPORTS: "/team/permissions_list /team/spend/by_user " + _below("/team", _DAILY),
    Group.TEAM_MEMBERS: """/team/update /team/member_add /team/bulk_member_add /team/member_update /team/member_delete
        /team/permissions_update /team/{team}/member/{user}/reset_spend /team/{team}/member/{user}/reset_budget
        /team/{team}/callback /team/{team}/callback/{name} /team/{team}/disable_logging""",
    Group.TEAMS: "/team/new /team/delete /team/block /team/unblock /team/model/add /team/model/delete",
    Group.ORGANIZATION_LISTS: "/organization/list " + _below("/organization", _DAILY),
    Group.ORGANIZATION_READS: "/organization/info",
    Group.ORGANIZATION_MEMBERS: """/organization/delete /organization/member_add /organization/member_update
        /organization/member_delete""",
    Group.TAG_READS: "/tag/list " + _below("/tag", _DAILY),
    Group.ACTIVITY: "/global/activity /global/activity/model",
    Group.SPEND_LOGS: "/spend/logs /spend/logs/v2",
    Group.SPEND: """/spend/keys /spend/users /spend/tags /spend/calculate /spend/logs/ui /spend/logs/ui/{request}
        /spend/logs/session/ui /key/spend/report /user/spend/report /team/spend/report /organization/spend/report""",
    Group.GLOBAL_SPEND: """/global/spend /global/spend/logs /global/spend/keys /global/spend/teams
        /global/spend/end_users /global/spend/models /global/spend/tags /global/spend/provider
        /global/spend/all_tag_names /global/spend/report""",
    Group.MODEL_CHANGES: "/model/new /model/update /model/delete /model/{model:path}/update",
    Group.ADMIN_READS: """/audit /audit/{id} /budget/info /budget/list /budget/settings /tag/info /tag/distinct /tag/dau
        /tag/wau /tag/mau /tag/summary /global/all_end_users /global/activity/exceptions
        /global/activity/exceptions/deployment """
    + _below("/customer", f"info list {_DAILY}")
    + " "
    + _below("/end_user", f"info list {_DAILY}"),
    Group.ADMIN: """/budget/new /budget/update /budget/delete /tag/new /tag/update /tag/delete /organization/new
        /organization/update /team/permissions_bulk_update /model/block /model/unblock /credentials
        /credentials/by_name/{name:path} /credentials/{name:path} /config/reload /global/spend/reset
        /invitation/info """
    + _below("/customer", "new update delete block unblock")
    + " "
    + _below("/end_user", "new update delete block unblock"),
}

_MODEL_READS = frozenset({Group.MODELS})
_LLM = frozenset({Group.INFERENCE, Group.MODELS})
_INFO = frozenset(
    {Group.KEY_READS, Group.USER_READS, Group.TEAM_READS, Group.ORGANIZATION_LISTS, Group.MODELS, Group.HEALTH}
)
_KEY_MANAGEMENT = frozenset({Group.KEYS, Group.KEY_READS, Group.TEAM_REPORTS, Group.SPEND_LOGS})
_SPEND = frozenset({Group.SPEND_LOGS, Group.SPEND})
_MANAGEMENT = _KEY_MANAGEMENT | {
    Group.USERS,
    Group.USER_READS,
    Group.USER_SELF,
    Group.TEAMS,
    Group.TEAM_READS,
    Group.TEAM_MEMBERS,
    Group.MODELS,
    Group.MODEL_CHANGES,
}
_SELF_MANAGED = frozenset(
    {
        Group.TEAM_MEMBERS,
        Group.TEAM_REPORTS,
        Group.USER_SELF,
        Group.INVITATIONS,
        Group.ORGANIZATION_LISTS,
        Group.MODEL_CHANGES,
    }
)
_ORGANIZATION = frozenset({Group.ORGANIZATION_READS, Group.ORGANIZATION_MEMBERS})
_VIEWER = _SPEND | _INFO | {Group.ADMIN_READS, Group.TAG_READS, Group.ACTIVITY, Group.TEAM_REPORTS, Group.USER_SELF}

NAMES: Mapping[str, frozenset[Group]] = {
    "openai_routes": _LLM,
    "anthropic_routes": frozenset({Group.INFERENCE}),
    "llm_api_routes": _LLM,
    "model_info_routes": _MODEL_READS,
    "info_routes": _INFO,
    "key_management_routes": _KEY_MANAGEMENT,
    "management_routes": _MANAGEMENT,
    "spend_tracking_routes": _SPEND,
    "global_spend_tracking_routes": frozenset({Group.GLOBAL_SPEND}),
    "public_routes": frozenset({Group.OPEN}),
    "LiteLLMRoutes.public_routes": frozenset({Group.OPEN}),
    "internal_user_routes": _SPEND | _KEY_MANAGEMENT | {Group.ACTIVITY, Group.TAG_READS, Group.MODELS},
    "internal_user_view_only_routes": _SPEND | {Group.TAG_READS},
    "self_managed_routes": _SELF_MANAGED,
    "org_admin_only_routes": _ORGANIZATION,
    "org_admin_allowed_routes": _ORGANIZATION | _MANAGEMENT | _SELF_MANAGED | _VIEWER,
    "admin_viewer_routes": _VIEWER,
}
"""LiteLLM's names in `allowed_routes` and the like. Those of its features that are not here mean no path of ours."""

_ELSEWHERE = re.compile(
    "(agent|apply_guardrail|compliance_check|google|litellm_native|mapped_pass_through|master_key_only|mcp|ui)_routes"
    "|(agent|mcp)_(inference|management)_routes|llm_api_routes_without_mcp|openai_route_names"
    "|passthrough_routes_wildcard|team_service_account_key_routes|trace_telemetry_routes"
)
"""Names of LiteLLM's that mean no path of ours."""


def is_route(entry: str) -> bool:
    """Whether an entry of a list of routes can mean something: a path, a prefix that ends in `*`, a name."""
    return entry.startswith("/") or entry == "*" or entry in NAMES or bool(_ELSEWHERE.fullmatch(entry))


class Listed(NamedTuple):
    """A path as it is written above, and its group."""

    template: str
    group: Group


_PARAMETER = re.compile(r"\{\w+(:path)?\}")


def shape(template: str) -> str:
    """The template without its parameters' names."""
    return _PARAMETER.sub("{}", template)


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?::path)?\})", template)
    return re.compile(
        "".join(
            re.escape(part) if not part.startswith("{") else ".+" if part.endswith(":path}") else "[^/]+"
            for part in parts
        )
    )


_LISTED = [Listed(template, group) for group, paths in PATHS.items() for template in paths.split()]
_PLAIN = {one.template: one for one in _LISTED if "{" not in one.template}
_PATTERNS = [(_pattern(one.template), one) for one in _LISTED if "{" in one.template]


def find(path: str) -> Listed | None:
    """Where a request's path is listed; None for a path that nobody has listed."""
    plain = _PLAIN.get(path)
    if plain is not None:
        return plain
    return next((one for pattern, one in _PATTERNS if pattern.fullmatch(path)), None)


class Routes(NamedTuple):
    """A list of routes as a key or the configuration has it."""

    groups: frozenset[Group]
    paths: frozenset[str]
    prefixes: tuple[str, ...]

    def name(self, path: str) -> bool:
        """Whether an entry that is a path or a prefix covers this one."""
        return path in self.paths or path.startswith(self.prefixes)

    def cover(self, path: str) -> bool:
        """Whether any entry does."""
        if self.name(path):
            return True
        found = find(path) if self.groups else None
        return found is not None and found.group in self.groups


@lru_cache(maxsize=4096)
def routes(entries: tuple[str, ...]) -> Routes:
    """Read a list: names of groups, paths (with all that is below them) and `/prefix*`."""
    return Routes(
        frozenset(group for entry in entries for group in NAMES.get(entry, ())),
        frozenset(entries),
        tuple(_prefixes(entries)),
    )


def _prefixes(entries: Iterable[str]) -> Iterable[str]:
    for entry in entries:
        if entry.endswith("*"):
            yield entry[:-1]
        elif entry.startswith("/") and entry != "/":
            yield entry.rstrip("/") + "/"
