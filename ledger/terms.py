"""Budgets and limits out of rows: what a key's entities must keep to, each counted on an account of its own.

Metadata and JSON columns may hold what is no limit: it limits nothing, and raises nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from msgspec import structs

from schemas.access import Account, Budget, Rate, Terms, Unit

Row = Mapping[str, Any]
ByModel = Mapping[str, Terms]
"""By model group, or pattern of such (`claude-*`)."""
_MINUTE, _DAY = 60, 86400
_MOST = 10**15
_LEAST = Decimal("1e-12")  # US dollars; Postgres has no numbers with a hundred thousand digits


class Rules(NamedTuple):
    """What the configuration says of everybody's access."""

    user_budget_for_team_keys: bool = False  # `apply_user_budget_to_team_keys`
    max_budget: Decimal | None = None  # of the whole proxy
    budget_duration: str = ""
    default_parallel: int | None = None  # `max_parallel_requests` of a key that says nothing
    throttle: Decimal | None = None  # `budget_exceeded_throttle_percentage`: a part of 1
    enforced_of_services: tuple[str, ...] = ()  # `service_account_settings.enforced_params`


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
    organization_member: Row
    organization_member_budget: Row
    member_default: Row


def all_terms(of: Entities, rules: Rules) -> Terms:
    """What every call must keep to, whatever its model."""
    return _joined([*_of_key(of, rules), *_of_others(of, rules)])


def throttled_terms(of: Entities, rules: Rules) -> Terms | None:
    """What counts instead once `max_budget` of the key is spent; None for a key that is not called any more then.

    As in LiteLLM that is a key with `throttle_on_budget_exceeded` and a limit that can be lowered.
    """
    if rules.throttle is None or _object(of.key.get("metadata")).get("throttle_on_budget_exceeded") is not True:
        return None
    own, windows = _of_key(of, rules)
    slower = [_slower(rate, rules.throttle) for rate in own.rates if rate.window == _MINUTE]
    if not slower:
        return None
    left = Terms(budgets=tuple(b for b in own.budgets if b.most is None), rates=(*own.rates, *slower))
    return _joined([left, windows, *_of_others(of, rules)])


def _slower(rate: Rate, part: Decimal) -> Rate:
    """A limit of its own: what was used while the budget lasted is not counted."""
    account = rate.account._replace(scope="throttled")
    return structs.replace(rate, account=account, most=max(1, int(rate.most * part)))


def _of_others(of: Entities, rules: Rules) -> list[Terms]:
    """Of all that pay beside the key."""
    found = [*_of_team(of), *_of_user(of, rules)]
    if of.organization:
        name = of.organization["organization_id"]
        found.append(terms_of(Account("organization", name), f"Organization={name}", of.organization_budget))
    found += _of_memberships(of)
    found.append(proxy_terms(rules))
    return found


def proxy_terms(rules: Rules) -> Terms:
    """What everybody must keep to together, the master key too."""
    if rules.max_budget is None:
        return _NONE
    proxy = Budget(account=Account("proxy", ""), named="Proxy", period=rules.budget_duration, most=rules.max_budget)
    return Terms(budgets=(proxy,))


def model_terms(of: Entities) -> tuple[ByModel, ...]:
    """`model_max_budget`, `model_rpm_limit`, `model_tpm_limit` of all that pay: from each of them one entry counts."""
    key, team, user = of.key, of.team, of.user
    organization = Account("organization", str(of.organization.get("organization_id")))
    of_key = key if key.get("model_max_budget") else of.key_budget
    return (
        *terms_by_model(Account("key", str(key.get("key_id"))), _key_named(key), of_key, key.get("metadata")),
        *terms_by_model(Account("team", str(team.get("team_id"))), _team_named(team), team, team.get("metadata")),
        *terms_by_model(Account("user", str(user.get("user_id"))), f"User={user.get('user_id')}", user),
        *_of_member_by_model(of),
        *terms_by_model(organization, f"Organization={organization.id}", {}, of.organization.get("metadata")),
    )


def _of_member_by_model(of: Entities) -> tuple[ByModel, ...]:
    """Who has no budgets of single models of his own has those that the team's members have by default."""
    if not of.member:
        return ()
    row = of.member_budget if of.member_budget.get("model_max_budget") else of.member_default
    return terms_by_model(_member(of), _member_named(of), row)


def tag_terms(of: Entities) -> dict[str, Terms]:
    """By tag of a request: `tag_rpm_limit` of the key."""
    limits = _object(_object(of.key.get("metadata")).get("tag_rpm_limit"))
    found = {}
    for tag, limit in limits.items():
        if (most := _count(limit)) is not None:
            account, named = Account("key", str(of.key.get("key_id")), f"tag {tag}"), f"{_key_named(of.key)}, tag={tag}"
            found[tag] = Terms(rates=(Rate(account=account, named=named, unit=Unit.REQUESTS, most=most),))
    return found


