"""What the price list knows: what a call costs (the configuration's prices go first), and how long a prompt may be.

The package's own `calc_price` takes 150 µs; here a model's price is resolved once and reduced to rates per token.
Its data is the one that was installed: nothing is fetched at run time.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from genai_prices.data import providers as _PROVIDERS
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

from schemas.config import Deployment, PriceOverride
from schemas.usage import Usage

_MILLION, _THOUSAND, _ZERO = Decimal(10**6), Decimal(10**3), Decimal(0)


class Rates(NamedTuple):
    """US dollars per token, and per request. None: not priced apart, so it costs what its kind of token costs.

    Cached, cache-write and audio tokens are part of the prompt, reasoning and audio tokens of the completion.
    `input` or `output` None is an unknown price.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    request: Decimal | None = None
    audio_in: Decimal | None = None
    audio_out: Decimal | None = None

    def cost(self, u: Usage) -> Decimal | None:
        """The price of one call; None when it used tokens of an unknown price.

        A provider's counts may contradict each other (more cached than prompt tokens): no part ever counts below zero.
        """
        apart_in = ((u.cached, self.cache_read), (u.cache_write, self.cache_write), (u.audio_in, self.audio_in))
        apart_out = ((u.reasoning, self.reasoning), (u.audio_out, self.audio_out))
        prompt = _side(u.prompt, self.input, apart_in)
        completion = _side(u.completion, self.output, apart_out)
        if prompt is None or completion is None:
            return None
        return (self.request or _ZERO) + prompt + completion


def _side(count: int, rate: Decimal | None, apart: Iterable[tuple[int, Decimal | None]]) -> Decimal | None:
    """The cost of one direction's tokens, of which some are priced apart."""
    total = _ZERO
    for part, own in apart:
        if part and own is not None:
            total += own * part
            count -= part
    if count <= 0:
        return total
    return None if rate is None else total + rate * count


class Price(NamedTuple):
    """A model's rates, by the size of the prompt: those behind the highest threshold that the prompt passes."""

    base: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()  # highest threshold first

    def cost(self, usage: Usage) -> Decimal | None:
        """See `Rates.cost`."""
        for threshold, rates in self.tiers:
            if usage.prompt > threshold:
                return rates.cost(usage)
        return self.base.cost(usage)


class _Known(NamedTuple):
    """What was found out about a model.

    `minute` is the one for which the price holds (the list changes prices at whole minutes); 0: for ever.
    `of` is whose it is: a deployment that is changed keeps its id.
    """

    minute: float
    price: Price | None
    window: int | None
    of: Deployment


