"""Idempotent calls, when somebody goes away: a client, all clients, a process, the ledger, this process."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.body import Receive
from api.reply import Send
from ledger.pool import Pool, open_pool
from schemas.failures import Kind, Refused
from tests.api.idempotent import (
    BODY,
    DONE,
    MARK,
    NOW,
    QUICK,
    RELEASED,
    SSE,
    Away,
    Client,
    Make,
    Upstream,
    answered,
    asked,
    holds,
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


async def test_a_call_outlives_its_client(process: Make, pool: Pool) -> None:
    here, there, run = await process(), await process(), Upstream(BODY[:5], BODY[5:])
    client, asking = started(here, run.go())
    await client.has(BODY[:5])
    client.leave()
    await asking
    run.go()
    await until(pool, DONE)
    assert not client.complete
    assert (await answered(there, run)).body == BODY
    assert (run.calls, run.gone) == (1, False)


async def test_a_client_that_leaves_does_not_take_the_others_along(process: Make) -> None:
    here, run = await process(QUICK._replace(grace=0)), Upstream()
    first, asking = started(here, run)
    await run.begun.wait()
    second, joining = started(here, run)
    await asyncio.sleep(0)  # it has joined
    first.leave()
    await asking
    run.go()
    await joining
    assert (second.body, run.calls, run.gone) == (BODY, 1, False)


async def test_a_call_that_nobody_waits_for_ends_after_the_grace(process: Make, pool: Pool) -> None:
    here, run = await process(QUICK._replace(grace=0)), Upstream()
    client, asking = started(here, run)
    await run.begun.wait()
    client.leave()
    await asking
    await until(pool, RELEASED)
    assert run.gone
    assert (await answered(here, Upstream().go())).body == BODY


async def test_a_client_that_comes_back_in_time_stops_the_grace(process: Make) -> None:
    here, run = await process(QUICK._replace(grace=30)), Upstream()
    client, asking = started(here, run)
    await run.begun.wait()
    client.leave()
    await asking
    back, waiting = started(here, run)
    await asyncio.sleep(0)
    run.go()
    await waiting
    assert (back.body, run.calls, run.gone) == (BODY, 1, False)


async def test_whoever_waits_takes_over_from_a_dead_process(process: Make, pool: Pool) -> None:
    dying, there, lost, run = await process(), await process(), Upstream(), Upstream().go()
    client, asking = started(dying, lost)
    await lost.begun.wait()
    second, waiting = started(there, run)
    await asyncio.sleep(0)
    await pool.execute("UPDATE idempotent_calls SET leased_until = now() - interval '1 second'")
    await waiting
    await until(pool, DONE)
    lost.go()
    await asking
    assert (second.body, run.calls) == (BODY, 1)
    assert MARK not in second.headers
    assert client.body == BODY, "it was not dead after all: its client has its answer, too"
    assert await holds(pool, DONE)


async def test_an_expired_answer_is_made_anew(process: Make, pool: Pool) -> None:
    here, run = await process(), Upstream().go(2)
    await answered(here, run)
    await until(pool, DONE)
    await pool.execute("UPDATE idempotent_calls SET expires = now() - interval '1 second'")
    assert MARK not in (await answered(here, run, asked(b"[]"))).headers
    assert run.calls == 2


async def test_nobody_waits_beyond_the_deadline(process: Make) -> None:
    here, there, run = await process(), await process(), Upstream()
    _, asking = started(here, run)
    await run.begun.wait()
    late = asked(deadline=NOW)
    for where in (here, there):
        assert (await refused(where, run, late)).failure.kind is Kind.DEADLINE
    run.go()
    await asking


async def test_who_leaves_while_it_runs_elsewhere_is_not_waited_for(process: Make) -> None:
    here, there, run = await process(), await process(), Upstream()
    _, asking = started(here, run)
    await run.begun.wait()
    client, waiting = started(there, run)
    client.leave()
    await waiting
    assert not client.messages
    run.go()
    await asking


async def test_without_the_ledger_nothing_runs(process: Make, database_url: str) -> None:
    gone = await open_pool(database_url)
    here, run = await process(own=gone), Upstream().go()
    await gone.close()
    assert (await refused(here, run)).failure.kind is Kind.LEDGER_DOWN
    assert run.calls == 0


async def test_an_answer_is_stored_when_the_ledger_is_back(process: Make, pool: Pool) -> None:
    away = Away(pool)
    here, run = await process(own=away), Upstream()
    _, asking = started(here, run)
    await run.begun.wait()
    away.away = True
    run.go()
    await asking
    await away.asked.wait()
    assert (await answered(here, run)).body == BODY, "meanwhile this process has it"
    away.away = False
    await until(pool, DONE)
    assert run.calls == 1


async def test_claims_are_renewed_while_the_call_runs_and_the_expired_purged(process: Make, pool: Pool) -> None:
    here, run = await process(QUICK._replace(lease=0.3)), Upstream()
    here.open()
    _, asking = started(here, run)
    await run.begun.wait()
    await pool.execute(
        "INSERT INTO idempotent_calls VALUES ('old', 'b', 'o', now(), 'done', 'x', now() - interval '1 second')"
    )
    await pool.execute("UPDATE idempotent_calls SET leased_until = now() - interval '1 hour'")
    await until(pool, "(SELECT count(*) = 1 AND min(leased_until) > now() FROM idempotent_calls)")
    run.go()
    await asking


async def test_the_claims_are_looked_after_again_when_the_ledger_is_back(
    process: Make, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away(pool)
    here = await process(QUICK._replace(lease=0.06), away)
    await pool.execute("INSERT INTO idempotent_calls VALUES ('old', 'b', 'o', now(), 'done', 'x', now())")
    away.away = True
    here.open()
    for _ in range(3):
        away.asked.clear()
        await away.asked.wait()
    away.away = False
    await until(pool, RELEASED)
    assert caplog.text.count("could not be looked after") == 1


async def test_a_bug_in_a_run_ends_as_a_refusal_and_frees_the_key(
    process: Make, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    async def bug(_receive: Receive, _send: Send) -> None:
        raise ValueError

    here, client = await process(), Client()
    with pytest.raises(Refused) as caught:
        await here.serve(asked(), bug, client.receive, client.send)
    assert caught.value.failure.kind is Kind.INTERNAL
    assert "an idempotent call failed" in caplog.text
    assert (await answered(here, Upstream().go())).body == BODY


async def test_close_tells_the_calls_and_frees_their_keys(process: Make, pool: Pool) -> None:
    here, run = await process(), Upstream(b"data: 1\n\n", b"x", headers=SSE)
    client, asking = started(here, run.go())
    await client.has(b"data: 1\n\n")
    quiet, other = Upstream(), asked(key="other")
    _, waiting = started(here, quiet, other)
    await quiet.begun.wait()
    await here.close(10)
    assert (run.gone, quiet.gone) == (True, True)
    await asking
    with pytest.raises(Refused) as caught:
        await waiting
    assert caught.value.failure.kind is Kind.DRAINING
    assert client.complete
    assert b"shutting_down" in client.body
    assert await holds(pool, RELEASED)
    assert (await refused(here, run)).failure.kind is Kind.DRAINING


async def test_a_call_that_does_not_listen_is_stopped_by_close(process: Make, pool: Pool) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def deaf(_receive: Receive, _send: Send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    here, client = await process(), Client()
    asking = asyncio.create_task(here.serve(asked(), deaf, client.receive, client.send))
    await begun.wait()
    client.leave()
    await asking
    await here.close(0)
    assert stopped.is_set()
    assert await holds(pool, RELEASED)


@pytest.mark.parametrize("begun", [True, False])
async def test_a_client_that_the_server_cuts_off_is_told(process: Make, begun: bool) -> None:
    here, run = await process(), Upstream(b"data: 1\n\n", b"data: 2\n\n", headers=SSE)
    client, asking = started(here, run)
    await run.begun.wait()
    if begun:
        run.go()
        await client.has(b"data: 1\n\n")
    asking.cancel()
    (outcome,) = await asyncio.gather(asking, return_exceptions=True)
    if begun:
        assert client.body.startswith(b'data: 1\n\ndata: {"error":{"message":"The server is shutting down."')
        assert client.complete
    else:
        assert isinstance(outcome, asyncio.CancelledError), "so that the caller says it, with a status"
        assert not client.messages
    assert not run.gone
