"""`POST /spend/calculate`: what a request would cost, or what an answer has cost."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Response

from api.management.fields import Body, Name
from api.management.office import Caller, answer
from ledger.prices import PriceBook
from schemas.catalog import Catalog, provider_of, upstream_model
from schemas.config import Deployment
from schemas.failures import Kind, Refused
from schemas.usage import Usage

_COUNT = 2**53


class Calculation(Body):
    """A request (`model` with `messages`), or an answer (`completion_response`)."""

    model: Name | None = None
    messages: list[Any] | None = None
    completion_response: dict[str, Any] | None = None


def routes(catalog: Callable[[], Catalog], prices: PriceBook, estimate: Callable[[bytes], int]) -> APIRouter:
    """The route. `catalog` gives the present one; `estimate` the prompt tokens of a request's body (JSON)."""
    router = APIRouter(tags=["spend"])

    @router.post("/spend/calculate")
    async def calculate(body: Calculation, _: Caller) -> Response:
        """{cost}: in US dollars. A request's prompt tokens are estimated, and it has no answer yet to pay for.

        A model's name is looked for among those configured, whose own prices go first, and then in the price list.
        """
        if body.model is not None:
            if body.messages is None:
                raise _bad("messages must be provided if 'model' is provided", "messages")
            usage = Usage(prompt=estimate(json.dumps({"messages": body.messages}).encode()), estimated=True)
            return answer({"cost": _cost(catalog(), prices, body.model, usage)})
        if body.completion_response is not None:
            model = body.completion_response.get("model")
            if not isinstance(model, str) or not model.isprintable():
                raise _bad("completion_response must name its model", "completion_response")
            return answer({"cost": _cost(catalog(), prices, model, _usage(body.completion_response))})
        raise _bad("Either 'model' or 'completion_response' must be provided", "model")

    return router


def _cost(catalog: Catalog, prices: PriceBook, name: str, usage: Usage) -> Decimal:
    found = catalog.resolve(name)
    if found is not None:
        deployment = found.deployments[0]
        cost = prices.cost(deployment, upstream_model(deployment, found.model), usage)
    else:
        provider, slash, model = name.partition("/")
        if not slash:
            provider, model = provider_of(name) or "openai", name
        # a deployment that is not configured: every caller may name it, so it is not remembered by its name
        unnamed = Deployment(id="", group="", provider=provider, model=model)
        cost = PriceBook(remembered=1).cost(unnamed, model, usage)
    if cost is None:
        raise Refused(Kind.INVALID_REQUEST, f"The price of '{name[:200]}' is not known.", param="model")
    return cost


def _usage(response: Mapping[str, Any]) -> Usage:
    """The counts of an answer. Raises `Refused` where they are none."""
    given = response.get("usage")
    if not isinstance(given, Mapping):
        raise _bad("completion_response must have its usage", "completion_response")
    prompt, completion = (_part(given, name) for name in ("prompt_tokens_details", "completion_tokens_details"))
    return Usage(
        prompt=_count(given, "prompt_tokens"),
        completion=_count(given, "completion_tokens"),
        cached=_count(prompt, "cached_tokens"),
        cache_write=_count(prompt, "cache_creation_tokens"),
        audio_in=_count(prompt, "audio_tokens"),
        reasoning=_count(completion, "reasoning_tokens"),
        audio_out=_count(completion, "audio_tokens"),
    )


def _part(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = usage.get(name)
    return found if isinstance(found, Mapping) else {}


def _count(of: Mapping[str, Any], name: str) -> int:
    found = of.get(name)
    if found is None:
        return 0
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _COUNT:
        raise _bad(f"{name} is no number of tokens", "completion_response")
    return found


def _bad(what: str, param: str) -> Refused:
    return Refused(Kind.INVALID_REQUEST, f"Bad Request - {what}", param=param)
