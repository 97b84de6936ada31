"""Limits out of rows whose JSON holds anything: what is no limit limits nothing, and raises nothing."""

from decimal import Decimal
from typing import Any

import pytest

from ledger.terms import Entities, Row, Rules, all_terms, model_terms, throttled_terms
from policy.allowed import governing
from schemas.access import Account, Unit

NOTHING = Entities(*({} for _ in Entities._fields))
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
    key, team = model_terms(of({name: {"m": value, "n": 3}}))
    assert [found["n"].rates[0].most for found in (key, team)] == [3, 3]
    assert key["m"].empty


@pytest.mark.parametrize("value", [0, 7, Decimal("7.0"), Decimal(10) ** 15])
def test_what_is_one_is(value: Any) -> None:
    key, _ = model_terms(of({"model_rpm_limit": {"m": value}}))
    (rate,) = key["m"].rates
    assert (rate.unit, rate.most, type(rate.most)) == (Unit.REQUESTS, value, int)


RAISED = {"temp_budget_increase": "2.5", "temp_budget_expiry": "2030-01-01T00:00:00"}
EXPIRY = 1893456000.0


def keyed(metadata: Any, **columns: Any) -> Entities:
    """A key with a budget of 1."""
    key = {"key_id": "k", "key_name": "sk-...", "max_budget": Decimal(1), "metadata": metadata, **columns}
    return NOTHING._replace(key=key)


@pytest.mark.parametrize("expiry", ["2030-01-01T00:00:00", "2030-01-01T00:00:00Z", "2030-01-01T01:00:00+01:00"])
def test_a_budget_is_raised_until_a_moment(expiry: str) -> None:
    (budget,) = all_terms(keyed(RAISED | {"temp_budget_expiry": expiry}), Rules()).budgets
    assert (budget.most, budget.at(EXPIRY - 0.001)) == (Decimal("3.5"), budget)
    assert budget.at(EXPIRY).most == budget.at(EXPIRY + 1e9).most == 1
    (unlimited,) = all_terms(keyed(RAISED, max_budget=None, soft_budget=Decimal(1)), Rules()).budgets
    assert unlimited.most is None


@pytest.mark.parametrize(
    "odd",
    [
        *({"temp_budget_increase": value} for value in (*SHAPES[4:], None, "x", -1, 0, "NaN", "1E+99999")),
        *({"temp_budget_expiry": value} for value in (*SHAPES, "soon", "2030-13-01", "")),
    ],
    ids=repr,
)
def test_what_is_no_raise_raises_nothing(odd: dict[str, Any]) -> None:
    (budget,) = all_terms(keyed(RAISED | odd), Rules()).budgets
    assert (budget.most, budget.later) == (1, None)


