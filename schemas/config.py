"""The configuration as the rooms see it: deployments and settings, already resolved and checked.

`penstock.configuration` reads it from LiteLLM's YAML; nothing else knows the file's form.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Value(BaseModel):
    """A frozen value."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class PriceOverride(Value):
    """US dollars per token from the configuration; None leaves the price list's."""

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    request: Decimal | None = None  # input_cost_per_request
    audio_in: Decimal | None = None
    audio_out: Decimal | None = None


class Limits(Value):
    """What a deployment's provider lets pass; all worker processes together keep to it. None: not limited, or learned.

    Requests and tokens per minute and per day; a day begins at `daily_reset` seconds after midnight, UTC.
    """

    rpm: float | None = None
    tpm: float | None = None
    itpm: float | None = None  # prompt tokens
    otpm: float | None = None  # completion tokens
    rpd: float | None = None
    tpd: float | None = None
    daily_reset: int = 0
    parallel: int | None = None  # `max_parallel_requests`: calls under way


class Deployment(Value):
    """One way to serve a model group: a provider, a model there, credentials, limits."""

    id: str
    group: str  # the public name, LiteLLM's `model_name`; may hold `*`
    provider: str  # a name in `workers/providers`
    model: str  # what the provider calls it; the group's captured segments fill its `*`
    litellm_model: str = ""  # `litellm_params.model` as written: a request may name it too
    api_base: str | None = Field(default=None, repr=False)  # may hold credentials
    api_key: SecretStr | None = None
    organization: str | None = None
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)  # sent with every call; may hold secrets
    body: Mapping[str, Any] = Field(default_factory=dict)  # parameters for requests that do not set them
    extra_body: Mapping[str, Any] = Field(default_factory=dict, repr=False)  # merged into every request's body
    timeout: float | None = None  # seconds, for the whole answer
    stream_timeout: float | None = None  # seconds, to a stream's first byte
    slots: int = 256  # concurrent calls per process, whatever `limits.parallel` leaves
    limits: Limits = Limits()
    weight: float | None = None  # share of the group's requests while there is room (simple-shuffle)
    order: int | None = None  # lowest first; those without one come last
    tags: tuple[str, ...] = ()
    num_retries: int | None = None
    allowed_fails: int | None = None  # failures in a minute until it is cooled down
    cooldown_time: float | None = None  # seconds
    context_window: int | None = None  # prompt tokens, for `enable_pre_call_checks`
    drop_params: bool = False  # drop what the provider does not support rather than refuse it
    mock_response: str | None = None
    client_may_set: frozenset[str] = frozenset()  # `configurable_clientside_auth_params`
    price: PriceOverride = PriceOverride()
    access_groups: tuple[str, ...] = ()  # names by which keys may be given this model
    price_model: str | None = None  # `base_model`: the name to look the price up by
    info: Mapping[str, Any] = Field(default_factory=dict, repr=False)  # `model_info` as written, for whoever reads it


class Strategy(StrEnum):
    """LiteLLM's `routing_strategy`: which deployment of a group is asked first while several have room."""

    SHUFFLE = "simple-shuffle"  # at random, by `weight`, else by rpm, else by tpm, else evenly
    LEAST_BUSY = "least-busy"
    USAGE = "usage-based-routing"
    USAGE_V2 = "usage-based-routing-v2"
    LATENCY = "latency-based-routing"
    COST = "cost-based-routing"


class Fallback(Value):
    """Where a request goes next: a model name as a client would write it, and parameters that replace the request's."""

    model: str
    body: Mapping[str, Any] = Field(default_factory=dict)


Fallbacks = Mapping[str, tuple[Fallback, ...]]
"""By model group; `*` is for every group that has no entry of its own."""


