"""The `Adapter` port, on every provider there is: golden cases, any segmentation, the real SDKs' types."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from anthropic.types import MessageParam, ToolUnionParam
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import SecretStr, TypeAdapter

from schemas.config import Deployment
from schemas.envelope import Endpoint, Request
from schemas.failures import Failure, Kind, Refused
from schemas.usage import Usage
from workers.providers.catalog import vendors
from workers.providers.port import Adapter, Call, Script, Translation
from workers.providers.registry import adapter, entries, names

GOLDEN = Path(__file__).parents[1] / "providers" / "golden"
KEY = "sk-golden-key-0123456789"
MODULES = sorted(set(names()) - set(vendors()))
SHAPES = [*MODULES, "groq", "deepinfra"]  # vendors share the adapter: two stand for all
ENDPOINTS = {"chat": Endpoint.CHAT, "completions": Endpoint.COMPLETIONS, "embeddings": Endpoint.EMBEDDINGS}
WHOLE = {Endpoint.CHAT: ChatCompletion, Endpoint.COMPLETIONS: Completion, Endpoint.EMBEDDINGS: CreateEmbeddingResponse}
Case = dict[str, Any]


def cases() -> Iterator[Any]:
    for file in sorted(GOLDEN.glob("*.yaml")):
        for case in yaml.safe_load(file.read_text()):
            yield pytest.param(file.stem, case, id=f"{file.stem}: {case['name']}")


def build(provider: str, case: Case) -> Adapter:
    given = case.get("deployment", {})
    facts = {"model": "upstream-model", "api_key": SecretStr(KEY), **given}
    return adapter(Deployment(id="d", group="public", provider=provider, **facts))


def request_of(case: Case) -> Request:
    return Request(
        id="golden",
        endpoint=ENDPOINTS[case.get("endpoint", "chat")],
        group="public",
        model="public",
        stream=case.get("stream", False),
        include_usage=case.get("include_usage", False),
        received=1_700_000_000.9,
        deadline=0,
        reply_to="",
    )


def upstream_bytes(case: Case, adapted: Adapter) -> bytes:
    upstream = case.get("upstream")
    if upstream is None:  # the provider needs none
        script = adapted.call(request_of(case), msgspec.json.encode(case["body"]), {})
        assert isinstance(script, Script)
        return b"".join(script.chunks)
    if "sse" in upstream:
        return b"".join(event.encode() + b"\n\n" for event in upstream["sse"])
    if "ndjson" in upstream:
        return b"".join(msgspec.json.encode(line) + b"\n" for line in upstream["ndjson"])
    return msgspec.json.encode(upstream["json"]) if "json" in upstream else upstream["text"].encode()


def run(translation: Translation, pieces: list[bytes]) -> tuple[bytes, Failure | None]:
    """What comes out, and how it ends."""
    found = b""
    try:
        for piece in pieces:
            found += translation.feed(piece)
        found += translation.end()
    except Refused as refused:
        return found, refused.failure
    return found, None


def segmentations(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    source = random.Random(7)
    for longest in (3, 40, 400):
        cut, at = [], 0
        while at < len(data):
            size = source.randint(1, longest)
            cut.append(data[at : at + size])
            at += size
        yield cut


def events(data: bytes) -> list[Any]:
    found = []
    for event in data.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
        assert event.startswith(b"data: ")
        found.append(event[6:].decode() if event == b"data: [DONE]" else msgspec.json.decode(event[6:]))
    return found


def check_failure(failure: Failure | None, wanted: Case | None) -> None:
    assert (failure is None) == (wanted is None), failure
    if failure is None or wanted is None:
        return
    assert failure.kind.value == wanted["kind"]
    assert failure.status == wanted.get("status", 0)
    assert failure.retry_after == pytest.approx(wanted.get("retry_after", 0))
    assert KEY not in failure.message + failure.provider_error
    if "error" in wanted:
        shown = msgspec.json.decode(failure.provider_error) if failure.provider_error else None
        assert shown == wanted["error"]


@pytest.mark.parametrize("provider", MODULES)
def test_every_provider_has_golden_cases(provider: str) -> None:
    module = entries()[provider].adapter.__module__.rpartition(".")[2]
    assert (GOLDEN / f"{module}.yaml").exists()


@pytest.mark.parametrize(("provider", "case"), [p for p in cases() if "sent" in p.values[1]])
def test_what_is_sent(provider: str, case: Case) -> None:
    body = msgspec.json.encode(case["body"])
    call = build(provider, case).call(request_of(case), body, {})
    assert isinstance(call, Call)
    sent = msgspec.json.decode(call.body)
    assert sent == case["sent"]["body"]
    assert call.url == case["sent"].get("url", call.url)
    headers = {name.lower(): value for name, value in call.headers.items()}
    assert headers == {**headers, **case["sent"].get("headers", {})}
    assert len(headers) == len(call.headers)
    assert KEY not in repr(call)
    if provider == "anthropic":
        validate_for_anthropic(sent)


MESSAGES = TypeAdapter(list[MessageParam])
TOOLS = TypeAdapter(list[ToolUnionParam])
PARAMETERS = TypeAdapter(MessageCreateParamsNonStreaming)


def validate_for_anthropic(sent: Any) -> None:
    """The real SDK's types. What they call `Iterable` is validated only when it is read, so each level by itself."""
    PARAMETERS.validate_python({**sent, "stream": False})
    for message in MESSAGES.validate_python(sent["messages"]):
        assert list(message["content"])
    TOOLS.validate_python(sent.get("tools", []))


