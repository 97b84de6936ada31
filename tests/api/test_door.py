"""The application in the test's own loop: what is said at the door, CORS, ids, sealed credentials, who is asked."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from broker.port import Address, Message
from broker.seal import Seal
from broker.topology import REPLIES, requests_queue
from schemas.access import Access
from schemas.config import Deployment
from schemas.envelope import Answer, Started, Verdict, pack, unpack_request
from schemas.failures import Kind, Refused
from schemas.usage import Caller, Status
from tests.support.inside import KEY, Inside, Till, inside
from tests.support.listeners import Taken

ASK = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
YOURS = Deployment(
    id="y", group="yours", provider="openai", model="m", api_base="http://x", client_may_set=frozenset({"api_key"})
)


async def turns() -> None:
    """Let the bus deliver, and what it told tell others."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def system() -> AsyncIterator[Inside]:
    async with inside() as found:
        yield found


async def test_cors_is_off(system: Inside) -> None:
    headers = {"origin": "https://app.example", "access-control-request-method": "POST"}
    preflight = await system.http.options("/v1/chat/completions", headers=headers)
    answer = await system.http.post("/v1/chat/completions", json=ASK, headers={"origin": "https://app.example"})
    assert answer.status_code == 200
    assert preflight.status_code == 405
    assert not [name for name in (*answer.headers, *preflight.headers) if name.startswith("access-control")]


async def test_cors_for_the_origins_that_are_configured() -> None:
    async with inside(cors_origins=("https://app.example",)) as system:
        headers = {"origin": "https://app.example", "access-control-request-method": "POST"}
        bare = httpx.AsyncClient(transport=httpx.ASGITransport(system.app), base_url="http://test")
        async with bare:
            preflight = await bare.options("/v1/chat/completions", headers=headers)
            foreign = await bare.options("/v1/chat/completions", headers={**headers, "origin": "https://evil.example"})
        answer = await system.http.post("/v1/chat/completions", json=ASK, headers=headers)
        refused = await system.http.post("/v1/chat/completions", content=b"{", headers=headers)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert preflight.headers["x-request-id"]
    assert foreign.status_code == 400
    assert "access-control-allow-origin" not in foreign.headers
    for found in (answer, refused):
        assert found.headers["access-control-allow-origin"] == "https://app.example"
        assert len(found.headers.get_list("x-request-id")) == 1


async def test_what_travels_beside_the_body_is_bounded(system: Inside) -> None:
    much = {str(n): "x" * 8000 for n in range(200)}
    large = await system.http.post("/v1/chat/completions", json={**ASK, "metadata": much})
    tagged = await system.http.post("/v1/chat/completions", json={**ASK, "tags": [str(n) for n in range(101)]})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
    assert (tagged.status_code, tagged.json()["error"]["param"]) == (400, "tags")
    assert system.asker.waiting == 0


async def test_every_answer_has_an_id_of_its_own(system: Inside) -> None:
    answers = [
        await system.http.post("/v1/chat/completions", json=ASK),
        await system.http.post("/v1/chat/completions", content=b"{"),
        await system.http.get("/v1/models"),
        await system.http.get("/nowhere"),
        await system.http.get("/openapi.json"),
    ]
    assert [a.status_code for a in answers] == [200, 400, 200, 404, 200]
    assert len({a.headers["x-request-id"] for a in answers}) == 5


async def test_a_credential_is_sealed_on_its_way() -> None:
    async with inside(YOURS, workers=False, pool_wait=60) as system:
        taken = Taken()
        await system.bus.consume(requests_queue("yours"), taken, 1)
        body = {**ASK, "model": "yours", "api_key": "sk-of-the-client"}
        asking = asyncio.create_task(system.http.post("/v1/chat/completions", json=body))
        delivery = await taken.next()
        request, forwarded = unpack_request(delivery.body)
        assert b"sk-of-the-client" not in delivery.body
        assert b"api_key" not in forwarded
        assert Seal(KEY).open(request.credentials) == {"api_key": "sk-of-the-client"}
        with pytest.raises(Refused) as caught:
            Seal("another").open(request.credentials)
        assert caught.value.failure.kind is Kind.INTERNAL
        delivery.ack()
        reply = Address(REPLIES, request.reply_to)
        started = Started(attempt="a", worker="w", deployment="y", provider="openai", model="m", at=1)
        system.bus.send(reply, Message(pack(started), correlation=request.id))
        system.bus.send(reply, Message(pack(Answer(attempt="a"), b'{"ok":1}'), correlation=request.id))
        answer = await asking
    assert (answer.status_code, answer.json()) == (200, {"ok": 1})
    assert answer.headers["x-penstock-attempt"] == "a"


async def test_an_attempt_that_never_ends_is_recorded_as_lost() -> None:
    async with inside(YOURS, workers=False, pool_wait=60) as system:
        taken = Taken()
        await system.bus.consume(requests_queue("yours"), taken, 1)
        asking = asyncio.create_task(system.http.post("/v1/chat/completions", json={**ASK, "model": "yours"}))
        delivery = await taken.next()
        request, _ = unpack_request(delivery.body)
        delivery.ack()
        started = Started(attempt="a", worker="w", deployment="y", provider="openai", model="m", at=1)
        system.bus.send(Address(REPLIES, request.reply_to), Message(pack(started), correlation=request.id))
        await turns()
        assert "a" in system.attempts
        system.attempts.lose("a")
        (event,) = await system.accounted(1)
        assert (event.attempt, event.status, event.usage.estimated) == ("a", Status.LOST, True)
        assert event.usage.prompt > 0
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_worker_that_asks_about_nobody_is_told_no(system: Inside) -> None:
    heard: list[Verdict] = []
    system.asker._events.listen(lambda event: heard.append(event) if isinstance(event, Verdict) else None)
    started = Started(attempt="late", worker="w", deployment="d", provider="p", model="m", at=1, ask=True)
    system.bus.send(Address(REPLIES, system.asker.address), Message(pack(started), correlation="unknown"))
    await turns()
    assert heard == [Verdict("late", go=False)]


async def test_what_a_key_must_say_is_asked_for_at_the_door() -> None:
    till = Till(Access(caller=Caller(), enforced=("user",)), None)  # type: ignore[arg-type]
    async with inside(till=till) as system:
        refused = await system.http.post("/v1/chat/completions", json=ASK)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "user")
        assert (await system.http.post("/v1/chat/completions", json={**ASK, "user": "u"})).status_code == 200


async def test_without_a_worker_the_refusal_comes_at_once() -> None:
    async with inside(YOURS, workers=False) as system:
        answer = await system.http.post("/v1/chat/completions", json={**ASK, "model": "yours"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "no_workers"
    assert int(answer.headers["retry-after"]) > 0
