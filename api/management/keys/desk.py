"""What the routes for keys work with beside the `Office`: the pepper, and the rules that the configuration sets.

What is `present` holds the one `KeyDesk`, as `keys`.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from api.management.fields import Count, Json, Money, Name, Period
from api.management.office import Caller, Desk, Office, present
from ledger.pepper import Pepper, Seal
from policy.periods import duration
from schemas.access import Access


class KeyDefaults(BaseModel):
    """`default_key_generate_params`: what a new key gets when its request says nothing."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    max_budget: Money | None = None
    user_id: Name | None = None
    team_id: Name | None = None
    max_parallel_requests: Count | None = None
    tpm_limit: Count | None = None
    rpm_limit: Count | None = None
    budget_duration: Period | None = None
    duration: Period | None = None
    models: tuple[Name, ...] = ()
    metadata: Json = {}


class KeyBounds(BaseModel):
    """`upperbound_key_generate_params`: the most that a key may have, and what it gets when nothing is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_budget: Money | None = None
    budget_duration: Period | None = None
    duration: Period | None = None
    max_parallel_requests: Count | None = None
    tpm_limit: Count | None = None
    rpm_limit: Count | None = None


class TeamGeneration(BaseModel):
    """`key_generation_settings.team_key_generation`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed_team_member_roles: tuple[str, ...] = ("admin", "user")
    required_params: tuple[str, ...] = ()


class PersonalGeneration(BaseModel):
    """`key_generation_settings.personal_key_generation`; None is every role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed_user_roles: tuple[str, ...] | None = None
    required_params: tuple[str, ...] = ()


class KeyGeneration(BaseModel):
    """`key_generation_settings`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    team_key_generation: TeamGeneration = TeamGeneration()
    personal_key_generation: PersonalGeneration = PersonalGeneration()


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What the configuration says of keys. Each model is made of its section by `model_validate`: `ValueError`.

    `custom` is not `disable_custom_api_keys`; `org_admins_generate` not `disable_key_generate_for_org_admin`. `alias`
    is `key_alias_pattern`. `grace` is LITELLM_KEY_ROTATION_GRACE_PERIOD: how long the old secret of a key works that
    is rotated without a word about it; "" is not at all.
    """

    defaults: KeyDefaults = field(default_factory=KeyDefaults)
    bounds: KeyBounds = field(default_factory=KeyBounds)
    generation: KeyGeneration = field(default_factory=KeyGeneration)
    custom: bool = True
    org_admins_generate: bool = True
    alias: re.Pattern[str] | None = None
    grace: str = ""

    def __post_init__(self) -> None:
        """Raises `ValueError` when the grace period is none."""
        if self.grace:
            duration(self.grace)


def new_secret() -> str:
    """A key that nobody has: 192 random bits."""
    return f"sk-{secrets.token_urlsafe(24)}"


def within(allowed: Sequence[str], model: str) -> bool:
    """Whether a list of models has this one: by name, by `*` or `openai/*`. An empty list has all.

    A name that stands for a list of its own (`all-team-models`) is in each.
    """
    if not allowed or model in INHERITED or "all-proxy-models" in allowed:
        return True
    return any(model == one or (one.endswith("*") and model.startswith(one[:-1])) for one in allowed)


INHERITED = ("all-team-models", "all-proxy-models", "no-default-models")


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """The pepper, the rules, where new secrets come from, and which models a list allows (see `within`).

    `seal` is the salt key's; without it callbacks with credentials are refused.
    """

    pepper: Callable[[], Awaitable[Pepper]]
    rules: KeyRules = field(default_factory=KeyRules)
    secret: Callable[[], str] = new_secret
    within: Callable[[Sequence[str], str], bool] = within
    seal: Seal | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """One call about keys: where, by which rules, and who asks."""

    office: Office
    keys: KeyDesk
    access: Access

    @property
    def user(self) -> str:
        """The user behind the caller's key; "" when there is none."""
        return self.access.caller.user

    @property
    def actor(self) -> str:
        """How `created_by` and `updated_by` name the caller."""
        return self.access.caller.actor


async def _work(request: Request, office: Desk, access: Caller) -> Work:
    keys: Any = present(request).keys
    return Work(office, keys, access)


Working = Annotated[Work, Depends(_work)]
"""The work, as a route's parameter."""
