"""OpenAI's messages and parameters as Ollama's: images beside the text, sampling in `options`.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

import re
from collections.abc import Mapping
from typing import Any

from workers.providers.chat import arguments_of, bad, leave_out

Fields = dict[str, Any]
_DATA_URL = re.compile(r"data:[^;,]+(?:;[^,]*)?;base64,(.*)", re.S)

_RENAMED = {"max_tokens": "num_predict", "max_completion_tokens": "num_predict"}
_OPTIONS = frozenset(
    {
        "frequency_penalty",
        "main_gpu",
        "min_p",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "num_batch",
        "num_ctx",
        "num_gpu",
        "num_keep",
        "num_predict",
        "num_thread",
        "penalize_newline",
        "presence_penalty",
        "repeat_last_n",
        "repeat_penalty",
        "seed",
        "stop",
        "temperature",
        "tfs_z",
        "top_k",
        "top_p",
        "typical_p",
        "use_mmap",
    }
)
"""OpenAI's own and Ollama's; LiteLLM's users send both kinds at the top level."""

_UNSUPPORTED = frozenset(
    {
        "audio",
        "best_of",
        "echo",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "modalities",
        "n",
        "prediction",
        "service_tier",
        "store",
        "top_logprobs",
        "verbosity",
        "web_search_options",
    }
)
_HINTS = ("stream_options", "user", "prompt_cache_key", "prompt_cache_retention", "safety_identifier")
"""Ollama has nothing they could mean: they change nothing in the answer."""


def parameters(fields: Fields, model: str, *, drop_params: bool) -> Fields:
    """The request without what is asked in `messages`, `prompt` or `input`; unknown fields travel as they are."""
    found = dict(fields)
    leave_out(found, _UNSUPPORTED, drop_params=drop_params, provider="Ollama")
    for name in _HINTS:
        found.pop(name, None)
    _choose_tool(found, drop_params)
    options = _own_options(found.pop("options", None))
    for name in [*_RENAMED, *sorted(_OPTIONS & found.keys())]:
        value = found.pop(name, None)
        if value is not None:
            options[_RENAMED.get(name, name)] = [value] if name == "stop" and isinstance(value, str) else value
    if options:
        found["options"] = options
    form = _format(found.pop("response_format", None))
    if form is not None:
        found["format"] = form
    effort = found.pop("reasoning_effort", None)
    if effort is not None:
        found.setdefault("think", _think(effort, model))
    return found


def _own_options(value: Any) -> Fields:
    if value is not None and not isinstance(value, dict):
        raise bad("options", "options must be an object.")
    return dict(value or {})


def _choose_tool(fields: Fields, drop_params: bool) -> None:
    """Ollama knows no `tool_choice`: auto is what it does, none is no tools."""
    choice, parallel = fields.pop("tool_choice", None), fields.pop("parallel_tool_calls", None)
    if choice == "none":
        fields.pop("tools", None)
    elif choice not in (None, "auto") and not drop_params:
        raise bad("tool_choice", "Ollama supports only the values 'auto' and 'none' of 'tool_choice'.")
    if parallel is False and not drop_params:
        raise bad("parallel_tool_calls", "Ollama does not support the parameter 'parallel_tool_calls'.")


def _format(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if value is None or kind == "text":
        return None
    if kind == "json_object":
        return "json"
    inner = value.get("json_schema") if isinstance(value, dict) else None
    if kind == "json_schema" and isinstance(inner, dict) and isinstance(inner.get("schema"), dict):
        return inner["schema"]
    raise bad("response_format", "'response_format' must be of type text, json_object, or json_schema with a schema.")


def _think(effort: Any, model: str) -> Any:
    """gpt-oss thinks in levels, the others only on or off."""
    if effort == "none":
        return False
    if "gpt-oss" in model:
        return "low" if effort == "minimal" else effort
    return True


def convert(messages: Any) -> list[Fields]:
    """Ollama's messages. Raises `Refused` naming the one that cannot be said in its form."""
    if not isinstance(messages, list):
        raise bad("messages", "'messages' must be an array.")
    names: dict[str, str] = {}  # tool call id -> tool
    return [_message(message, f"messages[{at}]", names) for at, message in enumerate(messages)]


def _message(message: Any, where: str, names: dict[str, str]) -> Fields:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise bad("messages", f"{where}: the role must be system, developer, user, assistant or tool.")
    text, images = _content(message.get("content"), where)
    found: Fields = {"role": "system" if role == "developer" else role, "content": text}
    if images:
        found["images"] = images
    if role == "assistant":
        _add_calls(found, message, where, names)
    elif role == "tool":
        name = message.get("name") or names.get(str(message.get("tool_call_id")))
        if name:
            found["tool_name"] = name
        found["tool_call_id"] = message.get("tool_call_id")
    return found


def _add_calls(found: Fields, message: Mapping[str, Any], where: str, names: dict[str, str]) -> None:
    if isinstance(message.get("reasoning_content"), str):
        found["thinking"] = message["reasoning_content"]
    calls = []
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise bad("messages", f"{where}: every tool call must have a function with a name.")
        names[str(call.get("id"))] = function["name"]
        arguments = arguments_of(call, "messages")
        calls.append({"id": call.get("id"), "function": {"name": function["name"], "arguments": arguments}})
    if calls:
        found["tool_calls"] = calls


def _content(content: Any, where: str) -> tuple[str, list[str]]:
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, list):
        raise bad("messages", f"{where}.content must be a string or an array.")
    texts, images = [], []
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), f"{where}.content[{at}]"))
        else:
            raise bad("messages", f"{where}.content[{at}]: Ollama takes only text and images.")
    return "\n".join(texts), images


def _image(image: Any, where: str) -> str:
    url = image.get("url") if isinstance(image, dict) else image
    match = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
    if match is None:
        raise bad("messages", f"{where}: Ollama takes images only as base64 data URLs.")
    return match[1]
