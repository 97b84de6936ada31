"""Limits out of rows whose JSON holds anything: what is no limit limits nothing, and raises nothing."""

from decimal import Decimal
from typing import Any

import pytest

from ledger.terms import Entities, Row, Rules, all_terms, model_terms
from schemas.access import Unit

NOTHING = Entities({}, {}, {}, {}, {}, {}, {}, {})
NUMBERS: list[Any] = [-1, "x", "5", True, None, [], {}, 1.5, Decimal("1.5"), Decimal("1E+30"), Decimal(-1), 10**16]
SHAPES: list[Any] = [None, 1, "m", ["m"], True, {}, [None], {"m": None}]


def of(metadata: Any = None, budgets: Any = None, windows: Any = None) -> Entities:
    """A key and a team with the same odd columns."""
    odd: Row = {"metadata": metadata, "model_max_budget": budgets}
    team = {**odd, "team_id": "t", "extra": {"budget_limits": windows}}
    return NOTHING._replace(key={**odd, "key_id": "k", "key_name": "sk-...", "budget_limits": windows}, team=team)


@pytest.mark.parametrize("name", ["model_rpm_limit", "model_tpm_limit"])
@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_what_is_no_whole_number_is_no_limit(name: str, value: Any) -> None:
    assert model_terms(of({name: {"m": value, "n": 3}}))["n"].rates[0].most == 3
    assert model_terms(of({name: {"m": value}}))["m"].empty


@pytest.mark.parametrize("value", [0, 7, Decimal("7.0"), Decimal(10) ** 15])
def test_what_is_one_is(value: Any) -> None:
    (rate, _) = model_terms(of({"model_rpm_limit": {"m": value}}))["m"].rates
    assert (rate.unit, rate.most, type(rate.most)) == (Unit.REQUESTS, value, int)


@pytest.mark.parametrize("value", SHAPES, ids=repr)
def test_any_shape_is_borne(value: Any) -> None:
    for entities in (
        of(value),
        of({"model_rpm_limit": value}),
        of(None, value),
        of(None, {"m": value}),
        of(None, None, value),
    ):
        assert all(terms.empty for terms in model_terms(entities).values())
        assert all_terms(entities, Rules()).empty


@pytest.mark.parametrize("value", ["x", True, None, [], {}, "NaN", "Infinity"], ids=repr)
def test_what_is_no_amount_is_no_budget(value: Any) -> None:
    assert model_terms(of(None, {"m": {"budget_limit": value}}))["m"].empty
    assert all_terms(of(None, None, [{"budget_duration": "1d", "max_budget": value}]), Rules()).empty


@pytest.mark.parametrize("value", ["0.5", 0, Decimal(2)], ids=repr)
def test_an_amount_may_be_text(value: Any) -> None:
    (budget, _) = model_terms(of(None, {"m": {"budget_limit": value, "time_period": "1d"}}))["m"].budgets
    assert (budget.most, budget.period) == (Decimal(value), "1d")
