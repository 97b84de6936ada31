"""What follows when a deployment fails, is limited, or is not the one to ask, with scripted upstreams."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from schemas.config import Deployment, Fallback, Limits, Routing, Strategy
from schemas.usage import Status
from tests.support import upstream as up
from tests.support.inside import Inside, inside
from tests.support.upstream import Upstream

ASK = {"model": "g", "messages": [{"role": "user", "content": "hi"}]}
OOPS = up.json({"error": {"message": "Oops.", "type": "server_error", "code": None}}, 500)


def says(text: str) -> up.Reply:
    """An answer."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return up.json({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


def limited(seconds: str) -> up.Reply:
    """A 429."""
    error = {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded"}
    return up.json({"error": error}, 429, {"retry-after": seconds})


def said(answer: httpx.Response) -> str:
    """The text of an answer."""
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


class Sides:
    """Deployments `a` and `b` at upstreams of their own."""

    def __init__(self, a: Upstream, b: Upstream) -> None:
        self.a, self.b = a, b

    def at(self, name: str, group: str = "g", **fields: Any) -> Deployment:
        """The deployment `name`."""
        url = (self.a if name.startswith("a") else self.b).url
        return Deployment(id=name, group=group, provider="openai", model="up", api_base=url, **fields)


@pytest.fixture
async def sides() -> AsyncIterator[Sides]:
    async with Upstream() as a, Upstream() as b:
        yield Sides(a, b)


@asynccontextmanager
async def both(sides: Sides, routing: Routing | None = None, **fields: Any) -> AsyncIterator[Inside]:
    """`a` before `b` in one group."""
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(
            inside(sides.at("a", order=1, **fields), sides.at("b", order=2, **fields), routing=routing)
        )


async def test_what_fails_here_is_tried_there(sides: Sides) -> None:
    sides.a.script(OOPS)
    sides.b.script(says("b"))
    async with both(sides) as system:
        answer = await system.http.post("/v1/chat/completions", json=ASK)
        assert said(answer) == "b"
        assert answer.headers["x-litellm-attempted-retries"] == "1"
        assert answer.headers["x-litellm-model-id"] == "b"
        rows = await system.accounted(2)
    assert sorted((row.deployment, row.status) for row in rows) == [("a", Status.FAILURE), ("b", Status.SUCCESS)]
    assert rows[0].request == rows[1].request


async def test_a_stream_that_breaks_before_its_first_token_is_tried_again_unseen(sides: Sides) -> None:
    sides.a.script(up.break_off([b": nothing yet\n\n"]))
    chunk = {"choices": [{"index": 0, "delta": {"content": "b"}}]}
    sides.b.script(up.sse([chunk]))
    async with both(sides) as system:
        answer = await system.http.post("/v1/chat/completions", json={**ASK, "stream": True})
    assert answer.status_code == 200
    assert answer.text.count("data: ") == 2
    assert "error" not in answer.text


async def test_a_stream_that_breaks_later_ends_with_an_error_event(sides: Sides) -> None:
    sides.a.script(up.break_off([b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n']))
    async with both(sides) as system:
        answer = await system.http.post("/v1/chat/completions", json={**ASK, "stream": True})
    assert answer.status_code == 200
    assert '"provider_stream_interrupted"' in answer.text.split("data: ")[-1]
    assert not sides.b.requests


async def test_the_same_deployment_is_tried_again_when_there_is_no_other(sides: Sides) -> None:
    sides.a.script(OOPS, says("second"))
    async with inside(sides.at("a")) as system:
        answer = await system.http.post("/v1/chat/completions", json=ASK)
        assert said(answer) == "second"
    assert len(sides.a.requests) == 2


@pytest.mark.parametrize(
    ("routing", "body", "headers", "calls"),
    [
        (Routing(num_retries=0), {}, {}, 1),
        (Routing(num_retries=1), {}, {}, 2),
        (Routing(num_retries=0), {"num_retries": 1}, {}, 2),
        (Routing(num_retries=0), {}, {"x-litellm-num-retries": "1"}, 2),
        (Routing(num_retries=1), {"num_retries": 0}, {}, 1),
        (Routing(num_retries=0, retry_policy={"InternalServerError": 1}), {}, {}, 2),
        (Routing(num_retries=1, retry_policy={"InternalServerError": 0}), {}, {}, 1),
        (Routing(num_retries=0, group_retry_policy={"g": {"Default": 1}}), {}, {}, 2),
    ],
)
async def test_how_often(
    sides: Sides, routing: Routing, body: dict[str, Any], headers: dict[str, str], calls: int
) -> None:
    sides.a.script(OOPS)
    async with inside(sides.at("a"), routing=routing) as system:
        answer = await system.http.post("/v1/chat/completions", json={**ASK, **body}, headers=headers)
    assert answer.status_code == 500
    assert len(sides.a.requests) == calls


@pytest.mark.parametrize(
    "bad",
    [
        {"num_retries": -1},
        {"num_retries": "many"},
        {"num_retries": 1000},
        {"fallbacks": "b"},
        {"fallbacks": [1]},
        {"fallbacks": [{"nomodel": 1}]},
        {"max_fallbacks": True},
    ],
)
async def test_wishes_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    async with inside() as system:
        answer = await system.http.post("/v1/chat/completions", json={**ASK, "model": "demo", **bad})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(bad))


async def test_a_limited_deployment_is_left_at_once_for_one_with_room(sides: Sides) -> None:
    sides.a.script(limited("60"))
    sides.b.script(says("b"))
    async with both(sides) as system:
        for _ in range(3):
            assert said(await system.http.post("/v1/chat/completions", json=ASK)) == "b"
    assert len(sides.a.requests) == 1  # and is not asked again before it said


async def test_who_has_no_alternative_waits_as_long_as_it_was_told(sides: Sides) -> None:
    sides.a.script(limited("1"), says("a"))
    async with inside(sides.at("a")) as system:
        clock = asyncio.get_running_loop().time
        begin = clock()
        answer = await system.http.post("/v1/chat/completions", json=ASK)
        assert said(answer) == "a"
        assert clock() - begin >= 0.95
        assert float(answer.headers["x-penstock-queue-wait-ms"]) >= 950


async def test_a_wait_beyond_the_deadline_is_refused_with_the_providers_word(sides: Sides) -> None:
    sides.a.script(limited("90"))
    async with inside(sides.at("a")) as system:
        headers = {"x-penstock-timeout": "30"}
        first = await system.http.post("/v1/chat/completions", json=ASK, headers=headers)
        await asyncio.sleep(0.1)  # the beat that tells of it
        second = await system.http.post("/v1/chat/completions", json=ASK, headers=headers)
    assert first.status_code == second.status_code == 429
    assert (first.headers["retry-after"], first.headers["x-should-retry"]) == ("90", "false")
    assert second.json()["error"]["code"] == "deadline_unreachable"
    assert 58 <= int(second.headers["retry-after"]) <= 61
    assert len(sides.a.requests) == 1


async def test_a_group_falls_back_with_parameters_of_its_own(sides: Sides) -> None:
    sides.a.script(OOPS)
    sides.b.script(says("b"))
    routing = Routing(num_retries=0, fallbacks={"g": (Fallback(model="h", body={"temperature": 0.5}),)})
    async with inside(sides.at("a"), sides.at("b", "h"), routing=routing) as system:
        answer = await system.http.post("/v1/chat/completions", json={**ASK, "temperature": 1})
        assert said(answer) == "b"
        assert answer.headers["x-litellm-attempted-fallbacks"] == "1"
        assert answer.headers["x-litellm-model-group"] == "h"
        off = await system.http.post("/v1/chat/completions", json={**ASK, "disable_fallbacks": True})
        own = await system.http.post("/v1/chat/completions", json={**ASK, "fallbacks": ["nobody", "h"]})
        none = await system.http.post("/v1/chat/completions", json={**ASK, "max_fallbacks": 0})
        test = await system.http.post("/v1/chat/completions", json={**ASK, "mock_testing_fallbacks": True})
    assert sides.b.requests[0].json()["temperature"] == 0.5
    assert [found.status_code for found in (off, own, none, test)] == [500, 200, 500, 200]


@pytest.mark.parametrize(
    ("code", "fields", "reached"),
    [
        ("context_length_exceeded", {"context_window_fallbacks": {"g": (Fallback(model="h"),)}}, True),
        ("content_filter", {"content_policy_fallbacks": {"*": (Fallback(model="h"),)}}, True),
        ("context_length_exceeded", {"fallbacks": {"g": (Fallback(model="h"),)}}, True),
        ("context_length_exceeded", {"context_window_fallbacks": {"other": (Fallback(model="h"),)}}, False),
        ("invalid_value", {"fallbacks": {"g": (Fallback(model="h"),)}}, False),
    ],
)
async def test_fallbacks_for_what_a_model_cannot(
    sides: Sides, code: str, fields: dict[str, Any], reached: bool
) -> None:
    sides.a.script(up.json({"error": {"message": "No.", "type": "invalid_request_error", "code": code}}, 400))
    sides.b.script(says("b"))
    async with inside(sides.at("a"), sides.at("b", "h"), routing=Routing(**fields)) as system:
        answer = await system.http.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == (200 if reached else 400)
    assert len(sides.a.requests) == 1


async def test_a_chain_of_fallbacks_does_not_go_in_circles(sides: Sides) -> None:
    sides.a.script(OOPS)
    sides.b.script(OOPS)
    routing = Routing(num_retries=0, fallbacks={"*": (Fallback(model="g"), Fallback(model="h"))})
    async with inside(sides.at("a"), sides.at("b", "h"), routing=routing) as system:
        assert (await system.http.post("/v1/chat/completions", json=ASK)).status_code == 500
    assert (len(sides.a.requests), len(sides.b.requests)) == (1, 1)


async def test_an_order_is_kept_while_there_is_room(sides: Sides) -> None:
    sides.a.script(says("a"))
    sides.b.script(says("b"))
    async with both(sides) as system:
        for _ in range(5):
            assert said(await system.http.post("/v1/chat/completions", json=ASK)) == "a"


async def test_weights_and_an_id(sides: Sides) -> None:
    sides.a.script(says("a"))
    sides.b.script(says("b"))
    async with inside(sides.at("a", weight=1.0), sides.at("b", weight=0.0)) as system:
        for _ in range(5):
            assert said(await system.http.post("/v1/chat/completions", json=ASK)) == "a"
        assert said(await system.http.post("/v1/chat/completions", json={**ASK, "model": "b"})) == "b"


async def test_the_cheapest_is_asked_first(sides: Sides) -> None:
    sides.a.script(says("a"))
    sides.b.script(says("b"))
    dear, cheap = {"input": "0.1", "output": "0.1"}, {"input": "0.01", "output": "0.01"}
    routing = Routing(strategy=Strategy.COST)
    async with inside(sides.at("a", price=dear), sides.at("b", price=cheap), routing=routing) as system:
        for _ in range(5):
            assert said(await system.http.post("/v1/chat/completions", json=ASK)) == "b"


async def test_tags(sides: Sides) -> None:
    sides.a.script(says("a"))
    sides.b.script(says("b"))
    routing = Routing(tag_filtering=True)
    async with inside(sides.at("a", tags=("default",)), sides.at("b", tags=("paid",)), routing=routing) as system:
        for _ in range(3):
            assert said(await system.http.post("/v1/chat/completions", json=ASK)) == "a"
            assert said(await system.http.post("/v1/chat/completions", json={**ASK, "tags": ["paid"]})) == "b"
        none = await system.http.post("/v1/chat/completions", json={**ASK, "tags": ["&nobody"]})
    assert (none.status_code, none.json()["error"]["param"]) == (403, "tags")


async def test_a_prompt_that_fits_nowhere_costs_no_call(sides: Sides) -> None:
    sides.b.script(says("b"))
    routing = Routing(pre_call_checks=True)
    long = {**ASK, "messages": [{"role": "user", "content": "x" * 4000}]}
    longer = {**ASK, "messages": [{"role": "user", "content": "x" * 40000}]}
    async with inside(sides.at("a", context_window=100), sides.at("b", context_window=5000), routing=routing) as system:
        assert said(await system.http.post("/v1/chat/completions", json=long)) == "b"
        refused = await system.http.post("/v1/chat/completions", json=longer)
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert not sides.a.requests
    assert len(sides.b.requests) == 1


async def test_limits_are_limits(sides: Sides) -> None:
    sides.a.script(says("a"))
    async with inside(sides.at("a", limits=Limits(rpm=600))) as system:
        clock = asyncio.get_running_loop().time
        begin = clock()
        answers = await asyncio.gather(*(system.http.post("/v1/chat/completions", json=ASK) for _ in range(25)))
        seconds = clock() - begin
    assert {answer.status_code for answer in answers} == {200}
    assert seconds >= 1.3  # ten at once, the others a tenth of a second apart


async def test_what_cannot_be_in_time_is_refused_at_once(sides: Sides) -> None:
    sides.a.script(says("a"))
    async with inside(sides.at("a", limits=Limits(rpm=60))) as system:
        headers = {"x-penstock-timeout": "3"}
        clock = asyncio.get_running_loop().time
        begin = clock()
        asked = (system.http.post("/v1/chat/completions", json=ASK, headers=headers) for _ in range(3))
        first = [asyncio.create_task(one) for one in asked]
        await sides.a.received(1)
        late = await system.http.post("/v1/chat/completions", json=ASK, headers={"x-penstock-timeout": "1"})
        seconds = clock() - begin
        answers = await asyncio.gather(*first)
        health = system.asker.lines.overview()
    assert (late.status_code, late.json()["error"]["code"]) == (429, "deadline_unreachable")
    assert seconds < 0.5
    assert 1 <= int(late.headers["retry-after"]) <= 4  # three before it at one a second, and others come
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert health == []


async def test_a_client_that_leaves_the_line_costs_nothing(sides: Sides) -> None:
    sides.a.script(says("a"))
    async with inside(sides.at("a", limits=Limits(rpm=60))) as system:
        said(await system.http.post("/v1/chat/completions", json=ASK))
        waiting = [asyncio.create_task(system.http.post("/v1/chat/completions", json=ASK)) for _ in range(6)]
        await asyncio.sleep(0.1)
        assert system.asker.lines.waiting()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert said(await system.http.post("/v1/chat/completions", json=ASK)) == "a"
        assert len(sides.a.requests) == 2
        assert not system.asker.waiting


async def test_a_prompt_that_is_too_long_goes_to_a_model_that_takes_it(sides: Sides) -> None:
    sides.b.script(says("b"))
    routing = Routing(pre_call_checks=True, context_window_fallbacks={"g": (Fallback(model="h"),)})
    long = {**ASK, "messages": [{"role": "user", "content": "x" * 4000}]}
    async with inside(sides.at("a", context_window=100), sides.at("b", "h"), routing=routing) as system:
        assert said(await system.http.post("/v1/chat/completions", json=long)) == "b"
    assert not sides.a.requests


async def test_what_is_too_large_for_the_queue_harms_nobody_else(sides: Sides) -> None:
    sides.a.script(says("a"))
    large = {**ASK, "metadata": {"much": "x" * 2**20}}
    async with inside(sides.at("a", limits=Limits(rpm=120))) as system:
        asked = (system.http.post("/v1/chat/completions", json=one) for one in (ASK, ASK, ASK, large, ASK))
        answers = await asyncio.gather(*asked)
        assert not system.asker.waiting
    assert [answer.status_code for answer in answers] == [200, 200, 200, 413, 200]


async def test_refusals_leave_nothing_behind(sides: Sides) -> None:
    routing = Routing(num_retries=0)
    wild = Deployment(id="w", group="w/*", provider="openai", model="*", api_base=sides.a.url)
    sides.a.script(limited("60"))
    async with inside(wild, routing=routing) as system:
        for n in range(5):
            ask = {**ASK, "model": f"w/{n}", "timeout": 5}
            assert (await system.http.post("/v1/chat/completions", json=ask)).status_code == 429
            assert (await system.http.post("/v1/chat/completions", json=ask)).status_code == 429
        assert system.asker.lines.overview() == []
        assert not system.asker.lines._lines