class Routing(Value):
    """How requests find a deployment, and what follows when one fails. Times in seconds.

    The policies map LiteLLM's names for failures (`schemas.failures.POLICY_NAMES`) to a number of retries, or of
    failures in a minute until a deployment is cooled down.
    """

    strategy: Strategy = Strategy.SHUFFLE
    latency_buffer: float = 0.0  # fraction: deployments this close to the fastest are as good as it
    num_retries: int = 2
    retry_after: float = 0.0  # the shortest wait before a retry of the same deployment
    retry_policy: Mapping[str, int] = Field(default_factory=dict)
    group_retry_policy: Mapping[str, Mapping[str, int]] = Field(default_factory=dict)
    allowed_fails: int | None = None
    allowed_fails_policy: Mapping[str, int] = Field(default_factory=dict)
    cooldown_time: float = 5.0
    cooldowns: bool = True
    fallbacks: Fallbacks = Field(default_factory=dict)
    context_window_fallbacks: Fallbacks = Field(default_factory=dict)
    content_policy_fallbacks: Fallbacks = Field(default_factory=dict)
    max_fallbacks: int = 5
    pre_call_checks: bool = False
    tag_filtering: bool = False
    tags_match_any: bool = True


class Settings(Value):
    """Everything that is not a deployment. Times in seconds, sizes in bytes."""

    master_key: SecretStr | None = None
    salt_key: SecretStr | None = None  # seals what must not be readable in a message
    database_url: SecretStr | None = None
    amqp_url: SecretStr | None = None
    host: str = "127.0.0.1"
    port: int = 4000
    cors_origins: tuple[str, ...] = ()
    max_request_bytes: int = 15 * 2**20  # below RabbitMQ 4's 16 MiB
    max_answer_bytes: int = 64 * 2**20
    request_timeout: float = 6000.0
    stream_gap: float = 600.0  # longest silence between two chunks
    stream_comment_after: float = 15.0  # a waiting stream gets its 200 and SSE comments from then on
    stream_window: float = 0.02  # chunks that come closer together share a message
    slow_reader_bytes: int = 4 * 2**20  # unread by one client before its stream is ended
    pool_wait: float = 0.0  # how long a request waits for a pool that has no worker
    bus_wait: float = 10.0  # how long a request that nobody has begun waits for a queue that is away
    disconnect_grace: float = 2.0  # between a client's disconnect and the upstream's cancellation
    drain: float = 30.0  # in-flight calls may take this long after SIGTERM
    beat_every: float = 1.0
    queue_bytes: int = 128 * 2**20  # bound of each request queue
    pacing: bool = True  # false: requests go straight to the queue and are called at once, whatever the limits say
    lease: float = 60.0  # how long an API process may use what it has leased of budgets and limits, unheard of
    usage_lag: float = 60.0  # how long after a call's deadline it may take to be recorded: then its reservation ends
    idempotency_keep: float = 600.0  # how long an answer to an `Idempotency-Key` is kept
    state_dir: str = ".penstock"  # master key, embedded Postgres, spool


class ClaimFields(Value):
    """Which of a token's claims says what, LiteLLM's `…_jwt_field`; dots lead into objects. None: no claim does."""

    user_id: str | None = None
    user_email: str | None = None
    user_roles: str | None = None
    team_id: str | None = None
    team_ids: str | None = None
    team_alias: str | None = None
    org_id: str | None = None
    org_alias: str | None = None
    end_user_id: str | None = None
    roles: str | None = None
    object_id: str | None = None


class Issuer(Value):
    """Whose tokens count, and where the keys are that they are signed with (addresses of JWKS or of OIDC discovery)."""

    name: str | None = None  # what `iss` must be; None takes whatever no other issuer does
    key_urls: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()  # one of them must be in `aud`; () asks nothing
    fields: ClaimFields = ClaimFields()


