"""Who may call which route. Which objects one may see and change there, the endpoints say."""

from collections.abc import Mapping
from functools import lru_cache

from api.management.groups import Group, find, routes, shape
from schemas.access import Access, Role
from schemas.failures import Kind, Refused
from schemas.usage import Caller

COLUMNS = (Role.ADMIN, Role.VIEWER, Role.ORG_ADMIN, Role.USER, Role.USER_VIEWER, Role.NONE)
"""The columns of the table. Who administers an organization is its `org_admin` too; other roles count as none."""

_ROWS = {
    # admin, admin viewer, organization's admin, user, user viewer, key without a user
    Group.OPEN: "xxxxxx",
    Group.INFERENCE: "xxxxxx",
    Group.MODELS: "xxxxxx",
    Group.HEALTH: "xxxxxx",
    Group.KEY_READS: "xxxxxx",
    Group.KEYS: "x.xx..",
    Group.USER_READS: "xxxxxx",
    Group.USER_SELF: "xxxxxx",
    Group.USERS: "x.x...",
    Group.INVITATIONS: "x.xxxx",
    Group.TEAM_READS: "xxxxxx",
    Group.TEAM_REPORTS: "xxxxxx",
    Group.TEAM_MEMBERS: "x.xxxx",
    Group.TEAMS: "x.x...",
    Group.ORGANIZATION_LISTS: "xxxxxx",
    Group.ORGANIZATION_READS: "xxx...",
    Group.ORGANIZATION_MEMBERS: "x.x...",
    Group.TAG_READS: "xxxxx.",
    Group.ACTIVITY: "xxxx..",
    Group.SPEND_LOGS: "xxxxx.",
    Group.SPEND: "xxxxx.",
    Group.GLOBAL_SPEND: "xx....",
    Group.MODEL_CHANGES: "x.....",
    Group.ADMIN_READS: "xx....",
    Group.ADMIN: "x.....",
}

TABLE: Mapping[Group, frozenset[Role]] = {
    group: frozenset(role for role, mark in zip(COLUMNS, row, strict=True) if mark == "x")
    for group, row in _ROWS.items()
}

_GRANTABLE = frozenset({Group.KEYS, Group.KEY_READS, Group.TEAM_REPORTS, Group.SPEND_LOGS})
"""What a team may grant to its members (`team_member_permissions`): more would be a way around the table."""
_NEVER_CHANGE = frozenset({Role.VIEWER, Role.USER_VIEWER, Role.CUSTOMER})

NOBODY = Access(caller=Caller())
"""Who calls one of the `public_routes` without a key."""


class Rights:
    """The table, and what the configuration says of routes for everybody."""

    def __init__(
        self,
        allowed: tuple[str, ...] = (),
        admin_only: tuple[str, ...] = (),
        public: tuple[str, ...] = (),
    ) -> None:
        self._allowed = routes(allowed) if allowed else None
        self._admin_only = routes(admin_only) if admin_only else None
        self._public = routes(public) if public else None
        self._plain = not allowed and not admin_only

    def may_infer(self, access: Access) -> bool:
        """Whether inference paths need no `check`: every role may call them, unless routes are named somewhere."""
        return self._plain and (not access.routes or Group.INFERENCE in routes(access.routes).groups)

    def is_public(self, path: str) -> bool:
        """Whether the configuration lets anybody call this path without a key, as `NOBODY`."""
        return self._public is not None and self._public.cover(path)

    def check(self, access: Access, method: str, path: str) -> None:
        """Raises `Refused`: FORBIDDEN where a list of routes or a viewer's role forbids, else ROLE."""
        if self._allowed is not None and not self._allowed.cover(path):
            raise Refused(Kind.FORBIDDEN, f"Access forbidden: {_short(path)} is not one of this proxy's routes.")
        if access.routes and not routes(access.routes).cover(path):
            raise Refused(
                Kind.FORBIDDEN,
                f"This key may not call this route. Allowed routes: {', '.join(access.routes)}. Route={_short(path)}",
            )
        if access.is_admin:
            return
        if self._admin_only is not None and self._admin_only.cover(path):
            raise Refused(Kind.FORBIDDEN, f"Access forbidden: Route={_short(path)} is an admin only route.")
        if not _allows(access, path):
            raise _forbidden(access, method, path)


def _allows(access: Access, path: str) -> bool:
    found = find(path)
    if found is not None:
        if not _roles(access.role, bool(access.admin_of_organizations)).isdisjoint(TABLE[found.group]):
            return True
        if found.group in _GRANTABLE and access.role not in _NEVER_CHANGE and _granted(access, found.template):
            return True
    # Only an admin can write paths into a key's `allowed_routes`: they are a grant, names of groups are not.
    return bool(access.routes) and routes(access.routes).name(path)


@lru_cache(maxsize=64)
def _roles(role: Role, leads_an_organization: bool) -> frozenset[Role]:
    own = role if role in COLUMNS else Role.NONE
    return frozenset({own, Role.ORG_ADMIN}) if leads_an_organization else frozenset({own})


def _granted(access: Access, template: str) -> bool:
    return shape(template) in {shape(right) for right in access.member_rights}


def _forbidden(access: Access, method: str, path: str) -> Refused:
    role = access.role.value or "none"
    if access.role is Role.VIEWER:
        return Refused(Kind.FORBIDDEN, f"The role {role} reads only. Route={method} {_short(path)}")
    return Refused(
        Kind.ROLE,
        f"Authentication Error, the key is valid, but its role may not call this route: {_who_may(path)} may. "
        f"Route={method} {_short(path)}. Your role={role}. Your user_id={_masked(access.caller.user)}",
    )


def _who_may(path: str) -> str:
    found = find(path)
    allowed = TABLE[Group.ADMIN if found is None else found.group]
    return ", ".join(role.value for role in COLUMNS if role in allowed and role is not Role.NONE)


def _masked(user: str) -> str:
    return f"{user[:2]}***{user[-2:]}" if len(user) > 8 else "***"


def _short(path: str) -> str:
    return path[:200]
