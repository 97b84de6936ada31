"""Who may do what with which key. Every function returns when the caller may, and raises a 403 (or what it says) else.

A proxy admin may do everything. Team admins, and admins of the team's organization, have their team's keys; a member
has his own there, and those without a user, as far as `team_member_permissions` grants the route. Everybody else has
the keys of his own user. Whoever only views changes nothing.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from api.management.keys.bodies import KeyTerms
from api.management.keys.desk import Work
from api.management.office import forbidden
from ledger import keys as stored_keys
from ledger import tenants
from ledger.pool import Asked
from ledger.tenants import Row
from schemas.access import Role
from schemas.failures import Kind, Refused

_BASELINE = frozenset({"/key/info", "/key/health"})
_READERS = (Role.VIEWER, Role.USER_VIEWER, Role.CUSTOMER, Role.TEAM)
ACCESS_GROUPS = "/key/access_group_assignment"
"""What a team grants, beside routes: that members give keys access groups."""


class Act(StrEnum):
    """What is done; `team_member_permissions` calls it by its route."""

    GENERATE = "/key/generate"
    SERVICE = "/key/service-account/generate"
    UPDATE = "/key/update"
    DELETE = "/key/delete"
    REGENERATE = "/key/regenerate"
    LIST = "/key/list"


class Standing(NamedTuple):
    """What somebody is in a team: `role` is admin, user or "" (a stranger); `granted` is what its members may."""

    role: str
    granted: frozenset[str] = frozenset()

    def may(self, what: str) -> bool:
        """Whether the team lets him."""
        return self.role == "admin" or (self.role == "user" and what in self.granted)


def grants(team: Mapping[str, Any]) -> frozenset[str]:
    """What a team lets its members do."""
    named = team["extra"].get("team_member_permissions")
    return _BASELINE | frozenset(one for one in named if isinstance(one, str)) if isinstance(named, list) else _BASELINE


async def standing(on: Asked, work: Work, team: Row | None) -> Standing:
    """What the caller is in a team. A service key of the team counts as a member."""
    if team is None:
        return Standing("admin" if work.access.is_admin else "")
    if work.access.manages_team(team["team_id"], team["organization_id"]):
        return Standing("admin", grants(team))
    if team["team_id"] in work.access.teams or await _serves(on, work, team["team_id"]):
        return Standing("user", grants(team))
    return Standing("")


def may_change_anything(work: Work) -> None:
    """Who only reads may not."""
    if work.access.role in _READERS:
        raise forbidden("change keys: its role only reads")


async def may_generate(on: Asked, work: Work, body: KeyTerms, team: Row | None, act: Act) -> None:
    """A new key: for oneself, or in a team that allows it. 400 when a field is missing that the rules require."""
    may_change_anything(work)
    access, rules = work.access, work.keys.rules
    if access.is_admin:
        return
    leads = access.role is Role.ORG_ADMIN or bool(access.admin_of_organizations)
    if leads and not rules.org_admins_generate:
        raise forbidden("generate keys: that is not for organization admins here")
    if body.user_id is not None and body.user_id != work.user:
        raise forbidden("generate a key for another user")
    if team is not None:
        role = await standing(on, work, team)
        team_rules = rules.generation.team_key_generation
        if role.role not in team_rules.allowed_team_member_roles or not role.may(act):
            raise forbidden(f"generate a key in team '{team['team_id']}': its members need the permission {act}")
        _all_given(body, team_rules.required_params)
        return
    personal = rules.generation.personal_key_generation
    if not work.user:
        raise forbidden("generate a key: there is no user behind it")
    if personal.allowed_user_roles is not None and access.role not in personal.allowed_user_roles:
        raise forbidden("generate a personal key: its role is not among those that may")
    _all_given(body, personal.required_params)


async def may_touch(on: Asked, work: Work, key: Row, act: Act) -> bool:
    """Change, rotate or delete a key. True when the caller has it in charge, False when it is merely his own."""
    may_change_anything(work)
    team = None if key["team_id"] is None else await tenants.find(on, tenants.TEAMS, key["team_id"])
    if in_charge(work, key, team):
        return True
    own = bool(work.user) and key["user_id"] == work.user
    if key["team_id"] is None or (own and act is Act.DELETE):
        if not own:
            raise forbidden("change this key")
        return False
    role = await standing(on, work, team)
    if not (own or key["user_id"] is None) or not role.may(act):
        raise forbidden(f"change this key: members of its team need the permission {act}")
    return False


def in_charge(work: Work, key: Row, team: Row | None) -> bool:
    """Whether the caller administers the key: everything, its team, or its organization."""
    access = work.access
    if access.is_admin:
        return True
    if key["team_id"] is not None:
        return team is not None and access.manages_team(team["team_id"], team["organization_id"])
    return access.manages_team(None, key["organization_id"])


async def has_charge(on: Asked, work: Work, key: Row) -> bool:
    """As `in_charge`, whatever the key's team."""
    team = None if key["team_id"] is None else await tenants.find(on, tenants.TEAMS, key["team_id"])
    return in_charge(work, key, team)


async def must_be_in_charge(on: Asked, work: Work, key: Row, what: str) -> None:
    """What only those who administer the key may, not its owner."""
    may_change_anything(work)
    if not await has_charge(on, work, key):
        raise forbidden(f"{what}: that is for its admins")


async def may_hold(on: Asked, work: Work, key: Row) -> None:
    """Get to know a new secret of the key: nobody so becomes a user who may do more than he himself."""
    access = work.access
    if access.is_admin or key["user_id"] is None or key["user_id"] == work.user:
        return
    if await stored_keys.outranks(on, key["user_id"], sorted(access.admin_of_teams)):
        raise forbidden("get the secret of this key: its user may do more than this one")


async def may_read(on: Asked, work: Work, key: Row) -> bool:
    """See a key: one's own, that of one's user, those of one's teams and organizations."""
    access = work.access
    if access.reads_all or key["key_id"] == access.caller.key_hash:
        return True
    if work.user and key["user_id"] == work.user:
        return True
    if key["team_id"] is None:
        return access.manages_team(None, key["organization_id"])
    if access.reads_team(key["team_id"]):
        return True
    team = await tenants.find(on, tenants.TEAMS, key["team_id"])
    return team is not None and access.reads_team(team["team_id"], team["organization_id"])


async def may_assign_organization(on: Asked, work: Work, organization: str, team: Row | None) -> None:
    """Give a key to an organization: one's own, or the team's. 400 when there is none."""
    if await tenants.find(on, tenants.ORGANIZATIONS, organization) is None:
        raise Refused(Kind.INVALID_REQUEST, "There is no such organization.", param="organization_id")
    access = work.access
    inherited = team is not None and team["organization_id"] == organization
    if not (access.is_admin or inherited or organization in access.organizations | access.admin_of_organizations):
        raise forbidden("give a key to an organization that its user is not in")


async def _serves(on: Asked, work: Work, team_id: str) -> bool:
    caller = work.access.caller
    if caller.user or caller.team != team_id:
        return False
    own = await tenants.find(on, tenants.KEYS, caller.key_hash)
    return own is not None and own["service"] is True and own["team_id"] == team_id


def _all_given(body: KeyTerms, required: tuple[str, ...]) -> None:
    for name in required:
        if name not in body.model_fields_set:
            raise Refused(Kind.INVALID_REQUEST, f"The field {name} is required for new keys.", param=name)
