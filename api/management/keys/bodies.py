"""The bodies of the key routes, and where each of their fields is kept: a column, the metadata, or `extra`."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from api.management.fields import Body, Count, Json, Money, Name, Period, Windows, WithTerms, emptied
from api.management.groups import is_route
from api.management.metadata import FOLDED
from ledger.tenants import KEYS
from policy.periods import duration as parsed


def words(text: str) -> frozenset[str]:
    """Its words."""
    return frozenset(text.split())


_PASSING = words(
    """key new_key new_master_key grace_period duration spend send_invite_email token token_id key_hash total_spend
    budget_reset_at status litellm_budget_table org_id model_spend model_max_budget_usage budget_limits_usage
    object_permission_id last_active user created_by_user deleted_at deleted_by"""
)
"""What a request says for itself alone, and what is ours to say: never kept from a body."""

_OURS = words(
    """key_id key_name service rotation_count last_rotation_at key_rotation_at extra expires
    created_at created_by updated_at updated_by"""
)
"""Columns that no body sets."""


class KeyType(StrEnum):
    """Presets of `allowed_routes`."""

    LLM_API = "llm_api"
    MANAGEMENT = "management"
    READ_ONLY = "read_only"
    DEFAULT = "default"


ROUTES_OF = {
    KeyType.LLM_API: ["llm_api_routes"],
    KeyType.MANAGEMENT: ["management_routes"],
    KeyType.READ_ONLY: ["info_routes"],
}


def _none_if_blank(value: Any) -> Any:
    return None if value == "" else value


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


def _meaningful(text: str) -> str:
    if not is_route(text):
        raise ValueError("a path, a prefix such as /v1/*, or one of LiteLLM's names such as llm_api_routes is wanted")
    return text


def _lifetime(text: str) -> str:
    if text not in ("", "-1"):
        parsed(text)
    return text


def _acceptable(secret: str) -> str:
    if not secret.startswith("sk-"):
        raise ValueError("a key must start with 'sk-'")
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("a key must be printable ASCII without blanks")
    return secret


Blank = BeforeValidator(_none_if_blank)
Secret = Annotated[str, Field(min_length=16, max_length=256), AfterValidator(_acceptable)]
"""A key as its owner will have it."""
Naming = Annotated[str, Field(min_length=1, max_length=256)]
"""What names a key that there is: itself, its SHA-256, its id."""
Alias = Annotated[str, Field(max_length=255), AfterValidator(_printable)]
Route = Annotated[str, Field(max_length=300), AfterValidator(_printable)]
Lifetime = Annotated[str, Field(max_length=20), AfterValidator(_lifetime)]
"""How long a key lives: `-1` is for ever, "" says nothing."""
Throughput = Literal["guaranteed_throughput", "best_effort_throughput", "dynamic"]
MOST = 500
"""How many keys one request may name."""


class KeyTerms(WithTerms):
    """What a key can be given. An id that is "" is none."""

    key_alias: Annotated[Alias | None, Blank] = None
    user_id: Annotated[Name | None, Blank] = None
    team_id: Annotated[Name | None, Blank] = None
    organization_id: Annotated[Name | None, Blank] = None
    project_id: Annotated[Name | None, Blank] = None
    agent_id: Annotated[Name | None, Blank] = None
    budget_id: Annotated[Name | None, Blank] = None
    duration: Lifetime | None = None
    models: list[Name] | None = None
    aliases: dict[Name, Name] | None = None
    metadata: Json | None = None
    spend: Money | None = None
    max_budget: Annotated[Money | None, Blank] = None
    budget_limits: Windows | None = None
    blocked: bool | None = None
    allowed_routes: list[Annotated[Route, AfterValidator(_meaningful)]] | None = None
    key_type: KeyType | None = None
    auto_rotate: bool | None = None
    rotation_interval: Annotated[Period | None, Blank] = None
    config: Json | None = None
    permissions: Json | None = None
    router_settings: Json | None = None
    object_permission: Json | None = None
    allowed_cache_controls: list[Any] | None = None
    access_group_ids: list[Name] | None = None
    budget_fallbacks: dict[Name, Annotated[list[Name], Field(max_length=20)]] | None = None
    tags: list[Name] | None = None
    guardrails: list[Name] | None = None
    policies: list[Name] | None = None
    prompts: list[Name] | None = None
    enforced_params: list[Name] | None = None
    allowed_passthrough_routes: list[Route] | None = None
    denied_passthrough_routes: list[Route] | None = None
    model_rpm_limit: dict[Name, Count] | None = None
    model_tpm_limit: dict[Name, Count] | None = None
    tag_rpm_limit: dict[Name, Count] | None = None
    mcp_rpm_limit: dict[Name, Count] | None = None
    rpm_limit_type: Throughput | None = None
    tpm_limit_type: Throughput | None = None
    throttle_on_budget_exceeded: bool | None = None
    disable_global_guardrails: bool | None = None
    enable_prompt_caching: bool | None = None
    end_user_budget_id: Annotated[str, Field(max_length=150), AfterValidator(_printable)] | None = None
    temp_budget_increase: Money | None = None
    temp_budget_expiry: datetime | None = None
    send_invite_email: bool | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.temp_budget_increase is None) != (self.temp_budget_expiry is None):
            raise ValueError("temp_budget_increase and temp_budget_expiry must be set together")
        return self

    def columns(self) -> dict[str, Any]:
        """The values of columns that the request sets, null included; of JSON columns as JSON."""
        found = {name: value for name, value in self.given().items() if name in KEYS.columns - _OURS}
        if self.budget_limits is not None:
            found["budget_limits"] = [one.model_dump(mode="json") for one in self.budget_limits]
        return emptied(found)

    def in_metadata(self) -> dict[str, Any]:
        """Fields that are kept in the metadata, as JSON; null says nothing."""
        every = self.model_dump(mode="json", include=set(FOLDED), exclude_unset=True)
        return {name: value for name, value in every.items() if value is not None}

    def in_extra(self) -> dict[str, Any]:
        """All other fields that are kept, as JSON; null takes one away."""
        dropped = FOLDED | _PASSING | KEYS.columns
        return self.model_dump(mode="json", exclude=set(dropped), exclude_unset=True)


class NewKey(KeyTerms):
    """The body of `/key/generate` and `/key/service-account/generate`."""

    key: Annotated[Secret | None, Blank] = Field(default=None, repr=False)


class ChangedKey(KeyTerms):
    """The body of `/key/update`: the fields that are given are changed, null takes a limit away."""

    key: Naming | None = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _blank_team_says_nothing(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("team_id") == "":
            return {name: value for name, value in values.items() if name != "team_id"}
        return values

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.key is None and self.key_alias is None:
            raise ValueError("either key or key_alias must be provided")
        return self


class RotatedKey(KeyTerms):
    """The body of `/key/regenerate`: a new secret, and new terms as `/key/update` takes them."""

    key: Naming | None = Field(default=None, repr=False)
    new_key: Annotated[Secret | None, Blank] = Field(default=None, repr=False)
    grace_period: Annotated[Period | None, Blank] = None


class Which(Body):
    """Keys, by themselves or by their aliases."""

    keys: Annotated[list[Naming], Field(max_length=MOST)] | None = Field(default=None, repr=False)
    key_aliases: Annotated[list[Alias], Field(max_length=MOST)] | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.keys and not self.key_aliases:
            raise ValueError("at least one of 'keys' or 'key_aliases' must be provided")
        return self


class One(Body):
    """The body of `/key/block` and `/key/unblock`."""

    key: Naming = Field(repr=False)


class Reset(Body):
    """The body of `/key/{key}/reset_spend`."""

    reset_to: Money
