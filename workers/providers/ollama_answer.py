"""Ollama's answers and NDJSON lines as OpenAI's.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from collections.abc import Callable
from typing import Any

import msgspec

from schemas.failures import Kind, Refused
from schemas.usage import Usage
from workers.estimate import Passed, estimate_text
from workers.providers.ahead import Ahead
from workers.providers.chat import DONE, Chunks, tool_call
from workers.providers.openai_usage import whole
from workers.providers.refusals import error_object, failure_of

_LONGEST = 16 * 2**20  # bytes of one line


class Said(msgspec.Struct):
    """The message of an answer or of a line."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Line(msgspec.Struct):
    """One line of a stream, or a whole answer, of `/api/chat` and `/api/generate`."""

    model: str = ""
    message: Said | None = None
    response: str | None = None  # /api/generate
    thinking: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None

    @property
    def said(self) -> Said:
        """What the line says, from either endpoint."""
        return self.message or Said(self.response, self.thinking)


_LINE = msgspec.json.Decoder(Line)


def read_line(data: bytes, secrets: tuple[str, ...]) -> Line:
    """A line or an answer. Raises `Refused`: PROVIDER_GARBLED, or the error that it holds."""
    try:
        line = _LINE.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise Refused(Kind.PROVIDER_GARBLED, "The provider's answer is not one of Ollama's.") from None
    if line.error is not None:
        raise Refused.carrying(failure_of(0, {}, error_object(data), secrets))
    if line.message is None and line.response is None and line.done is None:
        raise Refused(Kind.PROVIDER_GARBLED, "The provider's answer is not one of Ollama's.")
    return line


def usage_of(line: Line, prompt: Callable[[], int], completion: Callable[[], int]) -> Usage:
    """The counts of a last line. Ollama leaves the prompt's out when it was in its cache: then it is estimated."""
    missing = line.prompt_eval_count is None or line.eval_count is None
    return Usage(
        prompt=prompt() if line.prompt_eval_count is None else whole(line.prompt_eval_count),
        completion=completion() if line.eval_count is None else whole(line.eval_count),
        estimated=missing,
    )


def finish_of(reason: str | None, *, called: bool) -> str:
    """OpenAI's finish reason."""
    if called:
        return "tool_calls"
    return "length" if reason == "length" else "stop"


def calls_of(said: Said, mark: str, start: int) -> list[dict[str, Any]]:
    """Tool calls; Ollama's have arguments as objects and often no id: then one is made of the request's."""
    found = []
    for at, call in enumerate(said.tool_calls or (), start):
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
        found.append(tool_call(at, str(call.get("id") or f"call_{mark}_{at}"), str(function.get("name")), text))
    return found


class Stream:
    """The `Translation` of Ollama's NDJSON. `chat` False writes text completions."""

    def __init__(
        self, writer: Callable[[str], "Writer"], mark: str, secrets: tuple[str, ...], prompt: Callable[[], int]
    ) -> None:
        self._make, self._mark, self._secrets, self._prompt = writer, mark, secrets, prompt
        self._writer: Writer | None = None
        self._parts: list[bytes] = []
        self._held = 0
        self._calls = 0
        self._ahead = Ahead()
        self._passed = Passed(len)
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage:
        """Ollama's counts once the last line came, else an estimate of what passed."""
        return self._usage or Usage(prompt=self._prompt(), completion=self._passed.tokens, estimated=True)

    def feed(self, data: bytes) -> bytes:
        """Chunks for the lines that are whole now. Raises `Refused` for an error line, or for no line of Ollama's."""
        self._ahead.check()
        head, newline, tail = data.rpartition(b"\n")
        if not newline:
            self._hold(data)
            return b""
        lines = b"".join((*self._parts, head)).split(b"\n")
        self._parts, self._held = [], 0
        self._hold(tail)
        return self._ahead.join(self._translate, [line for line in lines if line.strip()])

    def end(self) -> bytes:
        """A last line without a line feed. Raises `Refused(PROVIDER_BROKE_OFF)` when the end was not announced."""
        self._ahead.check()
        rest = b"".join(self._parts)
        last = self._translate(rest) if rest.strip() else b""
        if self._usage is None:
            raise Refused(Kind.PROVIDER_BROKE_OFF, "The provider's stream ended early.")
        return last

    def _hold(self, data: bytes) -> None:
        if not data:
            return
        self._parts.append(data)
        self._held += len(data)
        if self._held > _LONGEST:
            raise Refused(Kind.PROVIDER_GARBLED, "The provider sent an endless line.")

    def _translate(self, raw: bytes) -> bytes:
        line = read_line(raw, self._secrets)
        if self._usage is not None:
            return b""
        said = line.said
        calls = calls_of(said, self._mark, self._calls)
        self._calls += len(calls)
        self._passed.add(((said.content or "") + (said.thinking or "")).encode(errors="replace"))
        for call in calls:
            self._passed.add(call["function"]["arguments"].encode(errors="replace"))
        first = self._writer is None
        writer = self._writer = self._writer or self._make(line.model)
        found = (writer.start() if first else b"") + writer.piece(said, calls)
        if line.done:
            self._usage = usage_of(line, self._prompt, lambda: self._passed.tokens)
            found += writer.finish(finish_of(line.done_reason, called=self._calls > 0), self._usage)
        return found


class Writer:
    """Writes chat chunks; `Texts` writes completions."""

    def __init__(self, chunks: Chunks, include_usage: bool) -> None:
        self._chunks = chunks
        self._include_usage = include_usage

    def start(self) -> bytes:
        """The role."""
        return self._chunks.delta({"role": "assistant", "content": ""})

    def piece(self, said: Said, calls: list[dict[str, Any]]) -> bytes:
        """What a line says; b"" when it says nothing."""
        delta: dict[str, Any] = {}
        if said.thinking:
            delta["reasoning_content"] = said.thinking
        if said.content:
            delta["content"] = said.content
        if calls:
            delta["tool_calls"] = calls
        return self._chunks.delta(delta) if delta else b""

    def finish(self, reason: str, usage: Usage) -> bytes:
        """The finish reason, the usage for who asked, and the end."""
        last = self._chunks.usage(usage) if self._include_usage else b""
        return self._chunks.delta({}, reason) + last + DONE


class Texts(Writer):
    """Writes the chunks of a text completion."""

    def start(self) -> bytes:
        """Nothing."""
        return b""

    def piece(self, said: Said, calls: list[dict[str, Any]]) -> bytes:
        """The text."""
        return self._chunks.text(said.content) if said.content else b""

    def finish(self, reason: str, usage: Usage) -> bytes:
        """As for chat."""
        last = self._chunks.usage(usage) if self._include_usage else b""
        return self._chunks.text("", reason) + last + DONE


def message_of(said: Said, mark: str) -> dict[str, Any]:
    """OpenAI's assistant message."""
    calls = calls_of(said, mark, 0)
    for call in calls:
        del call["index"]
    found: dict[str, Any] = {"role": "assistant", "content": said.content or (None if calls else ""), "refusal": None}
    if said.thinking:
        found["reasoning_content"] = said.thinking
    if calls:
        found["tool_calls"] = calls
    return found


def tokens_of(said: Said) -> int:
    """An estimate of what was said."""
    return estimate_text((said.content or "") + (said.thinking or ""))