def terms_by_model(account: Account, named: str, row: Row, metadata: Any = None) -> tuple[ByModel, ...]:
    """What an account may spend on each of some models, and how often it may call them. Each has entries of its own:
    a model that only one of them names has those that the others have for a pattern.
    """
    limits = _object(metadata)
    columns: list[dict[str, Row]] = [{}]
    for model, budget in _object(row.get("model_max_budget")).items():
        given = _object(budget)
        columns[0][model] = {
            "max_budget": given.get("budget_limit", given.get("max_budget")),
            "budget_duration": _text(given.get("time_period", given.get("budget_duration"))),
        }
    for column in ("rpm_limit", "tpm_limit"):
        by_model = _object(limits.get(f"model_{column}"))
        columns.append({model: {column: _count(limit)} for model, limit in by_model.items()})
    return tuple(
        {model: terms_of(account.on(model), f"{named}, model={model}", row) for model, row in by_model.items()}
        for by_model in columns
        if by_model
    )


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
    """Its own terms, and its further windows. Its columns go before those of the budget that it is linked to."""
    key = of.key
    if not key:
        return []
    own = {**of.key_budget, **{name: value for name, value in key.items() if value is not None}}
    own.setdefault("max_parallel_requests", None)
    if own["max_parallel_requests"] is None:
        own["max_parallel_requests"] = rules.default_parallel
    account, named = Account("key", key["key_id"]), _key_named(key)
    terms = raised(terms_of(account, named, own), _object(key.get("metadata")))
    return [terms, _windows(account, named, key.get("budget_limits"))]


def _key_named(key: Row) -> str:
    return f"Key={key.get('key_alias') or 'key'} ({key.get('key_name')})"


def _of_team(of: Entities) -> list[Terms]:
    team = of.team
    if not team:
        return []
    account, named = Account("team", team["team_id"]), _team_named(team)
    limits = _object(team.get("extra")).get("budget_limits")
    return [terms_of(account, named, team), _windows(account, named, limits)]


def _team_named(team: Row) -> str:
    return f"Team={team.get('team_id')}"


def _of_user(of: Entities, rules: Rules) -> list[Terms]:
    """A user's limits hold for all of his keys, his budget for those without a team."""
    user = of.user
    if not user:
        return []
    found = terms_of(Account("user", user["user_id"]), f"User={user['user_id']}", user)
    if of.team and not rules.user_budget_for_team_keys:
        found = Terms(rates=found.rates)
    return [found]


def _of_memberships(of: Entities) -> list[Terms]:
    """What the user may spend in the team and the organization that pay beside him."""
    found = []
    if of.member:
        terms = terms_of(_member(of), _member_named(of), of.member_budget)
        found.append(raised(terms, _object(of.member_budget.get("extra"))))
    if of.organization_member:
        name, user = of.organization_member["organization_id"], of.organization_member["user_id"]
        named = f"User={user} in Organization={name}"
        found.append(terms_of(Account("organization_member", name, user), named, of.organization_member_budget))
    return found


def _member(of: Entities) -> Account:
    return Account("member", of.member["team_id"], of.member["user_id"])


def _member_named(of: Entities) -> str:
    return f"User={of.member['user_id']} in Team={of.member['team_id']}"


def raised(terms: Terms, row: Row) -> Terms:
    """With a budget that is larger by `temp_budget_increase` until `temp_budget_expiry`, if a row says both."""
    more, until = _money(row.get("temp_budget_increase")), _moment(row.get("temp_budget_expiry"))
    if more is None or until is None or not 0 < more <= _MOST:
        return terms
    raised = [
        budget if budget.most is None else structs.replace(budget, most=budget.most + more, later=(until, budget))
        for budget in terms.budgets
    ]
    return Terms(budgets=tuple(raised), rates=terms.rates)


def _windows(account: Account, named: str, limits: Any) -> Terms:
    """`budget_limits`: several budgets of one account, each with a period of its own."""
    found = []
    for limit in map(_object, limits if isinstance(limits, list) else ()):
        period, most = _text(limit.get("budget_duration")), _money(limit.get("max_budget"))
        if period and most is not None:
            found.append(Budget(account=account, named=named, period=period, most=most, window=True))
    return Terms(budgets=tuple(found))


def _joined(found: Iterable[Terms]) -> Terms:
    """All of them. Of two budgets of one account and period, which would be one balance, the smaller one counts."""
    found = list(found)
    budgets: dict[tuple[Account, str], Budget] = {}
    for budget in (budget for terms in found for budget in terms.budgets):
        key = budget.account, budget.period
        budgets[key] = _smaller(budgets[key], budget) if key in budgets else budget
    return Terms(budgets=tuple(budgets.values()), rates=tuple(rate for terms in found for rate in terms.rates))


def _smaller(own: Budget, window: Budget) -> Budget:
    """Of an account's own budget and a window that is as long; the former may be raised for a while, or only warn."""
    counts = window if own.most is None or (window.most is not None and window.most < own.most) else own
    later = None if own.later is None else (own.later[0], _smaller(own.later[1], window))
    return structs.replace(counts, soft=own.soft, later=later)


def _object(value: Any) -> Row:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    """A whole number that can be counted to; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= _MOST or value % 1:
        return None
    return int(value)


def _moment(value: Any) -> float | None:
    """Seconds since the epoch of a time as text, in UTC if it does not say; None for anything else."""
    try:
        found = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _money(value: Any) -> Decimal | None:
    """US dollars, also as text; None for anything else, and for more than anybody can spend."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    if not found.is_finite() or found > _MOST:
        return None
    return max(found, Decimal(-_MOST)).quantize(_LEAST).normalize()


_NONE = Terms()
