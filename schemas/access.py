"""What one key may do, resolved: who is behind it, which models, which budgets and limits. Never holds a key.

A payer is named by an `Account`: ("key", id, ""), ("team", id, ""), ("user", id, ""), ("organization", id, ""),
("customer", end user, ""), ("tag", name, ""), ("member", team, user), ("proxy", "", ""), and for one model group of a
key or team ("key_model", id, model), ("team_model", id, model). The ledger derives the same names from a UsageEvent.
"""

from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

import msgspec

from schemas.usage import Caller


class Role(StrEnum):
    """LiteLLM's roles. A key without a user has `NONE`: it may call models and read what is its own."""

    ADMIN = "proxy_admin"
    VIEWER = "proxy_admin_viewer"
    ORG_ADMIN = "org_admin"
    USER = "internal_user"
    USER_VIEWER = "internal_user_viewer"
    TEAM = "team"
    CUSTOMER = "customer"
    NONE = ""


class Account(NamedTuple):
    """A payer."""

    kind: str
    id: str
    scope: str = ""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars that an account may spend in a period. `named` is how errors call the account.

    `most` None is a budget that only warns. `period` is a duration as LiteLLM writes it, "" for all time.
    """

    account: Account
    named: str
    period: str = ""
    most: Decimal | None = None
    soft: Decimal | None = None


class Unit(StrEnum):
    """What a `Rate` counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    PARALLEL = "max_parallel_requests"  # calls under way; its window is 0


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """At most `most` units in any `window` seconds, by all processes. `named` is how errors call the account."""

    account: Account
    named: str
    unit: Unit
    most: int
    window: int = 60


class Scope(msgspec.Struct, frozen=True):
    """The models that one of a key's entities allows; () allows all. A request's model must pass every scope.

    `kind` is key, team, user, organization, customer or member: it names the error.
    """

    kind: str
    models: tuple[str, ...]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What an account must keep to."""

    budgets: tuple[Budget, ...] = ()
    rates: tuple[Rate, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to keep to."""
        return not self.budgets and not self.rates


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a key that a request needs. Times in seconds since the epoch."""

    caller: Caller
    role: Role = Role.NONE
    scopes: tuple[Scope, ...] = ()
    terms: Terms = Terms()
    model_terms: dict[str, Terms] = {}  # by model group, beside `terms`
    aliases: dict[str, str] = {}  # a model's name as this key's clients write it -> what it means
    expires: float | None = None
    blocked: str = ""  # why: "key", or "team <id>"
    routes: tuple[str, ...] = ()  # `allowed_routes`; () is what the role allows
    teams: frozenset[str] = frozenset()  # of the user behind the key
    admin_of_teams: frozenset[str] = frozenset()
    admin_of_organizations: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    depends: frozenset[str] = frozenset()  # "team:<id>" …: an event about one of these makes this Access void
    shown: str = ""  # `sk-...AbCd`
    member_rights: frozenset[str] = frozenset()  # routes that the key's team grants its members

    @property
    def is_admin(self) -> bool:
        """May do everything."""
        return self.role is Role.ADMIN

    @property
    def reads_all(self) -> bool:
        """May see everything."""
        return self.role in (Role.ADMIN, Role.VIEWER)

    def manages_team(self, team: str | None, organization: str | None = None) -> bool:
        """May change a team, its members and its keys."""
        return (
            self.is_admin
            or (team is not None and team in self.admin_of_teams)
            or (organization is not None and organization in self.admin_of_organizations)
        )

    def reads_team(self, team: str | None, organization: str | None = None) -> bool:
        """May see a team."""
        return (
            self.reads_all
            or self.manages_team(team, organization)
            or (team is not None and (team in self.teams or team == self.caller.team))
        )