@pytest.mark.parametrize("years", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_raise_may_end_at_any_time(years: str) -> None:
    (budget,) = all_terms(keyed(RAISED | {"temp_budget_expiry": years}), Rules()).budgets
    assert budget.later is not None


def test_a_throttled_key_keeps_a_part_of_its_limits_and_no_budget() -> None:
    key = keyed({"throttle_on_budget_exceeded": True}, rpm_limit=25, tpm_limit=3, tpd_limit=9, soft_budget=Decimal(1))
    rules = Rules(throttle=Decimal("0.1"))
    found = throttled_terms(key, rules)
    assert found is not None
    assert [(rate.account.scope, rate.most) for rate in found.rates] == [
        ("", 25), ("", 3), ("", 9), ("throttled", 2), ("throttled", 1)
    ]  # fmt: skip
    assert found.budgets == ()
    assert throttled_terms(key, Rules()) is None


@pytest.mark.parametrize("value", SHAPES, ids=repr)
def test_any_shape_is_borne(value: Any) -> None:
    for entities in (
        of(value),
        of({"model_rpm_limit": value}),
        of(None, value),
        of(None, {"m": value}),
        of(None, None, value),
    ):
        assert all(terms.empty for by_model in model_terms(entities) for terms in by_model.values())
        assert all_terms(entities, Rules()).empty


@pytest.mark.parametrize("value", ["x", True, None, [], {}, "NaN", "Infinity", "1e999999"], ids=repr)
def test_what_is_no_amount_is_no_budget(value: Any) -> None:
    key, _ = model_terms(of(None, {"m": {"budget_limit": value}}))
    assert key["m"].empty
    assert all_terms(of(None, None, [{"budget_duration": "1d", "max_budget": value}]), Rules()).empty


@pytest.mark.parametrize("value", ["0.5", 0, Decimal(2)], ids=repr)
def test_an_amount_may_be_text(value: Any) -> None:
    key, _ = model_terms(of(None, {"m": {"budget_limit": value, "time_period": "1d"}}))
    (budget,) = key["m"].budgets
    assert (budget.most, budget.period) == (Decimal(value), "1d")


@pytest.mark.parametrize(
    ("value", "most"), [("1e-999999", 0), ("1." + 20_000 * "0" + "1", 1), ("-1e999999", -(10**15))]
)
def test_postgres_can_count_with_every_amount(value: str, most: int) -> None:
    """It knows 16,383 digits behind the point, and one statement is about many budgets."""
    key, _ = model_terms(of(None, {"m": {"budget_limit": value}}))
    (budget,) = key["m"].budgets
    assert budget.most == most
    assert len(format(budget.most, "f")) < 20


def test_each_payer_and_each_of_its_lists_has_entries_of_its_own() -> None:
    key = {
        "key_id": "k",
        "model_max_budget": {"gpt-*": {"budget_limit": 1}},
        "metadata": {"model_rpm_limit": {"gpt-4": 5}},
    }
    team = {"team_id": "t", "model_max_budget": {"gpt-4": {"budget_limit": 9}, "*": {"budget_limit": 7}}}
    found = model_terms(NOTHING._replace(key=key, team=team))
    counts = [by_model[entry] for by_model in found if (entry := governing(by_model, ("gpt-4",))) is not None]
    assert [b.account for terms in counts for b in terms.budgets] == [
        Account("key_model", "k", "gpt-*"),
        Account("team_model", "t", "gpt-4"),
    ]
    assert [r.account for terms in counts for r in terms.rates] == [Account("key_model", "k", "gpt-4")]


@pytest.mark.parametrize(("own", "window", "most"), [(1, 2, 1), (2, 1, 1), (None, 2, 2)])
def test_a_window_as_long_as_the_budget_is_the_same_balance(own: int | None, window: int, most: int) -> None:
    row = {"max_budget": own, "soft_budget": Decimal("0.5"), "budget_duration": "1d"}
    windows = [{"budget_duration": "1d", "max_budget": window}, {"budget_duration": "7d", "max_budget": 3}]
    entities = keyed({}, **row, budget_limits=windows)._replace(
        team={"team_id": "t", **row, "extra": {"budget_limits": windows}}
    )
    found = all_terms(entities, Rules()).budgets
    assert [(b.account.kind, b.period, b.most, b.soft) for b in found] == [
        (kind, period, limit, soft)
        for kind in ("key", "team")
        for period, limit, soft in (("1d", most, Decimal("0.5")), ("7d", 3, None))
    ]


def test_a_raise_does_not_raise_the_window_beside_it() -> None:
    windows = [{"budget_duration": "1d", "max_budget": 2}]
    (budget,) = all_terms(keyed(RAISED, budget_duration="1d", budget_limits=windows), Rules()).budgets
    assert (budget.most, budget.at(EXPIRY).most) == (2, 1)


PAYERS = [Account("key", "k"), *(Account("member", "t", user) for user in ("u", "2:u", ":ö", "9"))]


@pytest.mark.parametrize("payer", PAYERS, ids=repr)
@pytest.mark.parametrize("model", ["m", "3:u:m", "openai/*"])
def test_an_account_of_one_model_says_whose_it_is(payer: Account, model: str) -> None:
    assert payer.on(model).parted() == (payer, model)
    assert payer.parted() == (payer, "")


MEMBER: Row = {"team_id": "t", "user_id": "u"}
OWN: Row = {"model_max_budget": {"m": {"budget_limit": 1}}}
DEFAULT: Row = {"model_max_budget": {"m": {"budget_limit": 2}, "n": {"budget_limit": 3}}}


@pytest.mark.parametrize(
    ("own", "default", "expected"),
    [
        (OWN, DEFAULT, {"m": 1}),
        ({"model_max_budget": {}}, DEFAULT, {"m": 2, "n": 3}),
        ({}, DEFAULT, {"m": 2, "n": 3}),
        (OWN, {}, {"m": 1}),
        ({}, {}, {}),
    ],
)
def test_a_member_has_budgets_of_models_of_his_own_or_those_of_all(own: Row, default: Row, expected: object) -> None:
    found = model_terms(NOTHING._replace(member=MEMBER, member_budget=own, member_default=default))
    assert {model: terms.budgets[0].most for one in found for model, terms in one.items()} == expected
    assert not model_terms(NOTHING._replace(member_budget=own, member_default=default)), "who is no member has none"


@pytest.mark.parametrize(("own", "expected"), [(OWN, {"m": 1}), ({"model_max_budget": {}}, {"m": 2, "n": 3})])
def test_a_key_without_budgets_of_models_has_those_of_the_budget_that_it_names(own: Row, expected: object) -> None:
    (found,) = model_terms(NOTHING._replace(key={**keyed({}).key, **own}, key_budget=DEFAULT))
    assert {model: terms.budgets[0].most for model, terms in found.items()} == expected
    assert {terms.budgets[0].account.kind for terms in found.values()} == {"key_model"}
