"""OpenAI's messages and tools as Anthropic's: system apart, turns merged, tool results inside user turns.

Source: https://docs.anthropic.com/en/api/messages
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from workers.providers.chat import arguments_of, bad

Block = dict[str, Any]
_DATA_URL = re.compile(r"data:([^;,]+)(?:;[^,]*)?;base64,(.*)", re.S)
_NO_INPUT: Block = {"type": "object", "properties": {}}


def convert(messages: Any) -> tuple[list[Block], list[Block]]:
    """(system blocks, turns). Raises `Refused` naming the message that cannot be said in Anthropic's form."""
    if not isinstance(messages, list):
        raise bad("messages", "'messages' must be an array.")
    system: list[Block] = []
    turns: list[Block] = []
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role in ("system", "developer"):
            system += _blocks(message, where, {"text": _text})
            continue
        turn = _ROLES.get(str(role))
        if turn is None:
            raise bad("messages", f"{where}: the role must be system, developer, user, assistant or tool.")
        name, blocks = turn(message, where)
        if turns and turns[-1]["role"] == name:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": name, "content": blocks})
    return system, turns


def _user(message: Block, where: str) -> tuple[str, list[Block]]:
    return "user", _blocks(message, where, _PARTS)


def _assistant(message: Block, where: str) -> tuple[str, list[Block]]:
    thoughts = message.get("thinking_blocks") or []
    if not isinstance(thoughts, list):
        raise bad("messages", f"{where}.thinking_blocks must be an array.")
    blocks = [*thoughts, *_blocks(message, where, {"text": _text, "refusal": _refusal})]
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise bad("messages", f"{where}: every tool call must have a function.")
        block = {"type": "tool_use", "id": call.get("id"), "name": function.get("name")}
        blocks.append(_cached({**block, "input": arguments_of(call, "messages")}, call))
    return "assistant", blocks


def _tool(message: Block, where: str) -> tuple[str, list[Block]]:
    content = message.get("content")
    inner: Any = content if isinstance(content, str) else _blocks({"content": content}, where, _PARTS)
    block = {"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": inner}
    return "user", [_cached(block, message)]


def _blocks(message: Block, where: str, known: Mapping[str, Callable[[Block, str], Block]]) -> list[Block]:
    content = message.get("content")
    if content is None or content == "":
        return []  # Anthropic refuses empty text blocks
    if isinstance(content, str):
        return [_cached({"type": "text", "text": content}, message)]
    if not isinstance(content, list):
        raise bad("messages", f"{where}.content must be a string or an array.")
    found = []
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        make = known.get(str(kind))
        if make is None:
            raise bad("messages", f"{where}.content[{at}]: Anthropic takes no part of type '{kind}' here.")
        block = _cached(make(part, f"{where}.content[{at}]"), part)
        if block.get("text") != "":
            found.append(block)
    if found:
        found[-1] = _cached(found[-1], message)
    return found


def _cached(block: Block, source: Block) -> Block:
    control = source.get("cache_control")
    return block if control is None else {**block, "cache_control": control}


def _text(part: Block, where: str) -> Block:
    if not isinstance(part.get("text"), str):
        raise bad("messages", f"{where}.text must be a string.")
    return {"type": "text", "text": part["text"]}


def _refusal(part: Block, where: str) -> Block:
    return _text({"text": part.get("refusal")}, where)


def _image(part: Block, where: str) -> Block:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise bad("messages", f"{where}.image_url.url must be a string.")
    return {"type": "image", "source": _source(url, where)}


def _file(part: Block, where: str) -> Block:
    file = part.get("file")
    file = file if isinstance(file, dict) else {}
    title = {"title": file["filename"]} if isinstance(file.get("filename"), str) else {}
    if isinstance(file.get("file_data"), str):
        return {"type": "document", "source": _source(file["file_data"], where), **title}
    if isinstance(file.get("file_id"), str):
        return {"type": "document", "source": {"type": "file", "file_id": file["file_id"]}, **title}
    raise bad("messages", f"{where}.file must have file_data or file_id.")


def _source(url: str, where: str) -> Block:
    if url.startswith(("http://", "https://")):
        return {"type": "url", "url": url}
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise bad("messages", f"{where}: the URL must be http, https or a base64 data URL.")
    return {"type": "base64", "media_type": match[1], "data": match[2]}


def _as_is(part: Block, _where: str) -> Block:
    return part


_PARTS: Mapping[str, Callable[[Block, str], Block]] = {
    "text": _text,
    "image_url": _image,
    "file": _file,
    "image": _as_is,  # Anthropic's own parts, as LiteLLM's users send them
    "document": _as_is,
    "search_result": _as_is,
}
_ROLES: Mapping[str, Callable[[Block, str], tuple[str, list[Block]]]] = {
    "user": _user,
    "assistant": _assistant,
    "tool": _tool,
}


def tools_of(tools: Any, *, strict: bool) -> list[Block]:
    """Function tools in Anthropic's form; its own kinds (`web_search_…`, `input_schema`) as they are."""
    if not isinstance(tools, list):
        raise bad("tools", "'tools' must be an array.")
    return [_tool_of(tool, strict) for tool in tools]


def _tool_of(tool: Any, strict: bool) -> Block:
    function = tool.get("function") if isinstance(tool, dict) else None
    if isinstance(tool, dict) and function is None and ("input_schema" in tool or tool.get("type") != "function"):
        return tool
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise bad("tools", "Every function tool must have a function with a name.")
    found: Block = {"name": function["name"], "input_schema": function.get("parameters") or _NO_INPUT}
    if isinstance(function.get("description"), str):
        found["description"] = function["description"]
    if strict and function.get("strict") is True:
        found["strict"] = True
    return _cached(found, tool if "cache_control" in tool else function)


def tool_choice_of(choice: Any, parallel: Any) -> Block | None:
    """Anthropic's `tool_choice`; None to leave it out. `parallel` is `parallel_tool_calls`."""
    found: Block | None = None
    if isinstance(choice, str):
        found = _CHOICES.get(choice)
        if found is None:
            raise bad("tool_choice", "'tool_choice' must be none, auto, required or name a function.")
    elif isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        found = {"type": "tool", "name": name} if name else choice
    if parallel is False and (found is None or found.get("type") != "none"):
        found = {**(found or {"type": "auto"}), "disable_parallel_tool_use": True}
    return found


_CHOICES: Mapping[str, Block] = {
    "auto": {"type": "auto"},
    "none": {"type": "none"},
    "required": {"type": "any"},
    "any": {"type": "any"},
}


def stops_of(stop: Any) -> list[str]:
    """`stop` as a list."""
    found: Iterable[Any] = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else ()
    return [text for text in found if isinstance(text, str)]