class Jwt(Value):
    """`litellm_jwtauth`: whose tokens are taken for a key, and what follows from their claims. Times in seconds."""

    issuers: tuple[Issuer, ...] = ()
    key_ttl: float = 600.0  # `public_key_ttl`
    key_stale_ttl: float = 3600.0  # how much longer keys count while their issuer is away
    leeway: float = 10.0  # between our clock and the issuer's
    admin_scope: str = "litellm_proxy_admin"
    admin_routes: tuple[str, ...] = (
        "management_routes",
        "spend_tracking_routes",
        "global_spend_tracking_routes",
        "info_routes",
    )
    team_routes: tuple[str, ...] = (
        "openai_routes",
        "info_routes",
        "mcp_routes",
        "/v1/messages",
        "/v1/messages/count_tokens",
    )
    team_default: str | None = None
    team_upsert: bool = False
    team_fallback: bool = False  # `team_claim_fallback`: a team that is not known counts as none
    team_needed: bool = False  # `enforce_team_based_model_access`
    team_of_user: bool = False  # `fallback_to_db_teams`: without a claim, a team that the user is a member of
    user_upsert: bool = False
    user_joins_team: bool = False  # `upsert_sso_user_to_team`
    email_domain: str | None = None
    user_roles: frozenset[str] = frozenset()  # `user_allowed_roles`
    role_needed: bool = False  # `enforce_rbac`
    role_mappings: tuple[tuple[str, str], ...] = ()  # a role of `roles_jwt_field` -> proxy_admin, team, internal_user
    role_map: tuple[tuple[str, str], ...] = ()  # `jwt_litellm_role_map`: a pattern -> a role of LiteLLM's
    role_sync: bool = False  # `sync_user_role_and_teams`
    scope_models: tuple[tuple[str, tuple[str, ...]], ...] | None = None  # `scope_mappings`; None: scopes say nothing


class AccessSettings(Value):
    """From where one may call, which routes there are for whom, and which tokens are taken beside keys."""

    allowed_ips: tuple[str, ...] | None = None  # addresses and networks; None lets everybody in
    trusted_proxies: tuple[str, ...] = ()
    use_forwarded: bool = False  # `use_x_forwarded_for`
    allowed_routes: tuple[str, ...] = ()
    admin_only_routes: tuple[str, ...] = ()
    public_routes: tuple[str, ...] = ()
    record_addresses: bool = True  # not `disable_requester_ip_address_logging`
    enforced_params: tuple[str, ...] = ()  # fields that every call of a model must have
    jwt: Jwt | None = None  # None: tokens are not taken


class TenantSettings(Value):
    """What holds for everybody's keys, users and teams. Money in US dollars; None limits nothing."""

    max_budget: Decimal | None = None  # of the whole proxy
    budget_duration: str = ""
    timezone: str = "UTC"  # whose calendar budgets follow
    budget_exceeded_status: int = 422
    budget_throttle: Decimal | None = None  # the part of its limits that a key keeps whose budget is spent
    user_budget_for_team_keys: bool = False
    service_enforced_params: tuple[str, ...] = ()  # fields that every call of a model by a service key must have
    key_parallel: int | None = None  # calls under way for a key that says nothing
    customer_budget: str | None = None  # the budget_id of customers who have none of their own
    key_defaults: Mapping[str, Any] = Field(default_factory=dict)
    key_bounds: Mapping[str, Any] = Field(default_factory=dict)
    key_generation: Mapping[str, Any] = Field(default_factory=dict)
    key_alias_pattern: str | None = None
    key_grace: str = ""  # how long the old secret of a rotated key works when nothing is said
    custom_keys: bool = True  # a new key's secret may be given
    org_admins_make_keys: bool = True
    user_defaults: Mapping[str, Any] = Field(default_factory=dict)
    team_defaults: Mapping[str, Any] = Field(default_factory=dict)
    team_admins_edit: tuple[str, ...] = ()  # of max_budget, tpm_limit, rpm_limit
    admins_join_teams: bool = True  # a proxy admin becomes a member of the teams that he makes
    internal_budget: Decimal | None = None  # of an internal user who is given none
    internal_budget_duration: str | None = None


class Config(Value):
    """The whole configuration of one process."""

    deployments: tuple[Deployment, ...] = ()
    aliases: Mapping[str, str] = Field(default_factory=dict)  # `model_group_alias`: public name -> group
    hidden_aliases: frozenset[str] = frozenset()
    credentials: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)  # `credential_list`, secrets masked
    routing: Routing = Routing()
    settings: Settings = Settings()
    access: AccessSettings = AccessSettings()
    tenants: TenantSettings = TenantSettings()
    warnings: tuple[str, ...] = ()  # what the file asks for and we do not do yet, one line each
