import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import ModelPrice

from ledger.prices import _UNCOUNTED, PriceBook
from schemas.config import Deployment, PriceOverride
from schemas.usage import Usage

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()


def deployment(provider: str = "openai", model: str = "gpt-4o", **fields: object) -> Deployment:
    return Deployment(id=f"{provider}/{model}", group=model, provider=provider, model=model, **fields)  # type: ignore[arg-type]


def every_model() -> Iterator[tuple[str, str]]:
    for provider in providers:
        for model in provider.models:
            yield provider.id, model.id


def usages(chance: random.Random) -> Iterator[Usage]:
    for size in (10, 5_000, 300_000, 2_000_000):
        cached, written, audio = (chance.randrange(size // 4) for _ in range(3))
        reasoning, spoken = chance.randrange(size // 4), chance.randrange(size // 4)
        prompt = cached + written + audio + chance.randrange(size)
        yield Usage(prompt, reasoning + spoken + chance.randrange(size), cached, written, reasoning, audio, spoken)
    yield Usage(prompt=128_000, completion=1)
    yield Usage(prompt=200_000, completion=1, cached=5)
    yield Usage(prompt=200_001, completion=1, cached=5)


def packages_own(provider: str, model: str, usage: Usage, at: float) -> tuple[Decimal, ModelPrice]:
    counted = genai_prices.Usage(
        input_tokens=usage.prompt,
        output_tokens=usage.completion,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
        output_reasoning_tokens=usage.reasoning,
        input_audio_tokens=usage.audio_in,
        output_audio_tokens=usage.audio_out,
        cache_audio_read_tokens=0,
    )
    done = genai_prices.calc_price(
        counted, model, provider_id=provider, genai_request_timestamp=datetime.fromtimestamp(at, UTC)
    )
    return done.total_price, done.model_price


@pytest.mark.parametrize("provider", sorted({provider.id for provider in providers}))
def test_the_cost_is_the_packages_own(provider: str) -> None:
    chance = random.Random(provider)
    book = PriceBook()
    models = [model for home, model in every_model() if home == provider]
    priced = 0
    for model in chance.sample(models, min(len(models), 40)):
        for usage in usages(chance):
            at = AT + chance.randrange(86_400)
            try:
                expected, price = packages_own(provider, model, usage, at)
            except LookupError:  # a few entries do not match their own name
                assert PriceBook().cost(deployment(provider, model), model, usage, at) is None
                continue
            keys = {name for name, value in vars(price).items() if value is not None}
            ours = book.cost(deployment(provider, model), model, usage, at)
            if not keys & {"input_mtok", "output_mtok", "requests_kcount"} or keys & _UNCOUNTED:
                assert ours is None, model
            else:
                assert ours == expected, (model, usage)
                priced += 1
    assert priced or provider in ("elevenlabs", "openai-decisions", "fireworks")  # by pages; by full path


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openai", "gpt-4o", "0.0075"),
        ("openai", "gpt-4o-mini-2024-07-18", "0.00045"),
        ("openai", "gpt-3.5-turbo", "0.00125"),
        ("anthropic", "claude-3-5-sonnet-20241022", "0.0105"),
        ("anthropic", "claude-3-5-haiku-20241022", "0.0028"),
        ("azure", "gpt-4o", "0.0075"),
        ("ollama", "llama3.1", "0"),
        ("demo", "demo", "0"),
        ("openai", "no-such-model", None),
        ("no_such_provider", "gpt-4o", None),
        ("hosted_vllm", "llama3.1", None),
    ],
)
def test_known_models(provider: str, model: str, expected: str | None) -> None:
    usage = Usage(prompt=1000, completion=500)
    cost = PriceBook(lambda: AT).cost(deployment(provider, model), model, usage)
    assert cost == (None if expected is None else Decimal(expected))
    assert cost is None or isinstance(cost, Decimal)


@pytest.mark.parametrize(
    ("override", "usage", "expected"),
    [
        ({"input": "0.5"}, Usage(prompt=2, completion=0), "1.0"),
        ({"input": "0.5"}, Usage(prompt=2, completion=1), None),  # the output's price is unknown
        ({"input": "0", "output": "0"}, Usage(prompt=2, completion=1), "0"),
        ({"input": "1", "output": "2", "cache_read": "0.1"}, Usage(10, 1, cached=4), "8.4"),
        ({"input": "1", "output": "2", "cache_write": "3"}, Usage(10, 0, cached=4, cache_write=2), "14"),
        ({"input": "1", "output": "2", "reasoning": "5"}, Usage(0, 10, reasoning=4), "32"),
        ({"input": "1", "output": "2"}, Usage(0, 10, reasoning=4), "20"),
        (
            {"input": "1", "output": "2", "audio_in": "10", "audio_out": "20"},
            Usage(3, 3, audio_in=1, audio_out=1),
            "36",
        ),
        ({"request": "0.25"}, Usage(prompt=100, completion=100), "0.25"),
        ({"request": "0.25", "input": "1", "output": "1"}, Usage(prompt=1, completion=1), "2.25"),
        ({"input": "1", "output": "1", "cache_read": "0.5"}, Usage(prompt=1, completion=0, cached=4), "2.0"),
    ],
)
def test_the_configuration_prices_an_unlisted_model(
    override: dict[str, str], usage: Usage, expected: str | None
) -> None:
    price = PriceOverride(**{name: Decimal(value) for name, value in override.items()})
    cost = PriceBook().cost(deployment("own", "m", price=price), "m", usage)
    assert cost == (None if expected is None else Decimal(expected))


def test_the_configuration_changes_a_listed_price_in_part() -> None:
    price = PriceOverride(output=Decimal("0.001"))
    usage = Usage(prompt=1000, completion=500)
    assert PriceBook().cost(deployment(price=price), "gpt-4o", usage) == Decimal("0.5025")


@pytest.mark.parametrize(
    ("provider", "price_model"),
    [("azure", "gpt-4o"), ("azure", "azure/gpt-4o"), ("own", "openai/gpt-4o"), ("own", "gpt-4o")],
)
def test_the_price_of_another_name(provider: str, price_model: str) -> None:
    named = deployment(provider, "my-deployment-17", price_model=price_model)
    assert PriceBook().cost(named, "my-deployment-17", Usage(prompt=1000, completion=500)) == Decimal("0.0075")


def test_a_wildcards_models_have_their_own_prices_and_a_bounded_memory() -> None:
    book = PriceBook(remembered=3)
    wildcard = deployment("openai", "*")
    usage = Usage(prompt=1000, completion=500)
    for number in range(10):
        assert book.cost(wildcard, f"unknown-{number}", usage) is None
    assert book.cost(wildcard, "gpt-4o", usage) == Decimal("0.0075")
    assert book.cost(wildcard, "gpt-4o-mini", usage) == Decimal("0.00045")
    assert len(book._models) == 3


def test_a_price_that_changes_is_looked_up_again() -> None:
    """Off-peak prices: the list has some by time of day."""
    found = [
        (provider.id, model.id)
        for provider in providers
        for model in provider.models
        if not isinstance(model.prices, ModelPrice)
        and any(type(one.constraint).__name__ == "TimeOfDateConstraint" for one in model.prices)
    ]
    assert found
    for provider, model in found:
        book = PriceBook()
        usage = Usage(prompt=1000, completion=500)
        for hour in range(24):
            at = AT + hour * 3600
            expected, _ = packages_own(provider, model, usage, at)
            assert book.cost(deployment(provider, model), model, usage, at) == expected


def test_the_list_changes_prices_at_whole_minutes_only() -> None:
    for provider in providers:
        for model in provider.models:
            for one in [] if isinstance(model.prices, ModelPrice) else model.prices:
                for name in ("start_time", "end_time"):
                    moment = getattr(one.constraint, name, None)
                    assert moment is None or (moment.second, moment.microsecond) == (0, 0)


@pytest.mark.parametrize(
    ("provider", "model", "fields", "expected"),
    [
        ("openai", "gpt-4o", {}, 128_000),
        ("openai", "gpt-4o-2024-08-06", {}, 128_000),
        ("anthropic", "claude-sonnet-4-5", {}, 200_000),
        ("azure", "my-deployment-17", {"price_model": "azure/gpt-4o"}, 128_000),
        ("own", "mine", {"price_model": "openai/gpt-4o"}, 128_000),
        ("openai", "no-such-model", {}, None),
        ("no_such_provider", "gpt-4o", {}, None),
        ("demo", "demo", {}, None),
    ],
)
def test_the_context_window(provider: str, model: str, fields: dict[str, object], expected: int | None) -> None:
    book = PriceBook(lambda: AT)
    for _ in range(2):
        assert book.context_window(deployment(provider, model, **fields), model) == expected


@pytest.mark.parametrize(
    ("provider", "model", "override", "expected"),
    [
        ("openai", "gpt-4o", {}, "0.0000125"),
        ("openai", "gpt-4o", {"output": "0.1"}, "0.1000025"),
        ("anthropic", "claude-sonnet-4-5", {}, "0.000018"),  # of a short prompt: long ones cost more
        ("openai", "text-embedding-3-small", {}, "0.00000002"),
        ("ollama", "llama3.1", {}, "0"),
        ("demo", "demo", {"input": "1", "output": "2"}, "3"),
        ("own", "m", {"input": "1", "output": "2"}, "3"),
        ("own", "m", {"input": "1"}, None),
        ("own", "m", {"output": "1"}, None),
        ("own", "m", {"request": "1"}, "0"),
        ("own", "m", {}, None),
    ],
)
def test_the_price_to_compare_by(provider: str, model: str, override: dict[str, str], expected: str | None) -> None:
    price = PriceOverride(**{name: Decimal(value) for name, value in override.items()})
    found = PriceBook(lambda: AT).per_token(deployment(provider, model, price=price), model)
    assert found == (None if expected is None else Decimal(expected))


def test_the_price_to_compare_by_is_todays() -> None:
    """A model whose list price depends on the time of day."""
    provider, model = next(
        (provider.id, model.id)
        for provider in providers
        for model in provider.models
        if not isinstance(model.prices, ModelPrice)
        and len({str(one.prices) for one in model.prices}) > 1
        and any(type(one.constraint).__name__ == "TimeOfDateConstraint" for one in model.prices)
    )
    now = [AT]
    book = PriceBook(lambda: now[0])
    found = set()
    for hour in range(24):
        now[0] = AT + hour * 3600
        expected = packages_own(provider, model, Usage(1, 1), now[0])[0]
        assert book.per_token(deployment(provider, model), model) == expected
        found.add(expected)
    assert len(found) > 1


def test_a_model_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []

    def counted(provider: str, model: str, price_model: str | None) -> None:
        looked_up.append(model)

    monkeypatch.setattr("ledger.prices._listed", counted)
    book = PriceBook(lambda: AT)
    one = deployment()
    for _ in range(3):
        assert book.context_window(one, "gpt-4o") is None
        assert book.per_token(one, "gpt-4o") is None
        assert book.cost(one, "gpt-4o", Usage(1, 1)) is None
    assert looked_up == ["gpt-4o"]
