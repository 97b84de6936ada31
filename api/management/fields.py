"""Field types of management bodies: what is wrong with a value is said before it reaches the ledger.

Bodies keep fields that are not declared (`model_extra`): LiteLLM's clients send many that we only keep and show again.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ledger.rows import END_USER
from policy.periods import duration


def _duration(text: str) -> str:
    duration(text)
    return text


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


def _not_a_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is wanted, not true or false")
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Money = Annotated[Decimal, BeforeValidator(_not_a_flag), Field(ge=0, le=10**12, allow_inf_nan=False)]
"""US dollars."""
Count = Annotated[int, BeforeValidator(_not_a_flag), Field(ge=0, le=10**15)]
Period = Annotated[str, Field(max_length=20), AfterValidator(_duration)]
"""`30d`, `24h` …; see `policy.periods`."""
Name = Annotated[str, Field(max_length=150), AfterValidator(_name)]
"""An id, an alias, the name of a model or a tag."""
EndUser = Annotated[str, Field(max_length=END_USER), AfterValidator(_name)]
"""The id of a customer: what requests say in `user`."""
Order = Annotated[Literal["asc", "desc"], BeforeValidator(_lower)]
"""How a list is sorted, in letters of any case."""
Json = dict[str, Any]
_DEEPEST = 50


def _keepable(value: Any) -> Any:
    """What is nested deeper than a reader's stack would be stored, and could not be read again."""
    level, depth = [value], 0
    while level:
        if depth > _DEEPEST:
            raise ValueError(f"must not be nested deeper than {_DEEPEST} levels")
        if any(isinstance(one, float) and not math.isfinite(one) for one in level):
            raise ValueError("NaN and Infinity are not JSON")
        lists = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level, depth = [inner for one in lists for inner in one], depth + 1
    return value


_EMPTY: dict[str, Any] = {"models": [], "allowed_models": [], "allowed_routes": [], "aliases": {}, "metadata": {}}
_EMPTY |= {"model_max_budget": {}, "budget_limits": [], "blocked": False, "auto_rotate": False}
"""What null means for a column that cannot be null."""


def emptied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of columns: null is the empty value of one that cannot be null."""
    return {name: _EMPTY.get(name) if value is None else value for name, value in values.items()}


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    _keepable = model_validator(mode="before")(_keepable)

    def given(self) -> dict[str, Any]:
        """The declared fields that the client has sent, null included."""
        return {name: getattr(self, name) for name in self.model_fields_set if name in type(self).model_fields}

    def unknown(self) -> dict[str, Any]:
        """The fields that are not declared."""
        return dict(self.model_extra or {})


class Window(Body):
    """One of `budget_limits`: budgets that hold at the same time."""

    budget_duration: Period
    max_budget: Money


def _one_of_each(windows: list[Window]) -> list[Window]:
    """Of two windows of one duration nothing says which holds."""
    durations = [duration(window.budget_duration) for window in windows]
    if len(set(durations)) < len(durations):
        raise ValueError("each window needs a budget_duration of its own")
    return windows


Windows = Annotated[list[Window], Field(max_length=20), AfterValidator(_one_of_each)]
"""A `budget_limits`."""


class ModelBudget(BaseModel):
    """What `model_max_budget` says of one model."""

    model_config = ConfigDict(extra="allow")

    budget_limit: Money | None = None
    max_budget: Money | None = None
    time_period: Period | None = None
    budget_duration: Period | None = None


def _model_budgets(value: Any) -> Any:
    """LiteLLM takes a plain number of dollars too."""
    if not isinstance(value, dict):
        return value
    return {
        model: {"budget_limit": item} if isinstance(item, int | float) and not isinstance(item, bool) else item
        for model, item in value.items()
    }


ModelBudgets = Annotated[dict[Name, ModelBudget] | None, BeforeValidator(_model_budgets)]
"""A `model_max_budget`."""


def kept(budgets: Mapping[str, ModelBudget] | None) -> dict[str, Any]:
    """The budgets of models as JSON."""
    return {model: terms.model_dump(mode="json", exclude_none=True) for model, terms in (budgets or {}).items()}


class WithTerms(Body):
    """What keys, teams, users and budgets can be limited by. None is no limit."""

    max_budget: Money | None = None
    soft_budget: Money | None = None
    budget_duration: Period | None = None
    rpm_limit: Count | None = None
    tpm_limit: Count | None = None
    tpd_limit: Count | None = None
    max_parallel_requests: Count | None = None
    model_max_budget: ModelBudgets = None

    def given(self) -> dict[str, Any]:
        """As `Body.given`; the budgets of models as JSON."""
        found = super().given()
        if "model_max_budget" in found:
            found["model_max_budget"] = kept(self.model_max_budget)
        return found
