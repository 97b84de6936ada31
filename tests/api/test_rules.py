"""The small rules of the door: keys, limits, the renderer."""

import json
import math
from typing import Any

import pytest
from pydantic import SecretStr

from api import errors
from api.addresses import Addresses
from api.authenticate import DoorRules, Gatekeeper, presented_key
from api.intake import Intake
from api.terms import caller_of, deadline_of, metadata_of
from schemas.config import Settings
from schemas.failures import TABLE, Failure, Kind, Refused
from schemas.usage import Caller

SETTINGS = Settings(request_timeout=100, disconnect_grace=2)
Headers = list[tuple[bytes, bytes]]


def intake(*, stream: bool = False, **controls: object) -> Intake:
    return Intake("m", stream, False, "", b"{}", controls, {})


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer k")], b"k"),
        ([(b"authorization", b"bearer  k ")], b"k"),
        ([(b"x-api-key", b"k")], b"k"),
        ([(b"api-key", b"k")], b"k"),
        ([(b"x-litellm-api-key", b"k")], b"k"),
        ([(b"authorization", b"Basic dTpw"), (b"x-litellm-api-key", b"Bearer k")], b"k"),
        ([(b"x-litellm-api-key", b""), (b"authorization", b"Bearer k")], b"k"),
        ([(b"api-key", b"no"), (b"authorization", b"Bearer k")], b"k"),
        ([(b"x-goog-api-key", b"no"), (b"x-api-key", b"no"), (b"api-key", b"k")], b"k"),
        ([(b"x-goog-api-key", b"no"), (b"x-api-key", b"k")], b"k"),
        ([(b"x-goog-api-key", b"k")], b"k"),
        ([(b"authorization", b"Bearer k"), (b"authorization", b"Bearer no")], b"k"),
        ([(b"authorization", b"Bearer ")], b""),
        ([], b""),
    ],
)
def test_where_a_key_may_stand(headers: Headers, key: bytes) -> None:
    assert presented_key(headers) == key


def scope(key: bytes) -> dict[str, Any]:
    """Of a request with this key."""
    return {"headers": [(b"x-api-key", key)], "path": "/v1/chat/completions", "method": "POST", "client": None}


async def test_only_the_master_key_opens() -> None:
    keeper = Gatekeeper(SecretStr("sk-right"))
    access = await keeper.admit_to_inference(scope(b"sk-right"))
    assert (access.caller.key_alias, access.is_admin, access.terms.empty) == ("master", True, True)
    for keys in (keeper, Gatekeeper(None)):
        for wrong in (b"sk-wrong", b"sk-righ", b"sk-right\xff", b"", b"anything"):
            with pytest.raises(Refused) as caught:
                await keys.admit_to_inference(scope(wrong))
            assert caught.value.failure.kind is Kind.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("controls", "headers", "stream", "seconds"),
    [
        ({}, [], False, 100),
        ({"timeout": 5}, [], False, 5),
        ({"timeout": 500}, [], False, 100),
        ({"request_timeout": "7"}, [(b"x-penstock-timeout", b"6")], False, 6),
        ({"stream_timeout": 3}, [], False, 100),
        ({"stream_timeout": 3}, [], True, 3),
        ({}, [(b"x-stainless-read-timeout", b"9.5")], False, 11.5),
        ({}, [(b"x-stainless-read-timeout", b"never")], False, 100),
        ({}, [(b"x-litellm-stream-timeout", b"2")], True, 2),
    ],
)
def test_the_smallest_timeout_is_the_deadline(
    controls: dict[str, object], headers: Headers, stream: bool, seconds: float
) -> None:
    assert deadline_of(intake(stream=stream, **controls), headers, SETTINGS, 1000) == 1000 + seconds


@pytest.mark.parametrize("value", [0, -1, "soon", None, [], math.inf, math.nan, pytest.param(10**400, id="huge")])
def test_a_timeout_that_is_none_is_refused(value: object) -> None:
    if value is None:
        assert deadline_of(intake(timeout=value), [], SETTINGS, 0) == 100
        return
    with pytest.raises(Refused) as caught:
        deadline_of(intake(timeout=value), [], SETTINGS, 0)
    assert caught.value.failure.param == "timeout"


def test_tags_users_and_metadata() -> None:
    asked = intake(tags=["a", 1], metadata={"tags": ["b", "a"], "n": {"x": 1}, "s": "t"})
    headers: Headers = [(b"x-litellm-tags", b"c, ,d"), (b"x-litellm-end-user-id", b"u")]
    caller = caller_of(Caller(key_hash="h"), asked, headers)
    assert (caller.key_hash, caller.end_user, caller.tags) == ("h", "u", ("a", "1", "b", "c", "d"))
    assert metadata_of(asked.controls) == {"n": '{"x":1}', "s": "t"}