class PriceBook:
    """Prices and context windows of every deployment's models, resolved when first asked for.

    `clock` gives seconds since the epoch: some list prices depend on the date or the time of day.
    """

    def __init__(self, clock: Callable[[], float] = time.time, remembered: int = 4096) -> None:
        self._clock = clock
        self._remembered = remembered
        self._models: dict[tuple[str, str], _Known] = {}

    def cost(self, deployment: Deployment, model: str, usage: Usage, at: float | None = None) -> Decimal | None:
        """US dollars for a call of `model` (a wildcard deployment has many) at time `at`; None: the price is unknown.

        A self-hosted model (`ollama`, `demo`) without a price costs nothing: nobody sends a bill per token, and
        LiteLLM, whose budgets our users bring along, counts it so.
        """
        price = self.price(deployment, model, self._clock() if at is None else at)
        return None if price is None else price.cost(usage)

    def price(self, deployment: Deployment, model: str, at: float) -> Price | None:
        """The resolved price, from memory if it still holds then."""
        found = self._models.get((deployment.id, model))
        if found is None or found.of is not deployment or (found.minute and found.minute != at // 60):
            found = self._resolved(deployment, model, at)
        return found.price

    def per_token(self, deployment: Deployment, model: str) -> Decimal | None:
        """US dollars for a token of the prompt and one of the completion, now, of a short prompt; None: unknown.

        What is priced by request alone, or self-hosted and without a price, costs 0. It is there to compare by.
        """
        price = self.price(deployment, model, self._clock())
        if price is None or price.base.input is None or price.base.output is None:
            return None
        return price.base.input + price.base.output

    def context_window(self, deployment: Deployment, model: str) -> int | None:
        """How many tokens a prompt may have, by the price list; None: unknown. What a configuration says goes first."""
        found = self._models.get((deployment.id, model))
        if found is None or found.of is not deployment:
            found = self._resolved(deployment, model, self._clock())
        return found.window

    def _resolved(self, deployment: Deployment, model: str, at: float) -> _Known:
        key = (deployment.id, model)
        if key not in self._models and len(self._models) >= self._remembered:
            del self._models[next(iter(self._models))]
        found = self._models[key] = _resolve(deployment, model, at)
        return found


def _resolve(deployment: Deployment, model: str, at: float) -> _Known:
    info = _listed(deployment.provider, model, deployment.price_model)
    if info is None:
        return _Known(0.0, _overridden(_unlisted(deployment), deployment.price), None, deployment)
    listed = _reduced(info.get_prices(datetime.fromtimestamp(at, UTC)))
    minute = 0.0 if isinstance(info.prices, ModelPrice) else at // 60
    price = _overridden(listed or _unlisted(deployment), deployment.price)
    return _Known(minute, price, info.context_window, deployment)


def _listed(provider: str, model: str, price_model: str | None) -> ModelInfo | None:
    """The list's entry. `price_model` may name its provider (`azure/gpt-4o`), and is looked for everywhere."""
    if price_model is None:
        return _find(provider, model)
    prefix, slash, rest = price_model.partition("/")
    if slash and (found := _find(prefix, rest)):
        return found
    if found := _find(provider, price_model):
        return found
    for home in _BY_ID.values():
        if home.model_match is not None and home.model_match.is_match(price_model.lower()):
            return home.find_model(price_model, all_providers=_PROVIDERS)
    return None


def _find(provider: str, model: str) -> ModelInfo | None:
    home = _BY_ID.get(_LISTED_AS.get(provider, provider))
    return None if home is None else home.find_model(model, all_providers=_PROVIDERS)


def _reduced(price: ModelPrice) -> Price | None:
    """The list's price as rates; None when it is by something that a `Usage` does not count (pages, seconds, …)."""
    given: dict[str, Decimal | TieredPrices] = {name: value for name, value in vars(price).items() if value is not None}
    if not given.keys() & {"input_mtok", "output_mtok", "requests_kcount"} or given.keys() & _UNCOUNTED:
        return None
    thresholds = {tier.start for value in given.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    tiers = tuple((start, _rates(given, start + 1)) for start in sorted(thresholds, reverse=True))
    return Price(_rates(given, 0), tiers)


def _rates(given: Mapping[str, Decimal | TieredPrices], prompt: int) -> Rates:
    found = {
        field: _at(given[name], prompt) / (_THOUSAND if field == "request" else _MILLION)
        for field, name in _FIELDS
        if name in given
    }
    return Rates(**({"input": _ZERO, "output": _ZERO} | found))


def _at(price: Decimal | TieredPrices, prompt: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if prompt > tier.start), price.base)


def _unlisted(deployment: Deployment) -> Price | None:
    """What a model costs that no list knows: nothing if it is our own machine, or if each request has its price."""
    override = deployment.price
    only_requests = override.request is not None and override.input is None and override.output is None
    if deployment.provider in _SELF_HOSTED or only_requests:
        return Price(Rates(input=_ZERO, output=_ZERO))
    return None


def _overridden(price: Price | None, override: PriceOverride) -> Price | None:
    """With the configuration's prices in place of the list's, whatever the size of the prompt."""
    changes = {name: value for name, value in _overrides(override) if value is not None}
    if not changes:
        return price
    if price is None:
        return Price(Rates(**changes))
    return Price(
        price.base._replace(**changes), tuple((start, rates._replace(**changes)) for start, rates in price.tiers)
    )


def _overrides(override: PriceOverride) -> Iterable[tuple[str, Decimal | None]]:
    return ((name, getattr(override, name)) for name in Rates._fields)


_BY_ID: Mapping[str, Provider] = {provider.id: provider for provider in _PROVIDERS}

_SELF_HOSTED = frozenset({"ollama", "ollama_chat", "demo"})

_LISTED_AS = {
    "anthropic_text": "anthropic",
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_mantle": "aws",
    "codestral": "mistral",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "github_copilot": "github-copilot",
    "meta_llama": "meta",
    "moonshot": "moonshotai",
    "text-completion-codestral": "mistral",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai": "google",
    "vertex_ai_beta": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
}
"""Our names of providers (LiteLLM's prefixes) as the price list calls them, where they differ."""

_FIELDS = (
    ("input", "input_mtok"),
    ("output", "output_mtok"),
    ("cache_read", "cache_read_mtok"),
    ("cache_write", "cache_write_mtok"),
    ("reasoning", "output_reasoning_mtok"),
    ("request", "requests_kcount"),
    ("audio_in", "input_audio_mtok"),
    ("audio_out", "output_audio_mtok"),
)

_UNCOUNTED = frozenset(
    {
        "audio_hours",
        "input_audio_hours",
        "output_audio_hours",
        "input_mchars",
        "input_text_messages_kcount",
        "input_gpixels",
        "input_document_kpages",
        "input_annotated_document_kpages",
        "rerank_searches_kcount",
    }
)
"""Prices by what `Usage` does not count. (Searches by tools are not counted either, and are left out of the cost.)"""
