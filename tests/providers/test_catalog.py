from typing import Any

import msgspec
import pytest

from schemas.config import Deployment
from schemas.envelope import Endpoint, Request
from schemas.failures import Refused
from workers.providers.catalog import Quirks, quirks_of, vendors
from workers.providers.port import Call
from workers.providers.registry import adapter, describe, names

REQUEST = Request(
    id="r", endpoint=Endpoint.CHAT, group="g", model="g", received=0, deadline=0, reply_to="", stream=False
)


def sent(provider: str, body: dict[str, Any], **facts: Any) -> tuple[str, dict[str, str], dict[str, Any]]:
    deployment = Deployment(id="d", group="g", provider=provider, **{"model": "m", "api_key": "k-12345678", **facts})
    call = adapter(deployment).call(REQUEST, msgspec.json.encode(body), {})
    assert isinstance(call, Call)
    return call.url, dict(call.headers), msgspec.json.decode(call.body)


@pytest.mark.parametrize("name", sorted(vendors()))
def test_every_row_makes_a_call(name: str) -> None:
    facts = describe(name)
    base = facts.base or "https://own.example/v1"
    url, headers, body = sent(name, {"messages": [{"role": "user", "content": "hi"}]}, api_base=facts.base or base)
    assert url == f"{base.rstrip('/')}{quirks_of(name).path}/chat/completions"
    assert base.startswith(("https://", "http://localhost", "http://127.0.0.1"))
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert any("k-12345678" in value for value in headers.values())
    assert all(key.isupper() or "_" in key for key in (*facts.keys, *facts.bases))


def test_every_provider_is_found() -> None:
    assert {"openai", "anthropic", "ollama", "ollama_chat", "demo", "groq", "openrouter"} <= names()
    assert describe("anthropic").keys == ("ANTHROPIC_API_KEY",)
    assert describe("ollama").base == "http://localhost:11434"
    with pytest.raises(KeyError):
        describe("nobody")


def test_a_vendor_without_an_address_says_so() -> None:
    with pytest.raises(Refused) as raised:
        sent("openai_like", {"messages": []})
    assert "api_base" in raised.value.failure.message


@pytest.mark.parametrize(
    ("quirks", "body", "wanted"),
    [
        (Quirks(rename={"a": "b"}), {"a": 1}, {"b": 1}),
        (Quirks(rename={"a": "b"}), {"a": 1, "b": 2}, {"b": 2}),
        (Quirks(drop=frozenset({"stream_options"})), {"stream_options": {}, "x": 1}, {"x": 1}),
        (Quirks(set={"store": False}), {"store": True}, {"store": False}),
        (
            Quirks(content_to_string=True),
            {"messages": [{"role": "tool", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
            {"messages": [{"role": "tool", "content": "ab"}]},
        ),
        (
            Quirks(content_to_string=True),
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
        ),
        (
            Quirks(strip_cache_control=True),
            {"messages": [{"content": [{"text": "a", "cache_control": {}}], "cache_control": {}}, 1]},
            {"messages": [{"content": [{"text": "a"}]}, 1]},
        ),
        (Quirks(tool_choice=frozenset({"auto"})), {"tool_choice": "auto"}, {"tool_choice": "auto"}),
    ],
)
def test_quirks(quirks: Quirks, body: dict[str, Any], wanted: dict[str, Any]) -> None:
    fields = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
    assert not quirks.none
    quirks.apply(fields, drop_params=False)
    assert msgspec.json.decode(msgspec.json.encode(fields)) == wanted


def test_what_a_vendor_does_not_take_is_refused_or_dropped() -> None:
    body = {"messages": [], "tool_choice": {"type": "function", "function": {"name": "f"}}}
    with pytest.raises(Refused) as raised:
        sent("deepinfra", body)
    assert raised.value.failure.param == "tool_choice"
    assert "tool_choice" not in sent("deepinfra", body, drop_params=True)[2]


def test_a_model_prefix_is_for_bare_names() -> None:
    assert sent("fireworks_ai", {"messages": []})[2]["model"] == "accounts/fireworks/models/m"
    assert sent("fireworks_ai", {"messages": []}, model="accounts/me/models/x")[2]["model"] == "accounts/me/models/x"


def test_a_wildcards_segment_is_the_model() -> None:
    deployment = Deployment(id="d", group="openai/*", provider="openai", model="*")
    request = msgspec.structs.replace(REQUEST, group="openai/*", model="openai/gpt-5")
    call = adapter(deployment).call(request, b'{"model":"openai/gpt-5","big":123456789012345678901234567890}', {})
    assert isinstance(call, Call)
    assert call.body == b'{"model":"gpt-5","big":123456789012345678901234567890}'
    assert "Authorization" not in call.headers
