"""Every way in which a request can fail, in one table: what the client reads, and what else follows."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec


class Kind(StrEnum):
    """The kinds of failure. Each has a row in `TABLE`; a test holds that."""

    # the request itself
    INVALID_REQUEST = "invalid_request"
    UNKNOWN_MODEL = "model_not_found"  # OpenAI's own code, which clients look for
    TOO_LARGE = "request_too_large"
    SLOW_BODY = "request_timeout"
    CONTEXT_WINDOW = "context_length_exceeded"
    CONTENT_POLICY = "content_policy_violation"
    # the caller
    UNAUTHENTICATED = "invalid_api_key"
    FORBIDDEN = "permission_denied"
    KEY_UNKNOWN = "token_not_found_in_db"
    KEY_EXPIRED = "expired_key"
    KEY_BLOCKED = "key_blocked"
    TEAM_GONE = "team_not_found"  # the key's
    ROLE = "role_not_allowed"  # the key is valid, and its role may not call the route
    KEY_MODEL = "key_model_access_denied"
    TEAM_MODEL = "team_model_access_denied"
    USER_MODEL = "user_model_access_denied"
    ORG_MODEL = "org_model_access_denied"
    CUSTOMER_MODEL = "customer_model_access_denied"
    BUDGET_EXCEEDED = "budget_exceeded"
    BUDGET_RESERVED = "budget_reserved"  # only reservations of calls under way fill it
    KEY_RATE_LIMIT = "key_rate_limit_exceeded"
    TOO_MANY_UNKNOWN = "too_many_invalid_keys"
    NOT_FOUND = "not_found"
    METHOD = "method_not_allowed"
    # the provider
    PROVIDER_AUTH = "provider_authentication"
    PROVIDER_NOT_FOUND = "provider_not_found"
    PROVIDER_RATE_LIMIT = "rate_limit_exceeded"
    PROVIDER_QUOTA = "insufficient_quota"
    PROVIDER_OVERLOADED = "provider_overloaded"
    PROVIDER_ERROR = "provider_error"
    PROVIDER_UNREACHABLE = "provider_unreachable"
    PROVIDER_TIMEOUT = "provider_timeout"
    PROVIDER_GARBLED = "provider_invalid_response"
    PROVIDER_BROKE_OFF = "provider_stream_interrupted"
    ANSWER_TOO_LARGE = "provider_response_too_large"
    # ourselves
    DEADLINE = "deadline_exceeded"
    NO_WORKERS = "no_workers"
    QUEUE_FULL = "queue_full"
    TOO_LATE = "deadline_unreachable"  # it would have to wait longer than it may
    CONFLICT = "idempotency_key_reused"
    BUS_DOWN = "queue_unavailable"
    LEDGER_DOWN = "ledger_unavailable"
    ISSUER_DOWN = "identity_provider_unavailable"
    WORKER_LOST = "worker_lost"
    SLOW_READER = "client_too_slow"
    CANCELLED = "cancelled"
    DRAINING = "shutting_down"
    INTERNAL = "internal_error"


class Row(NamedTuple):
    """What follows from a failure.

    `status` is the HTTP status when the provider's own is not passed on, `type` OpenAI's error type.
    `again`: the same deployment may succeed a little later. `elsewhere`: another deployment may succeed now.
    `hurts`: counts against the deployment's health. `words`: the provider's own message may be shown.
    `retry_after`: seconds to put into `Retry-After` when nobody knows better; 0 sends none.
    """

    status: int
    type: str
    again: bool = False
    elsewhere: bool = False
    hurts: bool = False
    words: bool = False
    retry_after: int = 0


_INVALID, _SERVER, _AUTH = "invalid_request_error", "server_error", "authentication_error"
_LIMIT, _UNAVAILABLE = "rate_limit_error", "service_unavailable_error"

TABLE: Mapping[Kind, Row] = {
    Kind.INVALID_REQUEST: Row(400, _INVALID, words=True),
    Kind.UNKNOWN_MODEL: Row(404, _INVALID),
    Kind.TOO_LARGE: Row(413, _INVALID),
    Kind.SLOW_BODY: Row(408, _INVALID),
    Kind.CONTEXT_WINDOW: Row(400, _INVALID, words=True),
    Kind.CONTENT_POLICY: Row(400, _INVALID, words=True),
    Kind.UNAUTHENTICATED: Row(401, "auth_error"),
    Kind.FORBIDDEN: Row(403, "permission_error"),
    Kind.KEY_UNKNOWN: Row(401, "token_not_found_in_db"),
    Kind.KEY_EXPIRED: Row(401, "expired_key"),
    Kind.KEY_BLOCKED: Row(401, "auth_error"),
    Kind.TEAM_GONE: Row(404, "auth_error"),
    Kind.ROLE: Row(401, "auth_error"),
    Kind.KEY_MODEL: Row(403, "key_model_access_denied"),
    Kind.TEAM_MODEL: Row(403, "team_model_access_denied"),
    Kind.USER_MODEL: Row(403, "user_model_access_denied"),
    Kind.ORG_MODEL: Row(403, "org_model_access_denied"),
    Kind.CUSTOMER_MODEL: Row(403, "customer_model_access_denied"),
    Kind.BUDGET_EXCEEDED: Row(422, "budget_exceeded", words=True),  # the status may be configured
    Kind.BUDGET_RESERVED: Row(429, "budget_exceeded", retry_after=2),
    Kind.KEY_RATE_LIMIT: Row(429, "throttling_error", retry_after=1),
    Kind.TOO_MANY_UNKNOWN: Row(429, "auth_error", retry_after=5),
    Kind.NOT_FOUND: Row(404, _INVALID),
    Kind.METHOD: Row(405, _INVALID),
    Kind.PROVIDER_AUTH: Row(401, _AUTH, elsewhere=True, hurts=True),
    Kind.PROVIDER_NOT_FOUND: Row(404, _INVALID, elsewhere=True, hurts=True, words=True),
    Kind.PROVIDER_RATE_LIMIT: Row(429, _LIMIT, again=True, elsewhere=True, words=True, retry_after=5),
    Kind.PROVIDER_QUOTA: Row(429, "insufficient_quota", elsewhere=True, hurts=True, words=True),
    Kind.PROVIDER_OVERLOADED: Row(503, _UNAVAILABLE, again=True, elsewhere=True, hurts=True, words=True, retry_after=5),
    Kind.PROVIDER_ERROR: Row(502, _SERVER, again=True, elsewhere=True, hurts=True, words=True),
    Kind.PROVIDER_UNREACHABLE: Row(502, _SERVER, again=True, elsewhere=True, hurts=True),
    Kind.PROVIDER_TIMEOUT: Row(504, "timeout_error", elsewhere=True, hurts=True),
    Kind.PROVIDER_GARBLED: Row(502, _SERVER, again=True, elsewhere=True, hurts=True),
    Kind.PROVIDER_BROKE_OFF: Row(502, _SERVER, again=True, elsewhere=True, hurts=True),
    Kind.ANSWER_TOO_LARGE: Row(502, _SERVER),
    Kind.DEADLINE: Row(504, "timeout_error"),
    Kind.NO_WORKERS: Row(503, _UNAVAILABLE, elsewhere=True, retry_after=5),
    Kind.QUEUE_FULL: Row(429, _LIMIT, elsewhere=True, retry_after=5),
    Kind.TOO_LATE: Row(429, _LIMIT, elsewhere=True, retry_after=1),
    Kind.CONFLICT: Row(422, _INVALID),
    Kind.BUS_DOWN: Row(503, _UNAVAILABLE, retry_after=2),
    Kind.LEDGER_DOWN: Row(503, _UNAVAILABLE, retry_after=5),
    Kind.ISSUER_DOWN: Row(503, _UNAVAILABLE, retry_after=5),
    Kind.WORKER_LOST: Row(502, _SERVER, again=True, retry_after=1),
    Kind.SLOW_READER: Row(408, _INVALID),
    Kind.CANCELLED: Row(499, _INVALID),
    Kind.DRAINING: Row(503, _UNAVAILABLE, retry_after=1),
    Kind.INTERNAL: Row(500, _SERVER),
}


POLICY_NAMES: Mapping[str, tuple[Kind, ...]] = {
    "BadRequestError": (Kind.INVALID_REQUEST, Kind.CONTEXT_WINDOW, Kind.TOO_LARGE),
    "AuthenticationError": (Kind.PROVIDER_AUTH,),
    "TimeoutError": (Kind.PROVIDER_TIMEOUT,),
    "RateLimitError": (Kind.PROVIDER_RATE_LIMIT, Kind.PROVIDER_QUOTA),
    "ContentPolicyViolationError": (Kind.CONTENT_POLICY,),
    "ServiceUnavailableError": (Kind.PROVIDER_OVERLOADED, Kind.PROVIDER_UNREACHABLE),
    "NotFoundError": (Kind.PROVIDER_NOT_FOUND,),
    "InternalServerError": (Kind.PROVIDER_ERROR, Kind.PROVIDER_GARBLED, Kind.PROVIDER_BROKE_OFF, Kind.WORKER_LOST),
}
"""LiteLLM's names for failures in `retry_policy` (`…Retries`) and `allowed_fails_policy` (`…AllowedFails`)."""


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One failure as it travels from where it happened to who must be told.

    `message` is ours and safe to show. `provider_error` is the provider's own error object (JSON) and `status` its
    HTTP status; the renderer shows them only where the table says so. `retry_after` is in seconds.
    """

    kind: Kind
    message: str
    param: str | None = None
    status: int = 0
    provider_error: str = ""  # text: raw JSON could hold line feeds, and a head is one line
    retry_after: float = 0
    limit: dict[str, str] = {}  # LiteLLM's headers about a key's limit that is reached
    final: bool = False  # the same request can never succeed, or not soon: nobody should try it again

    @property
    def row(self) -> Row:
        """The table's row for this kind."""
        return TABLE[self.kind]


class Refused(Exception):
    """Raised inside a room to end a use case with a failure; rendered or recorded at its edge."""

    def __init__(
        self, kind: Kind, message: str, *, param: str | None = None, retry_after: float = 0, final: bool = False
    ) -> None:
        super().__init__(message)
        self.failure = Failure(kind, message, param, retry_after=retry_after, final=final)

    @classmethod
    def carrying(cls, failure: Failure) -> "Refused":
        """The exception for a failure that is already described."""
        refused = cls(failure.kind, failure.message)
        refused.failure = failure
        return refused
