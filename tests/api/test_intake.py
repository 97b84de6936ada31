"""The intake: what is checked, what is consumed, and that everything else keeps its bytes."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.intake import CONTROL, CREDENTIALS, take_in
from schemas.envelope import Endpoint
from schemas.failures import Kind, Refused

MESSAGES = '"messages":[{"role":"user","content":"hi"}]'


def refused(data: bytes, endpoint: Endpoint = Endpoint.CHAT) -> tuple[str, str | None]:
    with pytest.raises(Refused) as caught:
        take_in(endpoint, data)
    assert caught.value.failure.kind is Kind.INVALID_REQUEST
    return caught.value.failure.message, caught.value.failure.param


def test_a_body_without_control_fields_passes_as_the_same_bytes() -> None:
    data = (
        '{ "model" : "m", ' + MESSAGES + ', "seed": 123456789012345678901234567890, "x": 1e400, "y": 1.0 }'
    ).encode()
    assert take_in(Endpoint.CHAT, data).body is data


def test_what_stays_beside_consumed_fields_keeps_its_bytes() -> None:
    data = ('{"model":"m",' + MESSAGES + ',"seed":123456789012345678901234567890,"x":1E400,"num_retries":3}').encode()
    intake = take_in(Endpoint.CHAT, data)
    assert intake.controls == {"num_retries": 3}
    assert intake.body == ('{"model":"m",' + MESSAGES + ',"seed":123456789012345678901234567890,"x":1E400}').encode()


@pytest.mark.parametrize("name", sorted(CONTROL))
def test_control_fields_are_consumed(name: str) -> None:
    intake = take_in(Endpoint.CHAT, ('{"model":"m",' + MESSAGES + f',"{name}":"v"}}').encode())
    assert intake.controls == {name: "v"}
    assert name not in json.loads(intake.body)


@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_credentials_are_taken_out(name: str) -> None:
    intake = take_in(Endpoint.CHAT, ('{"model":"m",' + MESSAGES + f',"{name}":"v"}}').encode())
    assert intake.credentials == {name: "v"}
    assert name not in json.loads(intake.body)


@pytest.mark.parametrize(("store", "forwarded"), [("", False), (',"store":false', False), (',"store":true', True)])
def test_metadata_is_ours_unless_it_is_to_be_stored(store: str, forwarded: bool) -> None:
    intake = take_in(Endpoint.CHAT, ('{"model":"m",' + MESSAGES + ',"metadata":{"a":"b"}' + store + "}").encode())
    assert ("metadata" in json.loads(intake.body)) is forwarded
    assert (intake.controls == {"metadata": {"a": "b"}}) is not forwarded


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ("{" + MESSAGES + "}", "model"),
        ('{"model":null,' + MESSAGES + "}", "model"),
        ('{"model":"",' + MESSAGES + "}", "model"),
        ('{"model":7,' + MESSAGES + "}", "model"),
        ('{"model":"m"}', "messages"),
        ('{"model":"m","messages":null}', "messages"),
        ('{"model":"m","messages":{}}', "messages"),
        ('{"model":"m","messages":[ ]}', "messages"),
        ('{"model":"m",' + MESSAGES + ',"stream":"yes"}', "stream"),
        ('{"model":"m",' + MESSAGES + ',"stream_options":[]}', "stream_options"),
        ('{"model":"m",' + MESSAGES + ',"n":{}}', "n"),
        ('{"model":"m",' + MESSAGES + ',"n":1.5}', "n"),
        ('{"model":"m",' + MESSAGES + ',"best_of":"two"}', "best_of"),
    ],
)
def test_what_we_must_know_is_checked(body: str, param: str) -> None:
    message, named = refused(body.encode())
    assert named == param
    assert param in message


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1]", b"null", b'"x"', b'{"model":"\xff"}', b"{}x", b"[" * 100_000, b'{"a":NaN}', b"\x00"]
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    message, _ = refused(data)
    assert "JSON" in message


@pytest.mark.parametrize(("endpoint", "name"), [(Endpoint.COMPLETIONS, "prompt"), (Endpoint.EMBEDDINGS, "input")])
def test_each_endpoint_needs_its_input(endpoint: Endpoint, name: str) -> None:
    assert refused(b'{"model":"m"}', endpoint)[1] == name
    assert take_in(endpoint, f'{{"model":"m","{name}":"x"}}'.encode()).model == "m"


def test_the_path_may_name_the_model_and_the_body_wins() -> None:
    assert take_in(Endpoint.CHAT, ("{" + MESSAGES + "}").encode(), "from/path").model == "from/path"
    assert take_in(Endpoint.CHAT, ('{"model":"m",' + MESSAGES + "}").encode(), "from/path").model == "m"


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


CHECKED = {"best_of", "metadata", "n", "stream", "stream_options", "user"}


@given(st.dictionaries(st.text(min_size=1), _JSON, max_size=5), st.sampled_from(["tags", "cache", ""]))
@example({"n ": {}, "N": [], "max_tokens": {}, "max_completion_tokens": "x"}, "tags")
def test_unknown_fields_reach_the_provider_with_their_values(fields: dict[str, Any], control: str) -> None:
    unknown = {name: value for name, value in fields.items() if name not in CONTROL | CREDENTIALS | CHECKED}
    body = {**unknown, "model": "m", "messages": [{"role": "user", "content": "hi"}]}
    sent = {**body, control: []} if control else body
    assert json.loads(take_in(Endpoint.CHAT, json.dumps(sent).encode()).body) == body


@pytest.mark.parametrize(
    ("enforced", "missing"),
    [
        ((), ""),
        (("user", "metadata.n", "metadata.n.x", "model"), ""),
        (("user", "seed"), "seed"),
        (("metadata.y",), "metadata.y"),
        (("user.x",), "user.x"),
        (("seed.x",), "seed.x"),
    ],
)
def test_what_a_key_must_say(enforced: tuple[str, ...], missing: str) -> None:
    data = ("{" + MESSAGES + ',"user":null,"metadata":{"n":{"x":1}}}').encode()
    if not missing:
        assert take_in(Endpoint.CHAT, data, "m", enforced).model == "m"
        return
    with pytest.raises(Refused) as refused:
        take_in(Endpoint.CHAT, data, "m", enforced)
    assert (refused.value.failure.kind, refused.value.failure.param) == (Kind.INVALID_REQUEST, missing)
