"""Anthropic's Messages API behind OpenAI's chat completions.

Told apart from OpenAI's: `max_tokens` is required (`DEFAULT_MAX_TOKENS` when nobody says), system messages stand apart,
`reasoning_effort` becomes thinking, `response_format` structured output, or a forced tool with models before 4.5.
Source: https://docs.anthropic.com/en/api/messages
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from schemas.catalog import upstream_model
from schemas.config import Deployment
from schemas.envelope import Endpoint, Request
from schemas.failures import Failure, Kind, Refused
from workers.estimate import estimate_prompt
from workers.providers.access import Access
from workers.providers.anthropic_answer import JSON_TOOL, Message, Stream, finish_of, message_of, usage_of
from workers.providers.anthropic_messages import convert, stops_of, tool_choice_of, tools_of
from workers.providers.chat import Completion, bad, decode_body, leave_out
from workers.providers.headers import shown
from workers.providers.port import About, Answered, Call, Script
from workers.providers.refusals import error_object, failure_of

ABOUT = About(
    names=("anthropic",),
    base="https://api.anthropic.com",
    keys=("ANTHROPIC_API_KEY",),
    bases=("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
)
VERSION = "2023-06-01"
DEFAULT_MAX_TOKENS = 4096

_NO_STRUCTURED_OUTPUT = re.compile(r"claude-(instant|[123][.-]|v?[123]$|(opus|sonnet)-4(-0|-20|@|$))")
_BUDGETED = re.compile(r"claude-(3-7|(opus|sonnet|haiku)-4(-0|-1|-5|-20|@|$))")
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
_EFFORTS = {"minimal": "low"}
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_UNSUPPORTED = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "modalities",
        "n",
        "prediction",
        "presence_penalty",
        "seed",
        "store",
        "top_logprobs",
        "verbosity",
        "web_search_options",
    }
)
_HINTS = frozenset({"stream_options", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"})
"""Not for the provider: they change nothing in the answer."""

_ANSWER = msgspec.json.Decoder(Message)
Fields = dict[str, Any]


class Adapter:
    """One deployment of Anthropic's."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "anthropic-version": VERSION}
        base = (deployment.api_base or ABOUT.base or "").rstrip("/").removesuffix("/v1/messages").removesuffix("/v1")
        self._access = Access(deployment.model_copy(update={"api_base": base}), None, headers, ("x-api-key", "{}"))

    def call(self, request: Request, body: bytes, credentials: Mapping[str, Any]) -> Call | Script:
        """The Messages request. Unknown parameters travel as they are."""
        if request.endpoint is not Endpoint.CHAT:
            raise Refused(Kind.INVALID_REQUEST, f"Anthropic has no {request.endpoint.value}; use chat completions.")
        asked = decode_body(body)
        fields = {**self._defaults(asked), **asked}
        leave_out(fields, _UNSUPPORTED, drop_params=self._deployment.drop_params, provider="Anthropic")
        for name in _HINTS:
            fields.pop(name, None)
        model = upstream_model(self._deployment, request.model)
        system, turns = convert(fields.pop("messages", None))
        for name, translate in _PARAMETERS:
            if name in fields:
                value = fields.pop(name)
                if value is not None:
                    translate(fields, value, model)
        _choose_tool(fields)
        fields.setdefault("max_tokens", DEFAULT_MAX_TOKENS + _budget(fields))
        if system:
            fields["system"] = system
        sent = {**fields, "model": model, "messages": turns, **self._deployment.extra_body}
        url, headers = self._access.to("/v1/messages", credentials)
        return Call(url, headers, msgspec.json.encode(sent))

    def answer(self, request: Request, headers: Mapping[str, str], body: bytes, asked: bytes = b"") -> Answered:
        """A chat completion. Raises `Refused(PROVIDER_GARBLED)`."""
        try:
            message = _ANSWER.decode(body)
        except (msgspec.DecodeError, RecursionError):
            raise Refused(Kind.PROVIDER_GARBLED, "The provider's answer is not a Messages object.") from None
        if not message.id and not message.content:
            raise Refused(Kind.PROVIDER_GARBLED, "The provider's answer is not a Messages object.")
        used = [block.get("name") for block in message.content if block.get("type") == "tool_use"]
        completion = Completion(
            mark=message.id,
            model=message.model or upstream_model(self._deployment, request.model),
            created=int(request.received),
            message=message_of(message.content),
            finish=finish_of(message.stop_reason, json_tool=bool(used) and set(used) == {JSON_TOOL}),
            usage=usage_of(message.usage),
        )
        return Answered(completion.encode(), completion.usage, shown(headers))

    def stream(self, request: Request, body: bytes) -> Stream:
        """Chunks for the Messages events."""
        return Stream(
            int(request.received),
            upstream_model(self._deployment, request.model),
            self._access.secrets,
            lambda: estimate_prompt(body),
            include_usage=request.include_usage,
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """By status and Anthropic's error type; see `refusals`."""
        return failure_of(status, headers, error_object(body), self._access.secrets)

    def _defaults(self, asked: Fields) -> Fields:
        found = dict(self._deployment.body)
        if "max_completion_tokens" in asked:
            found.pop("max_tokens", None)
        return found


def _max_tokens(fields: Fields, value: Any, _model: str) -> None:
    fields["max_tokens"] = value


def _stop(fields: Fields, value: Any, _model: str) -> None:
    stops = stops_of(value)
    if stops:
        fields["stop_sequences"] = stops


def _user(fields: Fields, value: Any, _model: str) -> None:
    metadata = fields.get("metadata")
    fields["metadata"] = {"user_id": value, **(metadata if isinstance(metadata, dict) else {})}


def _tier(fields: Fields, value: Any, _model: str) -> None:
    tier = _TIERS.get(value) if isinstance(value, str) else None
    if tier is None:
        raise bad("service_tier", "Anthropic's service_tier is 'auto' or 'standard_only'.")
    fields["service_tier"] = tier


def _tools(fields: Fields, value: Any, model: str) -> None:
    tools = tools_of(value, strict=_NO_STRUCTURED_OUTPUT.search(model) is None)
    if tools:
        fields["tools"] = tools


def _effort(fields: Fields, value: Any, model: str) -> None:
    """LiteLLM's budgets for models that think by budget; the newer ones take the effort itself."""
    if value not in (*_BUDGETS, "none"):
        raise bad("reasoning_effort", f"'reasoning_effort' must be one of none, {', '.join(_BUDGETS)}.")
    if "thinking" in fields:
        return
    if value == "none":
        fields["thinking"] = {"type": "disabled"}
    elif _BUDGETED.search(model):
        fields["thinking"] = {"type": "enabled", "budget_tokens": _BUDGETS[value]}
    else:
        fields["thinking"] = {"type": "adaptive"}
        _configure_output(fields, "effort", _EFFORTS.get(value, value))


def _format(fields: Fields, value: Any, model: str) -> None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return
    if kind not in ("json_schema", "json_object"):
        raise bad("response_format", "'response_format.type' must be text, json_object or json_schema.")
    inner = value.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else value.get("response_schema")
    if kind == "json_schema" and not isinstance(schema, dict):
        raise bad("response_format", "'response_format.json_schema.schema' must be an object.")
    if isinstance(schema, dict) and not _NO_STRUCTURED_OUTPUT.search(model):
        _configure_output(fields, "format", {"type": "json_schema", "schema": schema})
        return
    tool = {"name": JSON_TOOL, "input_schema": schema or {"type": "object", "additionalProperties": True}}
    fields["tools"] = [*fields.get("tools", ()), tool]
    if len(fields["tools"]) == 1 and fields.get("thinking") in (None, {"type": "disabled"}):
        fields["tool_choice"] = {"type": "tool", "name": JSON_TOOL}  # thinking allows no forced tool


def _configure_output(fields: Fields, name: str, value: Any) -> None:
    config = fields.get("output_config")
    fields["output_config"] = {name: value, **(config if isinstance(config, dict) else {})}


def _choose_tool(fields: Fields) -> None:
    choice, parallel = fields.pop("tool_choice", None), fields.pop("parallel_tool_calls", None)
    if fields.get("tools"):
        chosen = tool_choice_of(choice, parallel)
        if chosen is not None:
            fields["tool_choice"] = chosen


def _budget(fields: Fields) -> int:
    """Thinking counts into `max_tokens`: the default grows by it."""
    thinking = fields.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return budget if isinstance(budget, int) else 0


_PARAMETERS: tuple[tuple[str, Callable[[Fields, Any, str], None]], ...] = (
    ("max_completion_tokens", _max_tokens),
    ("stop", _stop),
    ("user", _user),
    ("service_tier", _tier),
    ("tools", _tools),
    ("reasoning_effort", _effort),
    ("response_format", _format),
)
"""In this order: the format looks at the tools and the thinking."""
