"""The metadata of keys, teams and users: fields that LiteLLM keeps in it, and callbacks whose secrets it holds.

Credentials in `logging[].callback_vars` and `callback_settings.callback_vars` are stored sealed with the salt key and
shown as a mark. Who sends the mark back leaves the stored value as it is.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from api.management.fields import Count, Name
from ledger.pepper import Seal
from ledger.tenants import Row
from schemas.failures import Kind, Refused

_FEW = Field(max_length=1000)  # every request looks through them
_COUNTS: TypeAdapter[Any] = TypeAdapter(Annotated[dict[Name, Count], _FEW] | None)
_NAMES: TypeAdapter[Any] = TypeAdapter(Annotated[list[Name], _FEW] | None)
_ID: TypeAdapter[Any] = TypeAdapter(str | None)
_READ: Mapping[str, tuple[TypeAdapter[Any], str]] = {
    "model_rpm_limit": (_COUNTS, "an object of at most 1000 whole numbers by model"),
    "model_tpm_limit": (_COUNTS, "an object of at most 1000 whole numbers by model"),
    "tag_rpm_limit": (_COUNTS, "an object of at most 1000 whole numbers by tag"),
    "tags": (_NAMES, "a list of at most 1000 names"),
    "enforced_params": (_NAMES, "a list of at most 1000 names"),
    "end_user_budget_id": (_ID, "a budget's id"),
}

HIDDEN = "***REDACTED***"
_SEALED = "sealed:"
_ABOUT = b"penstock callback"
_SECRET_ENDS = ("key", "secret", "token", "password", "credentials", "service_account")

FOLDED = frozenset(
    [
        "model_rpm_limit",
        "model_tpm_limit",
        "model_itpm_limit",
        "model_otpm_limit",
        "default_estimated_output_tokens",
        "default_estimated_output_tokens_per_model",
        "mcp_rpm_limit",
        "tag_rpm_limit",
        "rpm_limit_type",
        "tpm_limit_type",
        "enforced_params",
        "temp_budget_increase",
        "temp_budget_expiry",
        "allowed_vector_store_indexes",
        "enforced_batch_output_expires_after",
        "enforced_file_expires_after",
        "throttle_on_budget_exceeded",
        "enable_prompt_caching",
        "end_user_budget_id",
        "disable_global_guardrails",
        "guardrails",
        "policies",
        "tags",
        "team_member_key_duration",
        "prompts",
        "logging",
        "secret_manager_settings",
        "allowed_passthrough_routes",
        "denied_passthrough_routes",
    ]
)
"""Fields of a body that LiteLLM moves into the metadata."""

OWNED = "team_member_budget_id"
"""The budget that a team's members have by default: no client may set it."""


def merged(given: Mapping[str, Any] | None, unknown: dict[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata after a change; takes what belongs into it out of `unknown`.

    `given` replaces what is stored, None leaves it. A folded field that is null goes away. Raises
    `Refused(INVALID_REQUEST)` for limits of models that are none: they are read with every request.
    """
    found = dict(stored if given is None else given)
    found.pop(OWNED, None)
    if OWNED in stored:
        found[OWNED] = stored[OWNED]
    for name in FOLDED & unknown.keys():
        value = unknown.pop(name)
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    check_metadata(found)
    return found


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raises `Refused(INVALID_REQUEST)` for what every request reads and is none: else it would bind nothing."""
    for name, (adapter, what) in _READ.items():
        try:
            adapter.validate_python(metadata.get(name))
        except ValidationError:
            raise Refused(Kind.INVALID_REQUEST, f"{name} must be {what}.", param=name) from None


def closed(metadata: Mapping[str, Any], stored: Mapping[str, Any], seal: Seal | None) -> dict[str, Any]:
    """With callbacks' credentials sealed. Raises `Refused` when there are some and no salt key is set."""
    before = {_place(callback): callback.get("callback_vars") or {} for callback in _callbacks(stored)}
    kept = [value for variables in before.values() for value in variables.values()]

    def close(name: str, value: Any, callback: Mapping[str, Any]) -> Any:
        if value == HIDDEN:
            return before.get(_place(callback), {}).get(name, value)
        if not _secret(name) or value in kept:
            return value
        if seal is None:
            raise Refused(
                Kind.INVALID_REQUEST,
                f"'{name}' can be kept only sealed: set PENSTOCK_SALT_KEY.",
                param="callback_vars",
            )
        return _SEALED + seal.close_bytes(str(value).encode("utf-8", "replace"), _ABOUT).hex()

    return _with_vars(metadata, close)


def masked(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """With a mark in place of every credential: what is shown, and what the audit log keeps."""
    return _with_vars(metadata, lambda name, value, _callback: HIDDEN if _secret(name) else value)


def recorded(row: Row) -> Row:
    """A row for the audit log: without secrets."""
    return {**row, "metadata": masked(row["metadata"])}


def _secret(name: str) -> bool:
    return name.lower().endswith(_SECRET_ENDS)


def _place(callback: Mapping[str, Any]) -> tuple[str, str]:
    return str(callback.get("callback_name")), str(callback.get("callback_type"))


def _callbacks(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Any] = []
    for value in (metadata.get("logging"), metadata.get("callback_settings")):
        found += value if isinstance(value, list) else [value]
    return [one for one in found if isinstance(one, Mapping) and isinstance(one.get("callback_vars") or {}, Mapping)]


def _with_vars(metadata: Mapping[str, Any], each: Callable[[str, Any, Mapping[str, Any]], Any]) -> dict[str, Any]:
    def of(callback: Any) -> Any:
        if not isinstance(callback, Mapping) or not isinstance(callback.get("callback_vars"), Mapping):
            return callback
        variables = {name: each(name, value, callback) for name, value in callback["callback_vars"].items()}
        return {**callback, "callback_vars": variables}

    found = dict(metadata)
    for name in ("logging", "callback_settings"):
        if name in found:
            kept = found[name]
            found[name] = [of(callback) for callback in kept] if isinstance(kept, list) else of(kept)
    return found
