"""How much a key may be given: by the configuration, by its maker's own budget, by its team and organization."""

from collections.abc import Mapping
from typing import Any

from api.management.keys.bodies import KeyTerms
from api.management.keys.desk import KeyRules, Work
from api.management.office import forbidden
from ledger import keys as stored_keys
from ledger import tenants
from ledger.keys import Allocated
from ledger.pool import Asked
from ledger.tenants import Row
from policy.periods import duration
from schemas.failures import Kind, Refused

_AMOUNTS = ("max_budget", "max_parallel_requests", "tpm_limit", "rpm_limit")
_PERIODS = ("budget_duration", "duration")
_COLUMN = {"duration": "expires"}


def with_defaults(body: KeyTerms, rules: KeyRules) -> None:
    """Fill what a request for a new key leaves open: with the defaults, then with the bounds."""
    defaults = rules.defaults
    for name in (*_AMOUNTS, *_PERIODS, "user_id", "team_id"):
        unsaid = name != "budget_duration" or name not in body.model_fields_set  # null is an answer there
        if getattr(body, name) is None and unsaid and getattr(defaults, name) is not None:
            setattr(body, name, getattr(defaults, name))
    if not body.models and defaults.models:
        body.models = list(defaults.models)
    if not body.metadata and defaults.metadata:
        body.metadata = dict(defaults.metadata)
    for name in (*_AMOUNTS, *_PERIODS):
        if getattr(body, name) is None and getattr(rules.bounds, name) is not None:
            setattr(body, name, getattr(rules.bounds, name))


def within_bounds(body: KeyTerms, rules: KeyRules, before: Row | None = None) -> None:
    """Nothing that a request asks for is above the configuration's bounds, nor takes what they bound away, else a 400.

    `before`: the key as it is.
    """
    for name in (*_AMOUNTS, *_PERIODS):
        bound = getattr(rules.bounds, name)
        there = before is not None and before[_COLUMN.get(name, name)] is not None
        if there and bound is not None and name in body.model_fields_set and getattr(body, name) is None:
            raise _above(name, "null", bound)
    for name in _AMOUNTS:
        value, bound = getattr(body, name), getattr(rules.bounds, name)
        if value is not None and bound is not None and value > bound:
            raise _above(name, value, bound)
    for name in _PERIODS:
        value, bound = getattr(body, name), getattr(rules.bounds, name)
        if value and bound is not None and (value == "-1" or duration(value).seconds > duration(bound).seconds):
            raise _above(name, value, bound)


async def below_ones_own(on: Asked, work: Work, body: KeyTerms) -> None:
    """Who is no proxy admin gives no key a larger budget than the one of the key that asks, else a 400."""
    asked = [body.max_budget, *(window.max_budget for window in body.budget_limits or ())]
    if work.access.is_admin or not any(asked):
        return
    key = await tenants.find(on, tenants.KEYS, work.access.caller.key_hash)
    own = None if key is None else key["max_budget"]
    for amount in asked:
        if amount is not None and own is not None and amount > own:
            raise _above("max_budget", amount, own)


def known_alias(alias: str | None, rules: KeyRules) -> None:
    """An alias looks as the configuration wants it, else a 400."""
    if alias is not None and rules.alias is not None and not rules.alias.fullmatch(alias):
        raise Refused(Kind.INVALID_REQUEST, "key_alias has not the form that is wanted here.", param="key_alias")


async def names_what_there_is(on: Asked, alias: str | None, budget: str | None, key_id: str = "") -> None:
    """No other key has the alias, and there is a budget with this id, else a 400."""
    if alias is not None:
        others = await tenants.matching(on, tenants.KEYS, {"key_alias": alias}, limit=1)
        if others and others[0]["key_id"] != key_id:
            message = f"Key with alias '{alias}' already exists. Unique key aliases across all keys are required."
            raise Refused(Kind.INVALID_REQUEST, message, param="key_alias")
    if budget is not None and await tenants.find(on, tenants.BUDGETS, budget) is None:
        raise Refused(Kind.INVALID_REQUEST, "There is no such budget.", param="budget_id")


