"""OpenAI's event stream on its way through: whole events, byte for byte, in the blocks they came in.

What is taken out: the usage chunk of who did not ask for it, and comments before the first event (a comment would open
the client's stream, and a provider's error could no longer be a status). What is added: a missing `[DONE]`.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from schemas.failures import Failure, Kind, Refused
from schemas.usage import Usage
from workers.estimate import Passed
from workers.providers.chat import DONE
from workers.providers.openai_usage import read_usage
from workers.providers.refusals import error_object, failure_of
from workers.providers.sse import Cutter, events, parse

_BEFORE_DONE = re.compile(rb"(?:^|[\r\n])data: ?$")
_ERROR = re.compile(rb"(?:^|[\r\n])event: ?error|\"error\" ?:(?! ?null)")
_NULL = re.compile(rb" ?: ?null")
_STARTS = (b"data", b"event", b"id", b"retry", b":", b"\xef\xbb\xbf")
_WHITE = b" \t\r\n"


class _Delta(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    text: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None


class _Facts(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    choices: list[msgspec.Raw] | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)
_FACTS = msgspec.json.Decoder(_Facts)


class Stream:
    """The `Translation` of an OpenAI-shaped stream."""

    def __init__(self, secrets: tuple[str, ...], prompt: Callable[[], int], *, withhold: bool) -> None:
        self._secrets = secrets
        self._prompt = prompt
        self._withhold = withhold
        self._cutter = Cutter()
        self._passed = Passed(_text_of_block)
        self._usage: Usage | None = None
        self._begun = self._finished = self._done = False
        self._failure: Failure | None = None

    @property
    def usage(self) -> Usage:
        """The provider's word, else an estimate of what passed."""
        if self._usage is not None:
            return self._usage
        return Usage(prompt=self._prompt(), completion=self._passed.tokens, estimated=True)

    def feed(self, data: bytes) -> bytes:
        """Whole events of what arrived. Raises `Refused` for an error event, and for what is no event stream."""
        if self._failure is not None:
            raise Refused.carrying(self._failure)
        block = self._cutter.feed(data)
        if not self._begun:
            block = self._begin(block)
        return self._pass(block) if block else b""

    def end(self) -> bytes:
        """The rest, and `[DONE]` where the provider forgot it. Raises `Refused` after an early end."""
        if self._failure is not None:
            raise Refused.carrying(self._failure)
        rest, last = self._cutter.rest(), b""
        if rest.strip(_WHITE):
            if not self._begun and not rest.lstrip(_WHITE).startswith(_STARTS):
                raise self._no_stream(rest)
            if _is_whole(rest):
                last = self._pass(rest.rstrip(_WHITE) + b"\n\n")
        if self._failure is not None:
            raise Refused.carrying(self._failure)
        if not self._done and not self._finished:
            raise Refused(Kind.PROVIDER_BROKE_OFF, "The provider's stream ended early.")
        return last if self._done else last + DONE

    def _begin(self, block: bytes) -> bytes:
        """What is left of the first blocks without leading comments."""
        kept = block.lstrip(_WHITE)
        if not kept:
            return b""
        if not kept.startswith(_STARTS):
            raise self._no_stream(kept)
        found = events(block)
        while found and not parse(found[0])[1]:
            found.pop(0)
        self._begun = bool(found)
        return b"".join(found)

    def _no_stream(self, body: bytes) -> Refused:
        error = error_object(body)
        if error is not None:
            return Refused.carrying(failure_of(0, {}, error, self._secrets))
        return Refused(Kind.PROVIDER_GARBLED, "The provider's answer is not an event stream.")

    def _pass(self, block: bytes) -> bytes:
        # Plain substring tests first: they are far faster than a pattern that searches, and mostly say no.
        if b"error" in block and _ERROR.search(block):
            block = self._before_error(block)
        if self._usage is None:
            self._passed.add(block)
        if _has_usage(block):
            block = self._take_usage(block)
        self._finished = self._finished or b'"finish_reason":"' in block or b'"finish_reason": "' in block
        at = block.rfind(b"[DONE]")
        if at >= 0 and _BEFORE_DONE.search(block[max(0, at - 8) : at]):  # at a line's start, not in a text
            self._done = True
        return block

    def _before_error(self, block: bytes) -> bytes:
        """The events before an error. It raises at once when there are none, else at the next call."""
        found = events(block)
        for at, event in enumerate(found):
            failure = self._error_in(event)
            if failure is not None:
                if at == 0:
                    raise Refused.carrying(failure)
                self._failure = failure
                return b"".join(found[:at])
        return block

    def _error_in(self, event: bytes) -> Failure | None:
        name, data = parse(event)
        try:
            facts = _FACTS.decode(data)
        except msgspec.DecodeError:
            facts = _Facts()
        if name != b"error" and (facts.choices or bytes(facts.error) in (b"", b"null")):
            return None
        return failure_of(0, {}, error_object(data), self._secrets)

    def _take_usage(self, block: bytes) -> bytes:
        kept = []
        for event in events(block):
            facts = _facts(event) if _has_usage(event) else None
            usage = read_usage(facts.usage) if facts is not None else None
            if facts is None or usage is None:
                kept.append(event)
                continue
            self._usage = usage
            self._passed.forget()
            if facts.choices or not self._withhold:
                kept.append(event)
        return b"".join(kept)


def _has_usage(block: bytes) -> bool:
    """Whether there is a `usage` that is not null: OpenAI puts a null into every chunk before the last."""
    at = block.find(b'"usage"')
    while at >= 0:
        if not _NULL.match(block, at + 7):
            return True
        at = block.find(b'"usage"', at + 7)
    return False


def _facts(event: bytes) -> _Facts | None:
    try:
        return _FACTS.decode(parse(event)[1])
    except msgspec.DecodeError:
        return None


def _is_whole(rest: bytes) -> bool:
    """Whether the last event lacks nothing but its empty line."""
    data = parse(rest)[1].strip(_WHITE)
    if data == b"[DONE]":
        return True
    try:
        msgspec.json.decode(data)
    except msgspec.DecodeError:
        return False
    return True


def _text_of_block(block: bytes) -> int:
    return sum(text_of_answer(parse(event)[1]) for event in events(block))


def text_of_answer(data: bytes) -> int:
    """Bytes of generated text in a chunk or a whole answer, tool calls included; 0 for what cannot be read."""
    try:
        chunk = _CHUNK.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return 0
    size = 0
    for choice in chunk.choices or ():
        size += _size(choice.text)
        for part in (choice.delta, choice.message):
            if part is not None:
                size += sum(_size(value) for value in msgspec.structs.astuple(part))
    return size


def _size(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    if isinstance(value, list):
        return sum(_size(item) for item in value)
    if isinstance(value, dict):  # a tool call: its name and arguments, not its id
        return sum(_size(item) for key, item in value.items() if key not in ("id", "type", "index"))
    return 0
