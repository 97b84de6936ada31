"""OpenAI's own dialect: chat, completions and embeddings at any `api_base`; also what the catalog's vendors speak.

The body is taken apart at its top level only: what we do not set travels as the bytes it came in, both ways.
Source: https://platform.openai.com/docs/api-reference
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.catalog import upstream_model
from schemas.config import Deployment
from schemas.envelope import Endpoint, Request
from schemas.failures import Failure, Kind, Refused
from schemas.usage import Usage
from workers.estimate import estimate_prompt, tokens
from workers.providers.access import Access
from workers.providers.catalog import Quirks, about, quirks_of
from workers.providers.headers import shown
from workers.providers.openai_stream import Stream, text_of_answer
from workers.providers.openai_usage import read_usage
from workers.providers.port import About, Answered, Call, Script
from workers.providers.refusals import error_object, failure_of

ABOUT = About(
    names=("openai",),
    base="https://api.openai.com/v1",
    keys=("OPENAI_API_KEY",),
    bases=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
)

Fields = dict[str, msgspec.Raw]
_FIELDS = msgspec.json.Decoder(Fields)
_ENCODER = msgspec.json.Encoder()
_STREAM_OPTIONS = msgspec.Raw(b'{"include_usage":true}')
_SAME = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_REMEMBERED = 4096  # encoded model names


class _Answer(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    choices: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


_ANSWER = msgspec.json.Decoder(_Answer)


class Adapter:
    """One deployment that speaks OpenAI's dialect."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        facts = ABOUT if deployment.provider in ABOUT.names else about(deployment.provider)
        self._quirks: Quirks = quirks_of(deployment.provider)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **self._quirks.headers}
        if deployment.organization:
            headers["OpenAI-Organization"] = deployment.organization
        self._access = Access(deployment, facts.base, headers, self._quirks.key_header)
        self._defaults = {name: _raw(value) for name, value in deployment.body.items()}
        self._extra = {name: _raw(value) for name, value in deployment.extra_body.items()}
        self._models: dict[str, msgspec.Raw] = {}

    def call(self, request: Request, body: bytes, credentials: Mapping[str, Any]) -> Call | Script:
        """The client's body with the provider's model, the deployment's parameters, and usage asked for."""
        try:
            fields = _FIELDS.decode(body)
        except (msgspec.DecodeError, RecursionError):
            raise Refused(Kind.INVALID_REQUEST, "The request body must be a JSON object.") from None
        fields["model"] = self._model(request.model)
        for name, value in self._defaults.items():
            if name not in fields and _SAME.get(name) not in fields:
                fields[name] = value
        if request.stream:
            fields["stream_options"] = _with_usage(fields.get("stream_options"))
        if not self._quirks.none:
            self._quirks.apply(fields, self._deployment.drop_params)
        fields.update(self._extra)
        url, headers = self._access.to(f"{self._quirks.path}/{request.endpoint.value}", credentials)
        return Call(url, headers, _ENCODER.encode(fields))

    def answer(self, request: Request, headers: Mapping[str, str], body: bytes, asked: bytes = b"") -> Answered:
        """The answer, byte for byte. Raises `Refused(PROVIDER_GARBLED)` for anything but an answer's JSON object."""
        try:
            if not body.isascii():
                body.decode()  # msgspec does not look into strings that it skips
            answer = _ANSWER.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Refused(Kind.PROVIDER_GARBLED, "The provider's answer is not a JSON object.") from None
        if not bytes(answer.choices) and not bytes(answer.data):
            if bytes(answer.error) not in (b"", b"null"):
                raise Refused.carrying(self.failure(0, headers, body))
            raise Refused(Kind.PROVIDER_GARBLED, "The provider's answer holds no result.")
        usage = read_usage(answer.usage) or _estimated(request, asked, body)
        return Answered(body, usage, shown(headers))

    def stream(self, request: Request, body: bytes) -> Stream:
        """Events pass byte for byte; see `Stream`."""
        return Stream(self._access.secrets, lambda: estimate_prompt(body), withhold=not request.include_usage)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """By status, code and type; see `refusals`."""
        return failure_of(status, headers, error_object(body), self._access.secrets)

    def _model(self, asked: str) -> msgspec.Raw:
        found = self._models.get(asked)
        if found is None:
            if len(self._models) >= _REMEMBERED:
                self._models.clear()
            name = upstream_model(self._deployment, asked)
            found = self._models[asked] = _raw(name if "/" in name else self._quirks.model_prefix + name)
        return found


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_ENCODER.encode(value))


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    if options is None or bytes(options) == b"null":
        return _STREAM_OPTIONS
    try:
        fields = _FIELDS.decode(options)
    except msgspec.DecodeError:
        return options  # not an object: the provider shall say so
    fields["include_usage"] = msgspec.Raw(b"true")
    return _raw(fields)


def _estimated(request: Request, asked: bytes, body: bytes) -> Usage:
    said = 0 if request.endpoint is Endpoint.EMBEDDINGS else tokens(text_of_answer(body))
    return Usage(prompt=estimate_prompt(asked) if asked else 0, completion=said, estimated=True)