async def team_of(on: Asked, team_id: str | None, metadata: Mapping[str, Any]) -> Row | None:
    """The key's team; locked when something is guaranteed to the key, so that two are not given the same."""
    return None if team_id is None else await tenants.find(on, tenants.TEAMS, team_id, lock=_is_guaranteed(metadata))


def _is_guaranteed(metadata: Mapping[str, Any]) -> bool:
    return "guaranteed_throughput" in (metadata.get("rpm_limit_type"), metadata.get("tpm_limit_type"))


async def guaranteed(on: Asked, values: Mapping[str, Any], team: Row | None, key_id: str = "") -> None:
    """What is guaranteed to the keys of a team or organization is not more than it has, else a 400.

    `values` are the key's columns as they will be.
    """
    if not _is_guaranteed(values["metadata"]):
        return
    if team is not None:
        terms = (team["rpm_limit"], team["tpm_limit"])
        others = await stored_keys.allocated(on, team=team["team_id"], but=key_id)
        _fits("team", values, others, terms, team["metadata"])
    organization = values.get("organization_id")
    found = None if organization is None else await tenants.find(on, tenants.ORGANIZATIONS, organization, lock=True)
    if found is not None:
        budget = found["budget_id"] and await tenants.find(on, tenants.BUDGETS, found["budget_id"])
        terms = (budget["rpm_limit"], budget["tpm_limit"]) if budget else (None, None)
        others = await stored_keys.allocated(on, organization=organization, but=key_id)
        _fits("organization", values, others, terms, found["metadata"])


def in_teams_organization(values: dict[str, Any], team: Row | None) -> None:
    """A key of a team that has an organization is in that one: filled in, and a 400 when it is to be in another."""
    organization = None if team is None else team["organization_id"]
    if organization is None:
        return
    if values.get("organization_id") not in (None, organization):
        message = f"Keys of this team are in its organization '{organization}', in no other."
        raise Refused(Kind.INVALID_REQUEST, message, param="organization_id")
    values["organization_id"] = organization


def models_of_team(work: Work, models: list[str], team: Row) -> None:
    """The team has all these models, else a 403."""
    for model in models:
        if not work.keys.within(team["models"], model):
            raise forbidden(f"have the model '{model}' in team '{team['team_id']}', which has it not")


def _fits(
    whose: str,
    values: Mapping[str, Any],
    others: Allocated,
    terms: tuple[int | None, int | None],
    metadata: Mapping[str, Any],
) -> None:
    meta = values["metadata"]
    for name, wanted, taken, most in (
        ("rpm_limit", values.get("rpm_limit"), others.requests, terms[0]),
        ("tpm_limit", values.get("tpm_limit"), others.tokens, terms[1]),
    ):
        if wanted is not None and most is not None and wanted + taken > most:
            raise _overcommitted(whose, name, wanted, taken, most)
    for name, by_model, most in (
        ("model_rpm_limit", others.model_requests, terms[0]),
        ("model_tpm_limit", others.model_tokens, terms[1]),
    ):
        of_models = metadata.get(name) or {}
        for model, wanted in (meta.get(name) or {}).items():
            limit = most if most is not None else of_models.get(model)
            if limit is not None and wanted + by_model.get(model, 0) > limit:
                raise _overcommitted(whose, name, wanted, by_model.get(model, 0), limit)


def _overcommitted(whose: str, name: str, wanted: int, taken: int, most: int) -> Refused:
    message = f"{name} {wanted} and the {taken} that other keys have are more than the {whose}'s {most}."
    return Refused(Kind.INVALID_REQUEST, message, param=name)


def _above(name: str, value: object, bound: object) -> Refused:
    return Refused(Kind.INVALID_REQUEST, f"{name} {value} is above the most that is allowed, {bound}.", param=name)
