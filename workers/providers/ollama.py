"""Ollama's native API: `/api/chat`, `/api/generate` for completions, `/api/embed`.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.catalog import upstream_model
from schemas.config import Deployment
from schemas.envelope import Endpoint, Request
from schemas.failures import Failure, Kind, Refused
from schemas.usage import Usage
from workers.estimate import estimate_prompt
from workers.providers.access import Access
from workers.providers.chat import Chunks, Completion, bad, decode_body
from workers.providers.headers import shown
from workers.providers.ollama_answer import (
    Stream,
    Texts,
    Writer,
    finish_of,
    message_of,
    read_line,
    tokens_of,
    usage_of,
)
from workers.providers.ollama_messages import convert, parameters
from workers.providers.port import About, Answered, Call, Script
from workers.providers.refusals import error_object, failure_of
from workers.providers.vectors import encode_base64

ABOUT = About(
    names=("ollama", "ollama_chat"),
    base="http://localhost:11434",
    keys=("OLLAMA_API_KEY",),
    bases=("OLLAMA_API_BASE",),
)
_PATHS = {Endpoint.CHAT: "/api/chat", Endpoint.COMPLETIONS: "/api/generate", Endpoint.EMBEDDINGS: "/api/embed"}
_ENCODER = msgspec.json.Encoder()


class _Embedded(msgspec.Struct):
    embeddings: list[list[float]]
    prompt_eval_count: int | None = None


class _Wanted(msgspec.Struct):
    encoding_format: str | None = None


_EMBEDDED = msgspec.json.Decoder(_Embedded)
_WANTED = msgspec.json.Decoder(_Wanted)


class Adapter:
    """One deployment of an Ollama."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        base = (deployment.api_base or ABOUT.base or "").rstrip("/")
        for ending in ("/v1", "/api/chat", "/api/generate", "/api"):  # as LiteLLM's users write it
            base = base.removesuffix(ending)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        self._access = Access(deployment.model_copy(update={"api_base": base}), None, headers)

    def call(self, request: Request, body: bytes, credentials: Mapping[str, Any]) -> Call | Script:
        """The native request."""
        fields = {**self._deployment.body, **decode_body(body)}
        model = upstream_model(self._deployment, request.model)
        if request.endpoint is Endpoint.EMBEDDINGS:
            asked = _embedding(fields)
        else:
            asked = _generation(request, fields, model, self._deployment.drop_params)
            asked["stream"] = request.stream
        sent = {**asked, "model": model, **self._deployment.extra_body}
        url, headers = self._access.to(_PATHS[request.endpoint], credentials)
        return Call(url, headers, _ENCODER.encode(sent))

    def answer(self, request: Request, headers: Mapping[str, str], body: bytes, asked: bytes = b"") -> Answered:
        """OpenAI's answer. Raises `Refused(PROVIDER_GARBLED)`."""
        if request.endpoint is Endpoint.EMBEDDINGS:
            answered, usage = _vectors(upstream_model(self._deployment, request.model), body, asked)
            return Answered(answered, usage, shown(headers))
        line = read_line(body, self._access.secrets)
        said = line.said
        completion = Completion(
            mark=_mark(request),
            model=line.model or upstream_model(self._deployment, request.model),
            created=int(request.received),
            message=message_of(said, request.id),
            finish=finish_of(line.done_reason, called=bool(said.tool_calls)),
            usage=usage_of(line, lambda: estimate_prompt(asked), lambda: tokens_of(said)),
        )
        text = request.endpoint is Endpoint.COMPLETIONS
        return Answered(completion.encode_text() if text else completion.encode(), completion.usage, shown(headers))

    def stream(self, request: Request, body: bytes) -> Stream:
        """Chunks for the lines."""
        chat = request.endpoint is Endpoint.CHAT

        def writer(model: str) -> Writer:
            name = model or upstream_model(self._deployment, request.model)
            chunks = Chunks(_mark(request), name, int(request.received), chat=chat)
            return (Writer if chat else Texts)(chunks, request.include_usage)

        return Stream(writer, request.id, self._access.secrets, lambda: estimate_prompt(body))

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """By status; Ollama's error is a text. An unknown model is a 404."""
        return failure_of(status, headers, error_object(body), self._access.secrets)


def _mark(request: Request) -> str:
    return ("chatcmpl-" if request.endpoint is Endpoint.CHAT else "cmpl-") + request.id


def _generation(request: Request, fields: dict[str, Any], model: str, drop_params: bool) -> dict[str, Any]:
    messages, prompt = fields.pop("messages", None), fields.pop("prompt", None)
    found = parameters(fields, model, drop_params=drop_params)
    if request.endpoint is Endpoint.CHAT:
        return {**found, "messages": convert(messages)}
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise bad("prompt", "Ollama takes one prompt, as a string.")
    return {**found, "prompt": prompt}


def _embedding(fields: dict[str, Any]) -> dict[str, Any]:
    given = fields.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise bad("input", "Ollama embeds a string or an array of strings, no token ids.")
    if fields.get("encoding_format") not in (None, "float", "base64"):
        raise bad("encoding_format", "'encoding_format' must be float or base64.")
    return {key: value for key, value in fields.items() if key not in ("encoding_format", "user")}


def _vectors(model: str, body: bytes, asked: bytes) -> tuple[bytes, Usage]:
    try:
        found = _EMBEDDED.decode(body)
        base64 = bool(asked) and _WANTED.decode(asked).encoding_format == "base64"
    except (msgspec.DecodeError, RecursionError):
        raise Refused(Kind.PROVIDER_GARBLED, "The provider's answer holds no embeddings.") from None
    counted = found.prompt_eval_count
    usage = Usage(prompt=estimate_prompt(asked) if counted is None else counted, estimated=counted is None)
    data = [
        {"object": "embedding", "index": index, "embedding": encode_base64(vector) if base64 else vector}
        for index, vector in enumerate(found.embeddings)
    ]
    tokens = {"prompt_tokens": usage.prompt, "total_tokens": usage.prompt}
    return _ENCODER.encode({"object": "list", "data": data, "model": model, "usage": tokens}), usage
