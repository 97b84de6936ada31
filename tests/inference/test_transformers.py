"""The openai SDK through Penstock to a real inference server: `make test-inference`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.stand import EMBEDDED, RABBITMQ, SEPARATE, sdk, urls
from tests.support.house import House, separate, serving

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.blocks_loop,  # the SDK imports itself bit by bit
    pytest.mark.timeout(120, func_only=True),
]
ASK = [{"role": "user", "content": "Say hello."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[EMBEDDED, RABBITMQ, SEPARATE])
async def house(
    request: pytest.FixtureRequest, inference_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    params = {"model": "openai/tiny-llama", "api_base": inference_server, "api_key": "none-needed"}
    params |= {"input_cost_per_token": "1e-06", "output_cost_per_token": "2e-06"}
    config = {"model_list": [{"model_name": "tiny", "litellm_params": params}]}
    if request.param == EMBEDDED:
        async with serving(config, folder) as started:
            yield started
        return
    with urls(request.getfixturevalue("rabbitmq"), request.getfixturevalue("postgres")) as environ:
        start = separate if request.param == SEPARATE else serving
        async with start(config, folder, **environ) as started:
            yield started


async def test_an_answer(house: House) -> None:
    async with sdk(house.base) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="tiny", messages=ASK, max_tokens=12, temperature=0
        )
    answer = raw.parse()
    assert answer.choices[0].message.content is not None
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 10
    (row,) = await house.rows(1, request_id=raw.headers["x-request-id"])
    assert (row["outcome"], row["http_status"], row["estimated"]) == ("success", 200, False)
    assert row["prompt_tokens"] == answer.usage.prompt_tokens
    assert row["completion_tokens"] == answer.usage.completion_tokens
    assert float(row["cost"]) == pytest.approx(
        answer.usage.prompt_tokens * 1e-6 + answer.usage.completion_tokens * 2e-6, rel=1e-9
    )


async def test_a_stream_says_the_same(house: House) -> None:
    async with sdk(house.base) as client:
        whole = await client.chat.completions.create(model="tiny", messages=ASK, max_tokens=12, temperature=0)
        raw = await client.chat.completions.with_raw_response.create(
            model="tiny", messages=ASK, max_tokens=12, temperature=0, stream=True
        )
        chunks = [chunk async for chunk in raw.parse()]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    (row,) = await house.rows(1, request_id=raw.headers["x-request-id"])
    assert (row["outcome"], row["stream"]) == ("success", True)
    assert row["completion_tokens"] > 0


async def test_a_completion(house: House) -> None:
    async with sdk(house.base) as client:
        answer = await client.completions.create(model="tiny", prompt="Once upon a time", max_tokens=5, temperature=0)
    assert answer.choices[0].finish_reason in ("stop", "length")
