"""What one key may do, resolved: who is behind it, which models, which budgets and limits. Never holds a key.

A payer is named by an `Account`: ("key", id, ""), ("team", id, ""), ("user", id, ""), ("organization", id, ""),
("customer", end user, ""), ("tag", name, ""), ("member", team, user), ("organization_member", organization, user),
("proxy", "", ""), and for one model group of a key, team, user, customer or team's member ("key_model", id, model) …,
see `Account.on`. The ledger derives the same names from a UsageEvent.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

import msgspec

from schemas.usage import Caller

TEAM_GONE = "no team "
"""How `Access.blocked` begins for a key whose team does not exist."""


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

    def on(self, model: str) -> "Account":
        """Its account for one model group. Where two names make the scope, the first comes with its length."""
        scope = f"{len(self.scope)}:{self.scope}:{model}" if self.scope else model
        return Account(f"{self.kind}_model", self.id, scope)

    def parted(self) -> tuple["Account", str]:
        """Whose it is, and for which model group: "" when it is for all."""
        kind = self.kind.removesuffix("_model")
        if kind == self.kind:
            return self, ""
        if kind != "member":
            return Account(kind, self.id), self.scope
        length, _, rest = self.scope.partition(":")
        return Account(kind, self.id, rest[: int(length)]), rest[int(length) + 1 :]


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars that an account may spend in a period. `named` is how errors call the account.

    `most` None is a budget that only warns. `period` is a duration as LiteLLM writes it, "" for all time. `window`: it
    is one of several of its account. `later` is (seconds since the epoch, the budget that takes this one's place then),
    for one that is raised for a while.
    """

    account: Account
    named: str
    period: str = ""
    most: Decimal | None = None
    soft: Decimal | None = None
    window: bool = False
    later: "tuple[float, Budget] | None" = None

    def at(self, now: float) -> "Budget":
        """What it is at a moment, in seconds since the epoch."""
        return self if self.later is None or now < self.later[0] else self.later[1]


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
    model_terms: tuple[Mapping[str, Terms], ...] = ()  # beside `terms`, by model group or pattern: one entry of each
    tag_terms: dict[str, Terms] = {}  # by tag of a request, beside `terms`
    customer_budget: str = ""  # the id of the budget of customers who have none of their own
    throttled: Terms | None = None  # instead of `terms` when the key's own budget is spent; None: that ends its calls
    aliases: dict[str, str] = {}  # a model's name as this key's clients write it -> what it means
    budget_fallbacks: dict[str, tuple[str, ...]] = {}  # models that are called when a model's own budget is spent
    enforced: tuple[str, ...] = ()  # `enforced_params`: fields that every call of a model must have
    expires: float | None = None
    blocked: str = ""  # why: "key", "team <id>", or `TEAM_GONE` and the id
    routes: tuple[str, ...] = ()  # `allowed_routes`; () is what the role allows
    teams: frozenset[str] = frozenset()  # of the user behind the key
    admin_of_teams: frozenset[str] = frozenset()
    admin_of_organizations: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    depends: frozenset[str] = frozenset()  # "team:<id>" …: an event about one of these makes this Access void
    shown: str = ""  # `sk-...AbCd`
    changes_as: str = ""  # whom a proxy admin names in `litellm-changed-by`: the audit log does
    member_rights: frozenset[str] = frozenset()  # routes that the key's team grants its members

    @property
    def actor(self) -> str:
        """How the audit log names who changes something."""
        return self.changes_as or self.caller.actor

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
