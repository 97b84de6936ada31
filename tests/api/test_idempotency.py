"""One upstream call per `Idempotency-Key`, whoever asks and whichever process they reach; and what is kept of it."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from api import errors
from api.idempotency import MOST_KEPT, call_of
from ledger.pool import Pool
from schemas.envelope import Endpoint
from schemas.failures import Failure, Kind, Refused
from tests.api.idempotent import (
    BODY,
    DONE,
    JSON,
    KEY,
    MARK,
    NOW,
    RELEASED,
    SSE,
    Make,
    Upstream,
    answered,
    asked,
    processes,
    refused,
    started,
    until,
)


@pytest.fixture
async def process(pool: Pool, database_url: str) -> AsyncIterator[Make]:
    """Starts a process; `pool` is there first, so the schema is."""
    async with processes(database_url) as make:
        yield make


async def test_the_answer_is_replayed_byte_for_byte_in_every_process(process: Make, pool: Pool) -> None:
    here, there, run = await process(), await process(), Upstream(BODY[:5], BODY[5:]).go(2)
    first = await answered(here, run)
    await until(pool, DONE)
    again, elsewhere = await answered(here, run), await answered(there, run)
    assert run.calls == 1
    assert (first.status, first.headers, first.body) == (200, JSON, BODY)
    for replay in (again, elsewhere):
        assert (replay.status, replay.headers, replay.body) == (200, [*JSON, MARK], BODY)
        assert replay.complete


async def test_nothing_readable_is_kept(
    process: Make, pool: Pool, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    here = await process()
    await answered(here, Upstream().go(), asked(b'{"prompt": "a secret"}', caller="the hash"))
    await until(pool, DONE)
    row = await pool.fetchrow("SELECT * FROM idempotent_calls")
    assert row is not None
    text = repr(dict(row)) + caplog.text + "".join(capfd.readouterr())
    for secret in ("forty-two", "a secret", "4711", "the hash", "req_first", BODY.hex()):
        assert secret not in text
    assert len(row["answer"]) < len(BODY) + 200


async def test_an_answer_cannot_be_moved_to_another_key(process: Make, pool: Pool) -> None:
    here, run = await process(), Upstream().go(2)
    await answered(here, run)
    await until(pool, DONE)
    other = asked(key="other")
    await pool.execute("UPDATE idempotent_calls SET key = $1", other.key)
    assert (await refused(here, run, other)).failure.kind is Kind.INTERNAL


@pytest.mark.parametrize("same_process", [True, False])
async def test_two_at_once_share_one_call(process: Make, same_process: bool) -> None:
    here, run = await process(), Upstream()
    there = here if same_process else await process()
    asking = [started(where, run) for where in (here, there, here, there)]
    await run.begun.wait()
    run.go()
    await asyncio.gather(*(task for _, task in asking))
    assert run.calls == 1
    assert [client.body for client, _ in asking] == [BODY] * 4
    assert sorted(MARK in client.headers for client, _ in asking) == [False, True, True, True]


async def test_another_body_is_refused_while_it_runs_and_afterwards(process: Make, pool: Pool) -> None:
    here, there, run = await process(), await process(), Upstream()
    _, first = started(here, run)
    await run.begun.wait()
    odd = asked(b"[]")
    found = [await refused(here, run, odd), await refused(there, run, odd)]
    run.go()
    await first
    await until(pool, DONE)
    found += [await refused(here, run, odd), await refused(there, run, odd)]
    assert {(one.failure.kind, one.failure.param) for one in found} == {(Kind.CONFLICT, "Idempotency-Key")}
    assert run.calls == 1


async def test_keys_are_told_apart_by_caller_and_endpoint(process: Make) -> None:
    here, run = await process(), Upstream().go(3)
    headers = [(b"idempotency-key", KEY.encode())]
    elsewhere = call_of(headers, "hash", (Endpoint.EMBEDDINGS, None), b"{}", NOW + 100)
    for call in (asked(), asked(caller="another"), elsewhere):
        assert MARK not in (await answered(here, run, call)).headers
    assert run.calls == 3


async def test_the_model_in_the_path_is_part_of_what_was_asked(process: Make, pool: Pool) -> None:
    here, run = await process(), Upstream().go(2)
    headers = [(b"idempotency-key", KEY.encode())]
    one, two = (call_of(headers, "hash", (Endpoint.CHAT, model), b"{}", NOW + 100) for model in ("a", "b"))
    await answered(here, run, one)
    assert (await refused(here, run, two)).failure.kind is Kind.CONFLICT


@pytest.mark.parametrize("given", [[b""], [b"x" * 256], ["ä".encode()], [b"a\tb"], [b"a", b"a"]])
def test_a_bad_key_is_refused(given: list[bytes]) -> None:
    with pytest.raises(Refused) as caught:
        call_of([(b"idempotency-key", one) for one in given], "hash", (Endpoint.CHAT, None), b"", 0)
    assert (caught.value.failure.kind, caught.value.failure.param) == (Kind.INVALID_REQUEST, "Idempotency-Key")


def test_without_the_header_there_is_no_such_call() -> None:
    assert call_of([(b"x-idempotency", b"a")], "hash", (Endpoint.CHAT, None), b"", 0) is None
    assert call_of([(b"idempotency-key", b" " + b"x" * 255)], "hash", (Endpoint.CHAT, None), b"", 0) is not None


@pytest.mark.parametrize(
    ("status", "kept"),
    [(200, True), (400, True), (404, True), (422, True), *((n, False) for n in (408, 409, 429, 499, 500, 502, 503))],
)
async def test_what_asking_again_may_cure_is_not_kept(process: Make, pool: Pool, status: int, kept: bool) -> None:
    here, there, run = await process(), await process(), Upstream(status=status).go(2)
    first = await answered(here, run)
    await until(pool, DONE if kept else RELEASED)
    second = await answered(there, run)
    assert run.calls == (1 if kept else 2)
    assert (first.status, first.body) == (second.status, second.body) == (status, BODY)
    assert (MARK in second.headers) is kept


async def test_a_retry_at_once_does_not_get_the_failure_again(process: Make) -> None:
    here = await process()
    assert (await answered(here, Upstream(status=503).go())).status == 503
    assert (await answered(here, Upstream().go())).status == 200


async def test_a_stream_that_ended_in_a_failure_is_not_kept(process: Make, pool: Pool) -> None:
    parts = (b'data: {"choices":[]}\r\n\r\n', errors.event(Failure(Kind.WORKER_LOST, "lost")))
    here, run = await process(), Upstream(*parts, headers=SSE).go(4)
    await answered(here, run)
    await until(pool, RELEASED)
    assert (await answered(here, run)).body == b"".join(parts)
    assert run.calls == 2


async def test_an_answer_may_be_as_long_as_is_said(process: Make, pool: Pool) -> None:
    here = await process()
    longest = Upstream(bytes(MOST_KEPT)).go()
    await answered(here, longest)
    await until(pool, DONE)
    assert (await answered(here, longest)).body == bytes(MOST_KEPT)
    longer, other = Upstream(bytes(MOST_KEPT), b"x").go(4), asked(key="longer")
    for _ in range(2):
        assert len((await answered(here, longer, other)).body) == MOST_KEPT + 1
        await until(pool, f"NOT EXISTS (SELECT FROM idempotent_calls WHERE key = '{other.key}')")
    assert (longest.calls, longer.calls) == (1, 2)


async def test_a_stream_is_joined_midway_and_followed(process: Make, pool: Pool) -> None:
    here, there = await process(), await process()
    run = Upstream(b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n", headers=SSE).go(2)
    first, asking = started(here, run)
    await first.has(b"data: 1\n\ndata: 2\n\n")
    second, joining = started(here, run)
    await second.has(b"data: 1\n\ndata: 2\n\n")
    assert not second.complete
    elsewhere, waiting = started(there, run)
    run.go()
    await asyncio.gather(asking, joining, waiting)
    assert run.calls == 1
    assert first.body == second.body == elsewhere.body == b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
    assert len(second.messages) == len(first.messages) == 4
    assert (first.headers, second.headers, elsewhere.headers) == (SSE, [*SSE, MARK], [*SSE, MARK])
