"""Reading a request's body: bounded in size and in patience."""

import asyncio
from typing import Any

import pytest

from api import body
from api.body import read_body
from schemas.failures import Kind, Refused


def _receiver(*messages: dict[str, Any]) -> Any:
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


def _part(data: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


async def test_parts_become_one_body() -> None:
    assert await read_body([], _receiver(_part(b"a", more=True), _part(b"b", more=False)), 10) == b"ab"


async def test_a_body_that_stops_coming_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_SILENCE", 0.05)
    with pytest.raises(Refused) as caught:
        await read_body([], _receiver(_part(b"a", more=True)), 10)
    assert caught.value.failure.kind is Kind.SLOW_BODY


async def test_a_body_that_is_too_large_is_refused_when_that_is_known() -> None:
    for headers, messages in (([(b"content-length", b"11")], []), ([], [_part(b"x" * 11, more=True)])):
        with pytest.raises(Refused) as caught:
            await read_body(headers, _receiver(*messages), 10)
        assert caught.value.failure.kind is Kind.TOO_LARGE
