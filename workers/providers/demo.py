"""The built-in provider: answers, streams and embeds without a key or a network, always the same for the same input.

`mock_script` gives the same for a `mock_response`; `Adapter` reads both back, whatever provider the deployment names.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from schemas.config import Deployment
from schemas.envelope import Endpoint, Request
from schemas.failures import Kind, Refused
from schemas.usage import Usage
from workers.estimate import estimate_prompt, estimate_text
from workers.providers import openai
from workers.providers.chat import DONE
from workers.providers.openai_usage import write_usage
from workers.providers.port import About, Call, Script
from workers.providers.vectors import encode_base64

ABOUT = About(names=("demo",), base="http://demo.invalid")

_TEXT = (
    "This is Penstock's demo model: no provider was called. Your request went through the queue to a worker and came "
    "back the way a real answer does. You said: "
)
_QUOTED = 200  # characters of the question in the answer
_DIMENSIONS = 8
_CREATED = 1_700_000_000  # a fixed moment: the same input gives the same bytes
_JSON = {"Content-Type": "application/json"}
_SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()


class Adapter(openai.Adapter):
    """Answers from a script; the way back is OpenAI's own."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(deployment)
        self._text = deployment.mock_response

    def call(self, request: Request, body: bytes, credentials: Mapping[str, Any]) -> Call | Script:
        """The script of a whole answer, or of a stream."""
        if request.endpoint is Endpoint.EMBEDDINGS:
            return _embeddings(request, _fields(body))
        return mock_script(request, body, self._text if self._text is not None else _answer_to(_fields(body)))


MOCK = Adapter(Deployment(id="mock", group="mock", provider="demo", model="mock"))
"""Reads back what `mock_script` wrote, whatever dialect the deployment's own provider speaks."""


def mock_script(request: Request, body: bytes, text: str) -> Script:
    """An upstream's answer in OpenAI's form that says `text`, with usage; a stream comes word by word."""
    if request.endpoint is Endpoint.EMBEDDINGS:
        return _embeddings(request, _fields(body))
    usage = write_usage(Usage(prompt=estimate_prompt(body), completion=estimate_text(text)))
    head = _head(request, body)
    if request.stream:
        return Script(tuple(_events(request, head, text, usage)), headers=_SSE)
    chat = request.endpoint is Endpoint.CHAT
    said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    choice = {"index": 0, **said, "logprobs": None, "finish_reason": "stop"}
    return Script((_ENCODER.encode({**head, "choices": [choice], "usage": usage}),), headers=_JSON)


def _head(request: Request, body: bytes) -> dict[str, Any]:
    chat = request.endpoint is Endpoint.CHAT
    mark = hashlib.sha256(body).hexdigest()[:24]
    kind = ("chat.completion.chunk" if request.stream else "chat.completion") if chat else "text_completion"
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{mark}",
        "object": kind,
        "created": _CREATED,
        "model": request.model,
    }


def _events(request: Request, head: dict[str, Any], text: str, usage: dict[str, Any]) -> Iterator[bytes]:
    chat = request.endpoint is Endpoint.CHAT
    words = text.split(" ")
    for at, word in enumerate(words):
        piece = word if at == 0 else " " + word
        role = {"role": "assistant"} if at == 0 else {}
        said: dict[str, Any] = {"delta": {**role, "content": piece}} if chat else {"text": piece}
        yield _event({**head, "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": None}]})
    said = {"delta": {}} if chat else {"text": ""}
    yield _event({**head, "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": "stop"}]})
    yield _event({**head, "choices": [], "usage": usage}) + DONE


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % _ENCODER.encode(chunk)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refused(Kind.INVALID_REQUEST, "The request body must be a JSON object.")
    return fields


def _answer_to(fields: dict[str, Any]) -> str:
    prompt = fields.get("prompt")
    messages = fields.get("messages")
    asked = (
        [m for m in messages if isinstance(m, dict) and m.get("role") == "user"] if isinstance(messages, list) else []
    )
    text = _plain(asked[-1].get("content")) if asked else _plain(prompt)
    return _TEXT + text[:_QUOTED]


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict)).strip()
    return ""


def _embeddings(request: Request, fields: dict[str, Any]) -> Script:
    given = fields.get("input")
    several = isinstance(given, list) and not all(type(item) is int for item in given)
    inputs = given if several and isinstance(given, list) else [given]
    size = fields.get("dimensions")
    size = size if isinstance(size, int) and 0 < size <= 4096 else _DIMENSIONS
    base64 = fields.get("encoding_format") == "base64"
    data = []
    for index, item in enumerate(inputs):
        vector = _vector(_ENCODER.encode(item), size)
        data.append({"object": "embedding", "index": index, "embedding": encode_base64(vector) if base64 else vector})
    prompt = estimate_prompt(_ENCODER.encode({"input": given}))
    usage = {"prompt_tokens": prompt, "total_tokens": prompt}
    body = _ENCODER.encode({"object": "list", "data": data, "model": request.model, "usage": usage})
    return Script((body,), headers=_JSON)


def _vector(item: bytes, size: int) -> list[float]:
    """`size` numbers in [-1, 1], the same for the same input."""
    data = hashlib.shake_256(item).digest(size * 2)
    return [round(int.from_bytes(data[at : at + 2], "big") / 32767.5 - 1, 6) for at in range(0, size * 2, 2)]