@pytest.mark.parametrize(("provider", "case"), [p for p in cases() if "refused" in p.values[1]])
def test_what_is_refused(provider: str, case: Case) -> None:
    with pytest.raises(Refused) as raised:
        build(provider, case).call(request_of(case), msgspec.json.encode(case["body"]), {})
    assert raised.value.failure.kind is Kind.INVALID_REQUEST
    assert raised.value.failure.param == case["refused"]


def is_answer(case: Case) -> bool:
    return "answer" in case or ("body" in case and not case.get("stream") and ("failure" in case or "usage" in case))


@pytest.mark.parametrize(("provider", "case"), [p for p in cases() if is_answer(p.values[1])])
def test_what_is_answered(provider: str, case: Case) -> None:
    adapted, request = build(provider, case), request_of(case)
    asked, data = msgspec.json.encode(case["body"]), upstream_bytes(case, adapted)
    headers = case.get("upstream", {}).get("headers", {})
    try:
        answered = adapted.answer(request, headers, data, asked)
    except Refused as refused:
        check_failure(refused.failure, case.get("failure"))
        return
    assert "failure" not in case
    if case.get("answer") == "same":
        assert answered.body == data
    elif "answer" in case:
        assert msgspec.json.decode(answered.body) == case["answer"]
    if "usage" in case:
        assert answered.usage == Usage(**case["usage"])
    assert dict(answered.headers) == case.get("headers", {})
    if (
        request.endpoint is not Endpoint.EMBEDDINGS or b'"embedding":"' not in answered.body
    ):  # the SDK decodes base64 later
        WHOLE[request.endpoint].model_validate_json(answered.body.replace(b"1e400", b"1"))


@pytest.mark.parametrize(("provider", "case"), [p for p in cases() if p.values[1].get("stream")])
def test_streams_in_every_segmentation(provider: str, case: Case) -> None:
    adapted, request = build(provider, case), request_of(case)
    asked, data = msgspec.json.encode(case["body"]), upstream_bytes(case, adapted)
    for pieces in segmentations(data):
        translation = adapted.stream(request, asked)
        found, failure = run(translation, pieces)
        check_failure(failure, case.get("failure"))
        check_stream(case, data, found)
        if "usage" in case:
            assert translation.usage == Usage(**case["usage"])
        for event in events(found) if request.endpoint is Endpoint.CHAT else ():
            if event != "[DONE]":
                ChatCompletionChunk.model_validate(event)


def check_stream(case: Case, data: bytes, found: bytes) -> None:
    if case.get("events") == "same":
        assert found == data
    elif "passes" in case:
        kept = (case["upstream"]["sse"][at].encode() + b"\n\n" for at in case["passes"])
        assert found == b"".join(kept) + case.get("appended", "").encode()
    elif "deltas" in case or "texts" in case:
        check_chunks(case, events(found))
    else:
        assert found == b""


