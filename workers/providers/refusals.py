"""What a provider's error means: status and codes first, its message only as the last resort; keys never pass."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from schemas.failures import Failure, Kind
from workers.providers.durations import number, span, until
from workers.providers.limits import wait

_LONGEST_MESSAGE = 4000  # characters of a provider's message that are passed on
_LONGEST_WAIT = 86400.0  # seconds; more is a provider's mistake

_CODES: Mapping[str, Kind] = {
    "context_length_exceeded": Kind.CONTEXT_WINDOW,
    "context_window_exceeded": Kind.CONTEXT_WINDOW,
    "string_above_max_length": Kind.CONTEXT_WINDOW,
    "content_filter": Kind.CONTENT_POLICY,
    "content_policy_violation": Kind.CONTENT_POLICY,
    "invalid_prompt": Kind.CONTENT_POLICY,
    "responsibleaipolicyviolation": Kind.CONTENT_POLICY,
    "moderation_blocked": Kind.CONTENT_POLICY,
    "insufficient_quota": Kind.PROVIDER_QUOTA,
    "billing_hard_limit_reached": Kind.PROVIDER_QUOTA,
    "billing_not_active": Kind.PROVIDER_QUOTA,
    "billing_error": Kind.PROVIDER_QUOTA,
    "insufficient_credits": Kind.PROVIDER_QUOTA,
    "rate_limit_exceeded": Kind.PROVIDER_RATE_LIMIT,
    "rate_limit_error": Kind.PROVIDER_RATE_LIMIT,
    "too_many_requests": Kind.PROVIDER_RATE_LIMIT,
    "requests": Kind.PROVIDER_RATE_LIMIT,
    "tokens": Kind.PROVIDER_RATE_LIMIT,
    "invalid_api_key": Kind.PROVIDER_AUTH,
    "authentication_error": Kind.PROVIDER_AUTH,
    "permission_error": Kind.PROVIDER_AUTH,
    "account_deactivated": Kind.PROVIDER_AUTH,
    "model_not_found": Kind.PROVIDER_NOT_FOUND,
    "not_found_error": Kind.PROVIDER_NOT_FOUND,
    "overloaded_error": Kind.PROVIDER_OVERLOADED,
    "engine_overloaded": Kind.PROVIDER_OVERLOADED,
    "service_unavailable": Kind.PROVIDER_OVERLOADED,
    "request_too_large": Kind.TOO_LARGE,
    "timeout_error": Kind.PROVIDER_TIMEOUT,
    "server_error": Kind.PROVIDER_ERROR,
    "internal_server_error": Kind.PROVIDER_ERROR,
    "api_error": Kind.PROVIDER_ERROR,
}
"""Lower-case error codes and types of the providers we know; `code` is asked before `type`."""

_STATUS: Mapping[int, Kind] = {
    401: Kind.PROVIDER_AUTH,
    402: Kind.PROVIDER_QUOTA,
    403: Kind.PROVIDER_AUTH,
    404: Kind.PROVIDER_NOT_FOUND,
    405: Kind.PROVIDER_NOT_FOUND,
    407: Kind.PROVIDER_AUTH,
    408: Kind.PROVIDER_TIMEOUT,
    409: Kind.PROVIDER_ERROR,
    410: Kind.PROVIDER_NOT_FOUND,
    413: Kind.TOO_LARGE,
    425: Kind.PROVIDER_OVERLOADED,
    429: Kind.PROVIDER_RATE_LIMIT,
    498: Kind.PROVIDER_OVERLOADED,  # Groq: flex capacity exceeded
    503: Kind.PROVIDER_OVERLOADED,
    504: Kind.PROVIDER_TIMEOUT,
    524: Kind.PROVIDER_TIMEOUT,  # Cloudflare
    529: Kind.PROVIDER_OVERLOADED,  # Anthropic
}

_WORDS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (
        re.compile(
            r"maximum context length|context (length|window|size)|prompt is too long|too many (input )?tokens"
            r"|exceed.{0,20}context|input is too long|input length.{0,40}exceed",
            re.I,
        ),
        Kind.CONTEXT_WINDOW,
    ),
    (
        re.compile(r"content (management )?polic|content filter|safety system|flagged as potentially", re.I),
        Kind.CONTENT_POLICY,
    ),
    (re.compile(r"credit balance is too low|insufficient (balance|credit|quota|funds)", re.I), Kind.PROVIDER_QUOTA),
)
"""Only for a 4xx whose codes say nothing: many OpenAI-shaped servers give a message alone."""

_MESSAGES: Mapping[Kind, str] = {
    Kind.INVALID_REQUEST: "The provider refused the request as invalid.",
    Kind.TOO_LARGE: "The request is too large for the provider.",
    Kind.CONTEXT_WINDOW: "The request does not fit the model's context window.",
    Kind.CONTENT_POLICY: "The provider's content policy refused the request.",
    Kind.PROVIDER_AUTH: "The provider did not accept our credentials.",
    Kind.PROVIDER_QUOTA: "The provider account's quota is used up.",
    Kind.PROVIDER_NOT_FOUND: "The provider does not know this model or address.",
    Kind.PROVIDER_RATE_LIMIT: "The provider's rate limit is reached.",
    Kind.PROVIDER_OVERLOADED: "The provider is overloaded.",
    Kind.PROVIDER_TIMEOUT: "The provider took too long.",
    Kind.PROVIDER_ERROR: "The provider failed.",
}

_SECRETS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|nvapi|pplx|csk|fw|r8|key|AIza)[-_][A-Za-z0-9_*.\-]{6,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}|\bBearer\s+\S+|\b[A-Za-z0-9_\-]{2,}\*{3,}[A-Za-z0-9_\-]*|://[^/\s:@]+:[^/\s@]+@"
)


def failure_of(
    status: int, headers: Mapping[str, str], error: Mapping[str, Any] | None, secrets: Iterable[str] = ()
) -> Failure:
    """The failure for a provider's error. `error` is its error object, None when the body holds none.

    `status` 0: it came inside a stream. `secrets` are scrubbed from what may be shown, beside all that looks
    like a key.
    """
    kind = _kind(status, error or {})
    return Failure(
        kind,
        _MESSAGES[kind] if status < 300 or status >= 400 else "The provider answered with a redirect.",
        status=status if status >= 400 else 0,
        provider_error=_shown(error, tuple(secrets)) if error else "",
        retry_after=retry_after(headers, error) if kind in _WAITING else 0,
    )


_WAITING = frozenset({Kind.PROVIDER_RATE_LIMIT, Kind.PROVIDER_OVERLOADED, Kind.PROVIDER_ERROR})


def error_object(body: bytes) -> dict[str, Any] | None:
    """The error object of an answer in one of the usual shapes, with `message` a string; None for anything else.

    `{"error": {…}}`, `{"error": "…"}`, `{"message": …}` (vLLM, Mistral), `{"detail": …}` (FastAPI), `[{"error": …}]`.
    """
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return None
    error = data.get("error", data)
    if isinstance(error, str):
        error = {**data, "message": error}
    elif isinstance(error, dict) and "message" not in error and isinstance(error.get("detail"), str):
        error = {**error, "message": error["detail"]}
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    return error


def _kind(status: int, error: Mapping[str, Any]) -> Kind:
    code, kind = error.get("code"), error.get("type")
    if status == 0 and isinstance(code, int) and not isinstance(code, bool):
        status = code  # OpenRouter, vLLM: an HTTP status as the code of an error inside a stream
    for word in (code, kind):
        found = _CODES.get(word.lower()) if isinstance(word, str) else None
        if found is not None and _fits(found, status):
            return found
    if status in (0, 400, 403, 413, 422, 429, 500):
        message = str(error.get("message", ""))
        for pattern, found in _WORDS:
            if pattern.search(message):
                return found
    return _by_status(status, str(kind or "").lower())


def _fits(kind: Kind, status: int) -> bool:
    """A code is believed unless the status contradicts it: a 401 is about the key whatever else is said."""
    return status not in (401, 407) or kind is Kind.PROVIDER_AUTH


def _by_status(status: int, kind: str) -> Kind:
    if status in _STATUS:
        return _STATUS[status]
    if 300 <= status < 400:
        return Kind.PROVIDER_NOT_FOUND  # we follow no redirect: the key would go along
    if 400 <= status < 500 or (status == 0 and kind == "invalid_request_error"):
        return Kind.INVALID_REQUEST
    return Kind.PROVIDER_ERROR


def _shown(error: Mapping[str, Any], secrets: tuple[str, ...]) -> str:
    kept: dict[str, Any] = {"message": scrub(error["message"], secrets)[:_LONGEST_MESSAGE]}
    for key in ("type", "param", "code"):
        value = error.get(key)
        if isinstance(value, str):
            kept[key] = scrub(value, secrets)[:200]
        elif key in error and (value is None or type(value) is int):
            kept[key] = value
    return msgspec.json.encode(kept).decode()


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets and without anything that looks like a key."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "[key]")
    return _SECRETS.sub("[key]", text)


def retry_after(headers: Mapping[str, str], error: Mapping[str, Any] | None = None) -> float:
    """Seconds to wait, at most a day; 0 when nobody says.

    `retry-after-ms`, `retry-after` (seconds or an HTTP date), the reset of the limits that are exhausted, and last the
    `RetryInfo` in the details of Google's error object (https://google.aip.dev/193).
    """
    seconds = (
        (number(headers.get("retry-after-ms", "")) or 0.0) / 1000
        or until(headers.get("retry-after", ""), headers.get("date", ""))
        or wait(headers)
        or _retry_info(error or {})
    )
    return min(seconds, _LONGEST_WAIT)


def _retry_info(error: Mapping[str, Any]) -> float:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type")).endswith("google.rpc.RetryInfo"):
            return span(str(detail.get("retryDelay"))) or 0.0
    return 0.0
