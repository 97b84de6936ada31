"""OpenAI's chat objects, written by the adapters whose provider speaks another dialect."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import msgspec

from schemas.failures import Kind, Refused
from schemas.usage import Usage
from workers.providers.openai_usage import write_usage

DONE = b"data: [DONE]\n\n"
_ENCODER = msgspec.json.Encoder()


class Chunks:
    """Writes the events of one chat stream; everything that stays the same is encoded once."""

    def __init__(self, mark: str, model: str, created: int, *, chat: bool = True) -> None:
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = {"id": mark, "object": kind, "created": created, "model": model}
        self._head = b"data: " + _ENCODER.encode(head)[:-1]

    def delta(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        """One event with a delta; the last of a choice has its finish reason."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b'%b,"choices":[%b]}\n\n' % (self._head, _ENCODER.encode(choice))

    def text(self, text: str, finish: str | None = None) -> bytes:
        """One event of a text completion."""
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return b'%b,"choices":[%b]}\n\n' % (self._head, _ENCODER.encode(choice))

    def usage(self, usage: Usage) -> bytes:
        """The usage event, for who asked for it."""
        return b'%b,"choices":[],"usage":%b}\n\n' % (self._head, _ENCODER.encode(write_usage(usage)))


class Completion(msgspec.Struct):
    """The facts of a whole answer."""

    mark: str
    model: str
    created: int
    message: dict[str, Any]
    finish: str
    usage: Usage

    def encode(self) -> bytes:
        """A `chat.completion` as JSON."""
        return self._encode("chat.completion", {"message": self.message})

    def encode_text(self) -> bytes:
        """A `text_completion` as JSON."""
        return self._encode("text_completion", {"text": self.message["content"] or ""})

    def _encode(self, kind: str, said: dict[str, Any]) -> bytes:
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": self.finish}
        return _ENCODER.encode(
            {
                "id": self.mark,
                "object": kind,
                "created": self.created,
                "model": self.model,
                "choices": [choice],
                "usage": write_usage(self.usage),
            }
        )


def tool_call(index: int, mark: str, name: str, arguments: str) -> dict[str, Any]:
    """A tool call as it stands in a delta; a message's has no `index`."""
    return {"index": index, "id": mark, "type": "function", "function": {"name": name, "arguments": arguments}}


def decode_body(body: bytes) -> dict[str, Any]:
    """The client's body in full. Raises `Refused(INVALID_REQUEST)`."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refused(Kind.INVALID_REQUEST, "The request body must be a JSON object.")
    return fields


NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "store": (False,),
    "modalities": (["text"],),
}
"""Values that ask for nothing: their parameter may be left out where the provider has none."""


def leave_out(fields: MutableMapping[str, Any], names: frozenset[str], *, drop_params: bool, provider: str) -> None:
    """Take these parameters out. Raises `Refused` naming one that asks for something, unless `drop_params`."""
    for name in sorted(names & fields.keys()):
        value = fields.pop(name)
        if value is None or value in NEUTRAL.get(name, ()) or drop_params:
            continue
        raise Refused(Kind.INVALID_REQUEST, f"{provider} does not support the parameter '{name}'.", param=name)


def bad(param: str, message: str) -> Refused:
    """The client's own mistake."""
    return Refused(Kind.INVALID_REQUEST, message, param=param)


def arguments_of(call: Mapping[str, Any], param: str) -> dict[str, Any]:
    """A tool call's arguments as an object. Raises `Refused` when they are no JSON object."""
    function = call.get("function")
    text = function.get("arguments") if isinstance(function, Mapping) else None
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text) if isinstance(text, str) else text
    except (msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise bad(param, "The arguments of a tool call must be a JSON object.")
    return found
