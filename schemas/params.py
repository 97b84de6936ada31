"""`litellm_params` of a model: which of them are secrets, and how what is secret is shown."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

REFERENCE = "os.environ/"
HIDDEN = "********"

_ADDRESSES = frozenset({"api_base", "base_url"})
_HARMLESS = """
    model custom_llm_provider api_version organization base_model region_name timeout stream_timeout max_retries
    num_retries weight order tags cooldown_time drop_params additional_drop_params allowed_openai_params mock_response
    configurable_clientside_auth_params litellm_credential_name use_in_pass_through use_litellm_proxy
    merge_reasoning_content_in_choices max_budget budget_duration cache caching guardrails rpm tpm itpm otpm rpd tpd
    daily_reset_time max_parallel_requests default_api_key_rpm_limit default_api_key_tpm_limit ssl_verify tag_regex
    supports_system_message
    audio dimensions encoding_format frequency_penalty function_call keep_alive logit_bias logprobs
    max_completion_tokens max_tokens min_p modalities n num_batch num_ctx num_gpu num_keep num_predict num_thread
    parallel_tool_calls presence_penalty reasoning reasoning_effort repeat_last_n repeat_penalty repetition_penalty
    response_format safety_settings seed service_tier stop stop_sequences store stream_options temperature tfs_z think
    thinking tool_choice top_a top_k top_logprobs top_p transforms typical_p verbosity mirostat mirostat_eta
    mirostat_tau
"""
_OPEN = frozenset(_HARMLESS.split())


def divided(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What anybody may read, and what is secret.

    What is not known to be harmless is secret: headers, `extra_body`, whatever a provider calls its keys. An address
    is secret when it could hold credentials; the name of a variable never is.
    """
    public = {name: value for name, value in params.items() if not _secret(name, value)}
    return public, {name: value for name, value in params.items() if name not in public}


def shown(secrets: Mapping[str, Any]) -> dict[str, Any]:
    """What is secret as it may be shown: that it is there, and of an address what is no credential."""
    return {name: address(value) if name in _ADDRESSES else HIDDEN for name, value in secrets.items()}


def unmasked(params: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """What a client sends, less what it was shown instead of these secrets and sends back: it means them."""
    masks = shown(secrets)
    return {name: value for name, value in params.items() if name not in masks or value not in (masks[name], HIDDEN)}


def _secret(name: str, value: Any) -> bool:
    if value is None or (isinstance(value, str) and value.startswith(REFERENCE)):
        return False
    if name in _ADDRESSES:
        return bool(value != address(value))
    return name not in _OPEN and "cost" not in name.split("_")


def address(value: Any) -> str:
    """A URL without user, password, query and fragment; the mask for what is none."""
    if not isinstance(value, str):
        return HIDDEN
    try:
        parts = urlsplit(value)
    except ValueError:
        return HIDDEN
    if not parts.scheme or not parts.netloc:
        return HIDDEN
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
