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
    price_model: str | None = None  # `base_model`: the name to look the price up by


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
    idempotency_keep: float = 600.0  # how long an answer to an `Idempotency-Key` is kept
    state_dir: str = ".penstock"  # master key, embedded Postgres, spool


class Config(Value):
    """The whole configuration of one process."""

    deployments: tuple[Deployment, ...] = ()
    aliases: Mapping[str, str] = Field(default_factory=dict)  # `model_group_alias`: public name -> group
    hidden_aliases: frozenset[str] = frozenset()
    routing: Routing = Routing()
    settings: Settings = Settings()
    warnings: tuple[str, ...] = ()  # what the file asks for and we do not do yet, one line each
