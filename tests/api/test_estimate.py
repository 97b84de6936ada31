"""What a call may cost before it is made: the dearest of where it may go, bounded by what it says and what is known."""

from decimal import Decimal

import pytest

from api.course import Course, Wishes
from api.estimate import Estimator
from api.intake import Output
from ledger.leases import NANO
from ledger.prices import PriceBook
from schemas.config import Deployment, PriceOverride
from schemas.usage import Usage


def at(name: str, price: str | None, model: str = "m", window: int | None = None) -> Deployment:
    """A deployment; its price in US dollars per token, of either side."""
    override = PriceOverride() if price is None else PriceOverride(input=Decimal(price), output=Decimal(price))
    return Deployment(id=name, group="g", provider="openai", model=model, price=override, context_window=window)


def course(*deployments: Deployment, prompt: int = 99) -> Course:
    """Where it may go."""
    return Course(deployments, Wishes(), prompt)


def test_the_dearest_deployment_is_what_is_held() -> None:
    found = Estimator(PriceBook()).of(course(at("a", "1e-6"), at("b", "3e-6")), "g", "k", Output(200))
    assert found.tokens == 300
    assert found.nano == pytest.approx(300 * 3e-6 * NANO, abs=1)


def test_without_max_tokens_the_keys_own_answers_count_then_everybodys() -> None:
    estimator, where = Estimator(PriceBook()), course(at("a", "1e-6"))
    assert estimator.of(where, "g", "k", Output(None)).tokens == 100 + 4096
    for _ in range(30):
        estimator.learn("other", "g", Usage(prompt=1, completion=50))
    assert 150 <= estimator.of(where, "g", "k", Output(None)).tokens < 165
    for _ in range(30):
        estimator.learn("k", "g", Usage(prompt=1, completion=1000))
    assert 1100 <= estimator.of(where, "g", "k", Output(None)).tokens < 1310
    assert estimator.of(where, "g", "k", Output(7))[1:] == (107, 0, 0)


def test_what_the_body_does_not_ask_for_is_only_supposed() -> None:
    found = Estimator(PriceBook()).of(course(at("a", "1e-6"), at("b", "3e-6")), "g", "k", Output(None))
    assert found.guessed == 4096
    assert found.supposed == pytest.approx(4096 * 3e-6 * NANO, abs=1)


def test_a_models_context_bounds_both_sides() -> None:
    known = Deployment(id="a", group="g", provider="openai", model="gpt-4o-mini")
    window = PriceBook().context_window(known, "gpt-4o-mini")
    assert window is not None
    assert Estimator(PriceBook()).of(course(known, prompt=10**9), "g", "k", Output(10**9)).tokens == 2 * window


def test_an_unknown_price_holds_next_to_nothing_and_still_counts_tokens() -> None:
    found = Estimator(PriceBook()).of(course(at("a", None, "nobody-knows-it")), "g", "k", Output(100))
    assert (found.nano, found.tokens) == (1, 200)


def test_every_answer_and_every_prompt_costs() -> None:
    estimator, where = Estimator(PriceBook()), course(at("a", "1e-6"))
    assert estimator.of(where, "g", "k", Output(100, 5)).tokens == 600
    assert estimator.of(where, "g", "k", Output(None, 5)).tokens == 100 + 5 * 4096