def check_chunks(case: Case, found: list[Any]) -> None:
    chunks = [event for event in found if event != "[DONE]" and event["choices"]]
    said: Callable[[Any], Any] = lambda chunk: chunk["choices"][0].get("delta", chunk["choices"][0].get("text"))  # noqa: E731
    assert [said(chunk) for chunk in chunks] == case.get("deltas", case.get("texts"))
    if "failure" in case:
        return
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + [case["finish"]]
    assert found[-1] == "[DONE]"
    counted = [event["usage"] for event in found if event != "[DONE]" and not event["choices"]]
    assert len(counted) == case.get("include_usage", False)


@pytest.mark.parametrize(
    ("provider", "case"), [p for p in cases() if "failure" in p.values[1] and "body" not in p.values[1]]
)
def test_failures(provider: str, case: Case) -> None:
    upstream = case["upstream"]
    failure = build(provider, case).failure(
        upstream["status"], upstream.get("headers", {}), upstream_bytes(case, build(provider, case))
    )
    check_failure(failure, case["failure"])


@pytest.mark.parametrize("provider", SHAPES)
@pytest.mark.parametrize("garbage", [b"", b"<html>hello</html>", b"[]", b"null", b"\xff\xfe", b'{"a":1}', b"[" * 5000])
def test_no_garbage_is_an_answer(provider: str, garbage: bytes) -> None:
    adapted = build(provider, {})
    with pytest.raises(Refused) as raised:
        adapted.answer(request_of({}), {}, garbage, b"{}")
    assert raised.value.failure.kind is Kind.PROVIDER_GARBLED


@pytest.mark.parametrize("provider", MODULES)
@pytest.mark.parametrize("garbage", [b"", b"<html>\n\nhello</html>", b"\xff\xfe\n\n", b"[" * 5000 + b"\n\n"])
def test_no_garbage_is_a_stream(provider: str, garbage: bytes) -> None:
    found, failure = run(build(provider, {}).stream(request_of({"stream": True}), b"{}"), [garbage])
    assert found == b""
    assert failure is not None
    assert failure.kind in (Kind.PROVIDER_GARBLED, Kind.PROVIDER_BROKE_OFF)


@pytest.mark.parametrize("provider", MODULES)
def test_an_endless_event_is_bounded(provider: str) -> None:
    translation = build(provider, {}).stream(request_of({"stream": True}), b"{}")
    found, failure = run(translation, [b"data: " + b"x" * 2**20] * 64)
    assert found == b""
    assert failure is not None
    assert failure.message in ("The provider sent an endless event.", "The provider sent an endless line.")


@pytest.mark.parametrize("provider", SHAPES)
def test_every_status_is_a_failure(provider: str) -> None:
    adapted = build(provider, {})
    for status in (*range(300, 600), 999):
        failure = adapted.failure(status, {}, b"<html>%b</html>" % KEY.encode())
        assert failure.provider_error == ""
        assert KEY not in failure.message


@pytest.mark.parametrize("provider", sorted(set(names()) - {"demo"}))
def test_a_clients_address_never_gets_our_key(provider: str) -> None:
    case = {"deployment": {"headers": {"X-Ours": "ours-secret-value"}, "api_base": "https://ours.example"}}
    adapted, body = build(provider, case), b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    theirs = adapted.call(request_of({}), body, {"api_base": "https://theirs.example/v1"})
    assert isinstance(theirs, Call)
    assert theirs.url.startswith("https://theirs.example/v1/")
    assert not [value for value in theirs.headers.values() if KEY in value or "ours" in value]
    own = adapted.call(request_of({}), body, {"api_key": "their-key"})
    assert isinstance(own, Call)
    assert own.url.startswith("https://ours.example/")
    assert any("their-key" in value for value in own.headers.values())
    assert not [value for value in own.headers.values() if KEY in value or "ours-" in value]
    for headers in ({"Host": "x"}, {"X-A": "b\r\nX-C: d"}, {"a b": "c"}, "x"):
        with pytest.raises(Refused):
            adapted.call(request_of({}), body, {"extra_headers": headers})
