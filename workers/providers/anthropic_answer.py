"""Anthropic's answers and events as OpenAI's: blocks to message, deltas to chunks.

Source: https://docs.anthropic.com/en/api/messages, https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from schemas.failures import Kind, Refused
from schemas.usage import Usage
from workers.estimate import Passed
from workers.providers.ahead import Ahead
from workers.providers.chat import DONE, Chunks, tool_call
from workers.providers.openai_usage import whole
from workers.providers.refusals import failure_of
from workers.providers.sse import Cutter, events, parse

JSON_TOOL = "json_tool_call"
"""The tool that stands for `response_format` with models that have no structured output; its input is the content."""

_FINISH: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class OutputDetails(msgspec.Struct):
    """Part of `usage`."""

    thinking_tokens: int = 0


class Used(msgspec.Struct):
    """Anthropic's `usage`; what a later event does not say stays as it was."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class Message(msgspec.Struct):
    """A whole answer, or the frame of one in `message_start`."""

    id: str = ""
    model: str = ""
    content: list[dict[str, Any]] = []
    stop_reason: str | None = None
    usage: Used = msgspec.field(default_factory=Used)


class Delta(msgspec.Struct):
    """The delta of a block or of the message."""

    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None


class Event(msgspec.Struct):
    """One event of the stream."""

    type: str
    index: int = 0
    message: Message | None = None
    content_block: dict[str, Any] | None = None
    delta: Delta | None = None
    usage: Used | None = None
    error: dict[str, Any] | None = None


_EVENT = msgspec.json.Decoder(Event)


def finish_of(reason: str | None, *, json_tool: bool) -> str:
    """OpenAI's finish reason; an answer through the JSON tool has not stopped for a tool."""
    if json_tool and reason == "tool_use":
        return "stop"
    return _FINISH.get(reason or "", "stop")


def usage_of(used: Used) -> Usage:
    """Anthropic counts cached tokens beside `input_tokens`, OpenAI inside the prompt."""
    cached, written = whole(used.cache_read_input_tokens), whole(used.cache_creation_input_tokens)
    details = used.output_tokens_details
    return Usage(
        prompt=whole(used.input_tokens) + cached + written,
        completion=whole(used.output_tokens),
        cached=cached,
        cache_write=written,
        reasoning=whole(details.thinking_tokens) if details is not None else 0,
    )


def message_of(content: list[dict[str, Any]]) -> dict[str, Any]:
    """OpenAI's assistant message for Anthropic's blocks, with LiteLLM's `reasoning_content` and `thinking_blocks`."""
    texts, calls, thoughts = [], [], []
    for block in content:
        kind = block.get("type")
        if kind == "text":
            texts.append(str(block.get("text", "")))
        elif kind == "tool_use" and block.get("name") == JSON_TOOL:
            texts.append(msgspec.json.encode(block.get("input")).decode())
        elif kind == "tool_use":
            arguments = msgspec.json.encode(block.get("input") or {}).decode()
            call = tool_call(0, str(block.get("id")), str(block.get("name")), arguments)
            del call["index"]
            calls.append(call)
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(block)
    found: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if calls:
        found["tool_calls"] = calls
    if thoughts:
        found["reasoning_content"] = "".join(str(block.get("thinking", "")) for block in thoughts)
        found["thinking_blocks"] = thoughts
    return found


