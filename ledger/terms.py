"""Budgets and limits out of rows: what a key's entities must keep to, each counted on an account of its own.

Metadata and JSON columns may hold what is no limit: it limits nothing, and raises nothing.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from schemas.access import Account, Budget, Rate, Terms, Unit

Row = Mapping[str, Any]
_MINUTE, _DAY = 60, 86400
_MOST = 10**15


class Rules(NamedTuple):
    """What the configuration says of everybody's access."""

    user_budget_for_team_keys: bool = False  # `apply_user_budget_to_team_keys`
    max_budget: Decimal | None = None  # of the whole proxy
    budget_duration: str = ""
    default_parallel: int | None = None  # `max_parallel_requests` of a key that says nothing


class Entities(NamedTuple):
    """The rows that belong to a key; {} where there is none."""

    key: Row
    team: Row
    user: Row
    organization: Row
    member: Row
    key_budget: Row
    member_budget: Row
    organization_budget: Row


def all_terms(of: Entities, rules: Rules) -> Terms:
    """What every call must keep to, whatever its model."""
    found = [*_of_key(of, rules), *_of_team(of), *_of_user(of, rules)]
    if of.organization:
        name = of.organization["organization_id"]
        found.append(terms_of(Account("organization", name), f"Organization={name}", of.organization_budget))
    if of.member:
        account = Account("member", of.member["team_id"], of.member["user_id"])
        named = f"User={of.member['user_id']} in Team={of.member['team_id']}"
        found.append(terms_of(account, named, of.member_budget))
    if rules.max_budget is not None:
        proxy = Budget(account=Account("proxy", ""), named="Proxy", period=rules.budget_duration, most=rules.max_budget)
        found.append(Terms(budgets=(proxy,)))
    return _joined(found)


def model_terms(of: Entities) -> dict[str, Terms]:
    """By model: `model_max_budget` of key and team, and `model_rpm_limit`, `model_tpm_limit` of their metadata."""
    found: dict[str, Terms] = {}
    for kind, row, name in (("key", of.key, of.key.get("key_id")), ("team", of.team, of.team.get("team_id"))):
        metadata = _object(row.get("metadata"))
        budgets, rpm = _object(row.get("model_max_budget")), _object(metadata.get("model_rpm_limit"))
        tpm = _object(metadata.get("model_tpm_limit"))
        for model in {*budgets, *rpm, *tpm}:
            budget = _object(budgets.get(model))
            limits = {
                "max_budget": budget.get("budget_limit", budget.get("max_budget")),
                "budget_duration": _text(budget.get("time_period", budget.get("budget_duration"))),
                "rpm_limit": _count(rpm.get(model)),
                "tpm_limit": _count(tpm.get(model)),
            }
            account = Account(f"{kind}_model", str(name), model)
            terms = terms_of(account, f"{kind.title()}={name}, model={model}", limits)
            found[model] = _joined([found.get(model, Terms()), terms])
    return found


def terms_of(account: Account, named: str, row: Row) -> Terms:
    """The terms that stand in the columns of a row."""
    budgets: tuple[Budget, ...] = ()
    most, soft = _money(row.get("max_budget")), _money(row.get("soft_budget"))
    if most is not None or soft is not None:
        period = row.get("budget_duration") or ""
        budgets = (Budget(account=account, named=named, period=period, most=most, soft=soft),)
    limits = (
        (Unit.REQUESTS, "rpm_limit", _MINUTE),
        (Unit.TOKENS, "tpm_limit", _MINUTE),
        (Unit.TOKENS, "tpd_limit", _DAY),
        (Unit.PARALLEL, "max_parallel_requests", 0),
    )
    rates = [
        Rate(account=account, named=named, unit=unit, most=int(row[column]), window=window)
        for unit, column, window in limits
        if row.get(column) is not None
    ]
    return Terms(budgets=budgets, rates=tuple(rates))


def _of_key(of: Entities, rules: Rules) -> list[Terms]:
    """Its own columns go before those of the budget that it is linked to."""
    key = of.key
    if not key:
        return []
    own = {**of.key_budget, **{name: value for name, value in key.items() if value is not None}}
    own.setdefault("max_parallel_requests", None)
    if own["max_parallel_requests"] is None:
        own["max_parallel_requests"] = rules.default_parallel
    account, named = Account("key", key["key_id"]), f"Key={key.get('key_alias') or 'key'} ({key['key_name']})"
    return [terms_of(account, named, own), _windows(account, named, key.get("budget_limits"))]


def _of_team(of: Entities) -> list[Terms]:
    team = of.team
    if not team:
        return []
    account, named = Account("team", team["team_id"]), f"Team={team['team_id']}"
    limits = _object(team.get("extra")).get("budget_limits")
    return [terms_of(account, named, team), _windows(account, named, limits)]


def _of_user(of: Entities, rules: Rules) -> list[Terms]:
    """A user's limits hold for all of his keys, his budget for those without a team."""
    user = of.user
    if not user:
        return []
    found = terms_of(Account("user", user["user_id"]), f"User={user['user_id']}", user)
    if of.team and not rules.user_budget_for_team_keys:
        found = Terms(rates=found.rates)
    return [found]


def _windows(account: Account, named: str, limits: Any) -> Terms:
    """`budget_limits`: several budgets of one account, each with a period of its own."""
    found = []
    for limit in map(_object, limits if isinstance(limits, list) else ()):
        period, most = _text(limit.get("budget_duration")), _money(limit.get("max_budget"))
        if period and most is not None:
            found.append(Budget(account=account, named=named, period=period, most=most))
    return Terms(budgets=tuple(found))


def _joined(found: Iterable[Terms]) -> Terms:
    found = list(found)
    return Terms(
        budgets=tuple(budget for terms in found for budget in terms.budgets),
        rates=tuple(rate for terms in found for rate in terms.rates),
    )


def _object(value: Any) -> Row:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    """A whole number that can be counted to; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= _MOST or value % 1:
        return None
    return int(value)


def _money(value: Any) -> Decimal | None:
    """US dollars, also as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
