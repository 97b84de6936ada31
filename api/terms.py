"""What a request says about itself beside its body: how long it may take, who it is for, what it is tagged with."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from api.intake import Intake
from schemas.config import Settings
from schemas.envelope import Class
from schemas.failures import Kind, Refused
from schemas.usage import Caller

_TIMEOUTS = {
    b"x-penstock-timeout": "x-penstock-timeout",
    b"x-litellm-timeout": "x-litellm-timeout",
}
_EXTRAS = frozenset({b"x-penstock-class", b"x-litellm-num-retries", b"x-stainless-retry-count", b"idempotency-key"})
_SESSION_HEADERS = (b"x-litellm-session-id", b"x-litellm-trace-id")
_LOGGED_HEADER = b"x-litellm-spend-logs-metadata"
_METADATA_HEADERS = frozenset({*_SESSION_HEADERS, _LOGGED_HEADER})
_LOGGED, _ADDRESS = "spend_logs_metadata", "requester_ip_address"
_SESSION_FIELDS = ("litellm_session_id", "litellm_trace_id")
_MOST_TAGS = 100  # each moves a daily sum of its own
_NO_NUL = "\ufffd"  # instead of a NUL, which Postgres has in no text


class Extras(NamedTuple):
    """What further headers ask for."""

    klass: Class = Class.INTERACTIVE
    retries: str | None = None  # x-litellm-num-retries
    is_retry: bool = False  # an SDK asks again for what it has asked before
    idempotent: bool = False  # an Idempotency-Key is given


def extras_of(headers: Iterable[tuple[bytes, bytes]]) -> Extras:
    """The headers that say how a request is to be treated. Raises `Refused(INVALID_REQUEST)`."""
    found: dict[str, Any] = {}
    for name, value in headers:
        if name not in _EXTRAS:
            continue
        if name == b"x-penstock-class":
            found["klass"] = _class(value)
        elif name == b"x-litellm-num-retries":
            found["retries"] = value.decode("latin-1")
        elif name == b"x-stainless-retry-count":
            found["is_retry"] = value not in (b"", b"0")
        else:
            found["idempotent"] = True
    return Extras(**found) if found else _NO_EXTRAS


def _class(value: bytes) -> Class:
    try:
        return Class(value.decode("latin-1").strip().lower())
    except ValueError:
        said = f"'x-penstock-class' must be one of: {', '.join(Class)}."
        raise Refused(Kind.INVALID_REQUEST, said, param="x-penstock-class") from None


def deadline_of(intake: Intake, headers: Iterable[tuple[bytes, bytes]], settings: Settings, received: float) -> float:
    """Seconds since the epoch: the smallest of the timeouts present. Raises `Refused(INVALID_REQUEST)`.

    An SDK ends its wait by itself, and then asks again: the call gets the grace in which that can be heard.
    """
    default = seconds = settings.request_timeout
    for name, value in headers:
        if name == b"x-stainless-read-timeout":
            seconds = min(seconds, _seconds(value.decode("latin-1"), "", default) + settings.disconnect_grace)
        elif name in _TIMEOUTS:
            seconds = min(seconds, _seconds(value.decode("latin-1"), _TIMEOUTS[name], default))
        elif name == b"x-litellm-stream-timeout" and intake.stream:
            seconds = min(seconds, _seconds(value.decode("latin-1"), "x-litellm-stream-timeout", default))
    for field in ("timeout", "request_timeout", "stream_timeout"):
        given = intake.controls.get(field)
        if given is not None and (field != "stream_timeout" or intake.stream):
            seconds = min(seconds, _seconds(given, field, default))
    return received + seconds


def caller_of(key: Caller, intake: Intake, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """The key's caller, with the end user and the tags that this request names. Raises `Refused` for too many."""
    tags = [*_tags(intake.controls.get("tags")), *_tags(_own_metadata(intake.controls).get("tags"))]
    end_user = intake.user
    for name, value in headers:
        if name == b"x-litellm-tags":
            tags += [tag.strip() for tag in value.decode("latin-1").split(",") if tag.strip()]
        elif name in (b"x-litellm-end-user-id", b"x-litellm-customer-id"):
            end_user = value.decode("latin-1")
    if not tags and not end_user:
        return key
    end_user, tags = end_user.replace("\0", _NO_NUL), [tag.replace("\0", _NO_NUL) for tag in tags]
    distinct = tuple(dict.fromkeys((*key.tags, *tags)))  # those of the key and its team stay, whatever is asked
    if len(distinct) > _MOST_TAGS:
        raise Refused(Kind.INVALID_REQUEST, f"A request may have at most {_MOST_TAGS} tags.", param="tags")
    return msgspec.structs.replace(key, end_user=key.end_user or end_user, tags=distinct)


def metadata_of(
    controls: Mapping[str, Any], headers: Iterable[tuple[bytes, bytes]] = (), address: str = ""
) -> dict[str, str]:
    """The request's own metadata, as text values for the ledger and the traces. Raises `Refused(INVALID_REQUEST)`.

    `session_id` is the session that it says it belongs to, by a header, a field or the metadata itself;
    `spend_logs_metadata` a header's before its own; `requester_ip_address` what we know, never what it says.
    """
    found = _own_metadata(controls)
    given = {name: value for name, value in headers if name in _METADATA_HEADERS}
    session = _session(controls, found, given)
    if session:
        found["session_id"] = session
    elif found.get("session_id") in (None, ""):
        found.pop("session_id", None)
    if _LOGGED_HEADER in given:
        found[_LOGGED] = _object(given[_LOGGED_HEADER])
    if address:
        found[_ADDRESS] = address
    else:
        found.pop(_ADDRESS, None)
    return {str(name): _text(value) for name, value in found.items() if name != "tags"}


def _object(header: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(header, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        name = _LOGGED_HEADER.decode()
        raise Refused(Kind.INVALID_REQUEST, f"'{name}' must be a JSON object.", param=name) from None


def _session(controls: Mapping[str, Any], metadata: Mapping[str, Any], given: Mapping[bytes, bytes]) -> str:
    """As LiteLLM has it: headers, then fields. A session before a trace, which is one when nothing else is named."""
    candidates: list[Any] = [given[name].decode("latin-1").strip() for name in _SESSION_HEADERS if name in given]
    candidates += [controls.get(_SESSION_FIELDS[0]), metadata.get("session_id"), controls.get(_SESSION_FIELDS[1])]
    return next((value for value in candidates if isinstance(value, str) and value), "")


def _own_metadata(controls: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in ("metadata", "litellm_metadata"):
        value = controls.get(field)
        if isinstance(value, dict):
            found |= value
    return found


def _seconds(value: Any, name: str, default: float) -> float:
    """`name` is empty for what an SDK sets by itself: an odd value there is not the user's mistake."""
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):  # an integer can be too large for a float
        seconds = math.nan
    if math.isfinite(seconds) and seconds > 0:
        return seconds
    if not name:
        return default
    raise Refused(Kind.INVALID_REQUEST, f"'{name}' must be a positive number of seconds.", param=name)


def _tags(value: Any) -> list[str]:
    return [str(tag) for tag in value] if isinstance(value, list) else []


def _text(value: Any) -> str:
    try:
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()
    except RecursionError:
        raise Refused(Kind.INVALID_REQUEST, "The metadata is nested too deeply.", param="metadata") from None


_NO_EXTRAS = Extras()