class Stream:
    """The `Translation` of one Messages stream."""

    def __init__(
        self, created: int, model: str, secrets: tuple[str, ...], prompt: Callable[[], int], *, include_usage: bool
    ) -> None:
        self._created, self._model = created, model
        self._secrets, self._prompt = secrets, prompt
        self._include_usage = include_usage
        self._cutter = Cutter()
        self._chunks = Chunks("", model, created)
        self._ahead = Ahead()
        self._passed = Passed(len)
        self._used = Used()
        self._tools: dict[int, int] = {}  # block -> tool call
        self._silent: set[int] = set()  # tool blocks that have had no input yet
        self._json: set[int] = set()
        self._counted = self._started = self._done = False
        self._handlers: Mapping[str, Callable[[Event], bytes]] = {
            "message_start": self._start,
            "content_block_start": self._open,
            "content_block_delta": self._delta,
            "content_block_stop": self._close,
            "message_delta": self._finish,
            "message_stop": self._stop,
            "error": self._error,
        }

    @property
    def usage(self) -> Usage:
        """The provider's word; before its last event came, what passed is estimated."""
        usage = usage_of(self._used)
        if self._counted:
            return usage
        prompt = usage.prompt or self._prompt()
        said = max(usage.completion, self._passed.tokens)
        return msgspec.structs.replace(usage, prompt=prompt, completion=said, estimated=True)

    def feed(self, data: bytes) -> bytes:
        """Chunks for what arrived. Raises `Refused` for an error event, and for what is no event stream."""
        self._ahead.check()
        block = self._cutter.feed(data)
        return self._ahead.join(self._translate, events(block)) if block else b""

    def end(self) -> bytes:
        """Nothing: `message_stop` was the end. Raises `Refused(PROVIDER_BROKE_OFF)` when it did not come."""
        self._ahead.check()
        rest = self._cutter.rest()
        last = self._translate(rest) if rest.strip() else b""
        if not self._started:
            raise Refused(Kind.PROVIDER_GARBLED, "The provider's answer is not an event stream.")
        if not self._done:
            raise Refused(Kind.PROVIDER_BROKE_OFF, "The provider's stream ended early.")
        return last

    def _translate(self, raw: bytes) -> bytes:
        data = parse(raw)[1]
        if not data:
            return b""
        try:
            event = _EVENT.decode(data)
        except (msgspec.DecodeError, RecursionError):
            raise Refused(Kind.PROVIDER_GARBLED, "The provider sent an event that cannot be read.") from None
        handler = self._handlers.get(event.type)  # ping, and what Anthropic may add: nothing to tell
        return handler(event) if handler is not None else b""

    def _start(self, event: Event) -> bytes:
        message = event.message or Message()
        self._started = True
        self._count(message.usage)
        self._chunks = Chunks(message.id, message.model or self._model, self._created)
        return self._chunks.delta({"role": "assistant", "content": ""})

    def _open(self, event: Event) -> bytes:
        block = event.content_block or {}
        kind = block.get("type")
        if kind == "tool_use" and block.get("name") == JSON_TOOL:
            self._json.add(event.index)
        elif kind == "tool_use":
            at = self._tools[event.index] = len(self._tools)
            given = block.get("input")
            arguments = msgspec.json.encode(given).decode() if given else ""
            if not arguments:
                self._silent.add(event.index)
            call = tool_call(at, str(block.get("id")), str(block.get("name")), arguments)
            return self._chunks.delta({"tool_calls": [call]})
        elif kind == "text" and block.get("text"):
            return self._chunks.delta({"content": block["text"]})
        elif kind == "redacted_thinking":
            return self._chunks.delta({"reasoning_content": "", "thinking_blocks": [block]})
        return b""

    def _delta(self, event: Event) -> bytes:
        delta = event.delta or Delta()
        if not self._counted:
            self._passed.add((delta.text or delta.partial_json or delta.thinking).encode(errors="replace"))
        match delta.type:
            case "text_delta":
                return self._chunks.delta({"content": delta.text})
            case "input_json_delta" if delta.partial_json:
                return self._input(event.index, delta.partial_json)
            case "thinking_delta" | "signature_delta":
                block = {"type": "thinking", "thinking": delta.thinking, "signature": delta.signature}
                return self._chunks.delta({"reasoning_content": delta.thinking, "thinking_blocks": [block]})
        return b""

    def _input(self, block: int, text: str) -> bytes:
        if block in self._json:
            return self._chunks.delta({"content": text})
        at = self._tools.get(block)
        if at is None:
            return b""  # a server tool: the provider runs it
        self._silent.discard(block)
        return self._chunks.delta({"tool_calls": [{"index": at, "function": {"arguments": text}}]})

    def _close(self, event: Event) -> bytes:
        """A call without arguments is an empty object for OpenAI's clients, not an empty text."""
        return self._input(event.index, "{}") if event.index in self._silent else b""

    def _finish(self, event: Event) -> bytes:
        if event.usage is not None:
            self._count(event.usage)
            self._counted = True
            self._passed.forget()
        reason = event.delta.stop_reason if event.delta is not None else None
        if reason is None:
            return b""
        return self._chunks.delta({}, finish_of(reason, json_tool=bool(self._json) and not self._tools))

    def _stop(self, _event: Event) -> bytes:
        self._done = True
        return (self._chunks.usage(self.usage) if self._include_usage else b"") + DONE

    def _error(self, event: Event) -> bytes:
        raise Refused.carrying(failure_of(0, {}, _with_message(event.error), self._secrets))

    def _count(self, used: Used) -> None:
        for name in used.__struct_fields__:
            value = getattr(used, name)
            if value is not None:
                setattr(self._used, name, value)


def _with_message(error: dict[str, Any] | None) -> dict[str, Any] | None:
    return error if error is not None and isinstance(error.get("message"), str) else None