@pytest.mark.parametrize(
    ("controls", "headers", "metadata"),
    [
        ({"litellm_session_id": "s"}, [], {"session_id": "s"}),
        ({"litellm_metadata": {"session_id": "s", "a": "b"}}, [], {"session_id": "s", "a": "b"}),
        ({"litellm_session_id": "s", "metadata": {"session_id": "m"}}, [], {"session_id": "s"}),
        ({"litellm_session_id": "s"}, [(b"x-litellm-session-id", b" h ")], {"session_id": "h"}),
        ({}, [(b"x-litellm-trace-id", b"t"), (b"x-litellm-session-id", b"h")], {"session_id": "h"}),
        ({"metadata": {"session_id": "m"}}, [(b"x-litellm-trace-id", b"t")], {"session_id": "t"}),
        ({"litellm_trace_id": "t", "metadata": {"session_id": "m"}}, [], {"session_id": "m"}),
        ({"litellm_trace_id": "t"}, [(b"x-litellm-session-id", b"")], {"session_id": "t"}),
        ({"litellm_session_id": 5, "metadata": {"session_id": None}}, [(b"x-session-id", b"v")], {}),
        ({"metadata": {"session_id": ""}}, [], {}),
        ({"metadata": {"session_id": 7}}, [], {"session_id": "7"}),
    ],
)
def test_the_session_of_a_request(controls: dict[str, object], headers: Headers, metadata: dict[str, str]) -> None:
    assert metadata_of(intake(**controls).controls, headers) == metadata


def test_what_is_logged_of_a_request() -> None:
    asked = intake(metadata={"requester_ip_address": "1.1.1.1", "spend_logs_metadata": {"a": 1}}).controls
    assert metadata_of(asked, [], "9.9.9.9") == {
        "requester_ip_address": "9.9.9.9",
        "spend_logs_metadata": '{"a":1}',
    }
    given: Headers = [(b"x-litellm-spend-logs-metadata", '{"b": "ü"}'.encode())]
    assert metadata_of(asked, given) == {"spend_logs_metadata": '{"b":"ü"}'}  # nobody says his own address
    for wrong in (b"[1]", b"x", b"", b'{"a":"\xff"}'):
        with pytest.raises(Refused) as caught:
            metadata_of(asked, [(b"x-litellm-spend-logs-metadata", wrong)])
        assert caught.value.failure.param == "x-litellm-spend-logs-metadata"


def test_metadata_that_cannot_be_written_is_refused() -> None:
    deep: list[object] = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(Refused) as caught:
        metadata_of({"metadata": {"a": deep}})
    assert (caught.value.failure.kind, caught.value.failure.param) == (Kind.INVALID_REQUEST, "metadata")


async def test_whose_address_is_recorded() -> None:
    request = {**scope(b""), "client": ("10.0.0.1", 5)}
    request["headers"] = [(b"x-forwarded-for", b"6.6.6.6, 8.8.8.8")]
    proxied = Addresses(None, ("10.0.0.0/8",), use_forwarded=True)
    assert Gatekeeper(None).address(request) == "10.0.0.1"
    assert Gatekeeper(None, rules=DoorRules(proxied)).address(request) == "8.8.8.8"
    assert Gatekeeper(None, rules=DoorRules(records_addresses=False)).address(request) == ""


@pytest.mark.parametrize("kind", list(Kind))
def test_every_failure_has_openais_shape(kind: Kind) -> None:
    failure = Failure(kind, "words", "p", status=418, provider_error='{"message":"theirs","type":"t","code":7}')
    error = json.loads(errors.render(failure))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    shown = TABLE[kind].words
    assert error["message"] == ("theirs" if shown else "words")
    assert errors.status_of(failure) == (418 if shown else TABLE[kind].status)
    assert errors.event(failure).startswith(b"data: {")


def test_when_to_come_back() -> None:
    limit = Kind.PROVIDER_RATE_LIMIT
    assert dict(errors.headers(Failure(limit, "", retry_after=0.2))) == {b"retry-after": b"1"}
    assert dict(errors.headers(Failure(limit, "", retry_after=90.5))) == {
        b"retry-after": b"91",
        b"x-should-retry": b"false",
    }
    assert dict(errors.headers(Failure(Kind.INVALID_REQUEST, ""))) == {}
