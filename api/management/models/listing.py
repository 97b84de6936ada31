"""What there is to tell of deployments and model groups: from the configuration, the ledger and the price list."""

import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from api.management.models.stock import Stock
from ledger.models import Row
from ledger.prices import PriceBook
from schemas.config import Config, Deployment
from schemas.params import HIDDEN, address

Entry = dict[str, Any]
_PRICES = {  # LiteLLM's name: ours
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_request": "request",
    "input_cost_per_audio_token": "audio_in",
    "output_cost_per_audio_token": "audio_out",
}
_LIMITS = {
    "rpm": "rpm",
    "tpm": "tpm",
    "itpm": "itpm",
    "otpm": "otpm",
    "rpd": "rpd",
    "tpd": "tpd",
    "max_parallel_requests": "parallel",
}
_FIELDS = (
    "organization",
    "timeout",
    "stream_timeout",
    "weight",
    "order",
    "num_retries",
    "cooldown_time",
    "mock_response",
)
_ABILITIES = (
    "supports_parallel_function_calling",
    "supports_vision",
    "supports_web_search",
    "supports_url_context",
    "supports_reasoning",
    "supports_function_calling",
    "supports_fast_mode",
)


def listed(stock: Stock, prices: PriceBook, may: Callable[[str], bool]) -> list[Entry]:
    """Every deployment whose group may be seen: those of the file, those of the ledger, and the aliases."""
    rows, config = {row.model.id: row for row in stock.rows}, stock.config
    ours = {deployment.id: deployment for deployment in config.deployments}
    found = [_of_file(one, prices) for one in config.deployments if one.id not in rows]
    found += [_of_ledger(row, ours.get(row.model.id), prices) for row in rows.values()]
    found += _aliased(found, config)
    return [entry for entry in found if may(entry["model_name"])]


def groups(config: Config, prices: PriceBook, may: Callable[[str], bool]) -> list[Entry]:
    """Every model group that may be seen, and every alias: the most that one of its deployments has."""
    members: dict[str, list[Deployment]] = {}
    for deployment in config.deployments:
        members.setdefault(deployment.group, []).append(deployment)
    aliases = {
        alias: members[target]
        for alias, target in config.aliases.items()
        if target in members and alias not in config.hidden_aliases
    }
    return [_group(name, found, prices) for name, found in (aliases | members).items() if may(name)]


def _of_file(deployment: Deployment, prices: PriceBook) -> Entry:
    info = {**deployment.info, **_known(deployment, prices), "id": deployment.id, "db_model": False}
    return {"model_name": deployment.group, "litellm_params": _params(deployment), "model_info": info}


def _of_ledger(row: Row, deployment: Deployment | None, prices: PriceBook) -> Entry:
    """One that is blocked, or cannot be used here, has no deployment."""
    model = row.model
    info = {
        **model.info,
        **({} if deployment is None else _known(deployment, prices)),
        "id": model.id,
        "db_model": True,
        "blocked": model.blocked,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }
    params = {name: value for name, value in model.params.items() if name != "api_key"}
    if deployment is not None and deployment.api_base is not None:
        params["api_base"] = address(deployment.api_base)
    return {"model_name": model.name, "litellm_params": params, "model_info": {**_UNKNOWN, **info}}


def _aliased(entries: Iterable[Entry], config: Config) -> list[Entry]:
    """The entries of a group once more, under each name that it has besides."""
    visible = {alias: target for alias, target in config.aliases.items() if alias not in config.hidden_aliases}
    return [
        {**entry, "model_name": alias}
        for alias, target in visible.items()
        for entry in entries
        if entry["model_name"] == target
    ]


def _params(deployment: Deployment) -> dict[str, Any]:
    """`litellm_params` as the configuration has them, without the keys; of headers the names."""
    found: dict[str, Any] = {"model": deployment.litellm_model or f"{deployment.provider}/{deployment.model}"}
    if deployment.api_base is not None:
        found["api_base"] = address(deployment.api_base)
    if deployment.headers:
        found["extra_headers"] = dict.fromkeys(deployment.headers, HIDDEN)
    if deployment.client_may_set:
        found["configurable_clientside_auth_params"] = sorted(deployment.client_may_set)
    if deployment.tags:
        found["tags"] = list(deployment.tags)
    if deployment.drop_params:
        found["drop_params"] = True
    own = {name: getattr(deployment, name) for name in _FIELDS}
    limits = {name: _whole(getattr(deployment.limits, field)) for name, field in _LIMITS.items()}
    costs = {name: getattr(deployment.price, field) for name, field in _PRICES.items()}
    return (
        found
        | {name: value for name, value in {**own, **limits, **costs}.items() if value is not None}
        | dict(deployment.body)
    )


def _known(deployment: Deployment, prices: PriceBook) -> dict[str, Any]:
    """What is known of the model's price and size; None where it is not."""
    wild = "*" in deployment.model
    price = None if wild else prices.price(deployment, deployment.model, time.time())
    window = deployment.context_window
    if window is None and not wild:
        window = prices.context_window(deployment, deployment.model)
    costs = {name: None if price is None else getattr(price.base, field) for name, field in _PRICES.items()}
    return {
        **_UNKNOWN,
        **costs,
        "key": deployment.price_model or deployment.model,
        "max_input_tokens": window,
        "max_tokens": _number(deployment.info.get("max_tokens")),
        "max_output_tokens": _number(deployment.info.get("max_output_tokens")),
        "litellm_provider": deployment.provider,
        "mode": deployment.info.get("mode"),
    }


_UNKNOWN: Mapping[str, Any] = {
    "key": None,
    "max_tokens": None,
    "max_input_tokens": None,
    "max_output_tokens": None,
    **dict.fromkeys(_PRICES),
    "litellm_provider": None,
    "mode": None,
}


def _group(name: str, deployments: list[Deployment], prices: PriceBook) -> Entry:
    known = [_known(deployment, prices) for deployment in deployments]
    modes = [entry["mode"] for entry in known if entry["mode"]]
    clients = sorted({param for deployment in deployments for param in deployment.client_may_set})
    return {
        "model_group": name,
        "providers": list(dict.fromkeys(deployment.provider for deployment in deployments)),
        **{
            field: max((entry[field] for entry in known if entry[field] is not None), default=None)
            for field in ("max_input_tokens", "max_output_tokens", "input_cost_per_token", "output_cost_per_token")
        },
        "input_cost_per_pixel": None,
        "mode": modes[0] if modes else "chat",
        **{name: _sum(getattr(d.limits, name) for d in deployments) for name in ("tpm", "rpm", "itpm", "otpm")},
        **{ability: any(d.info.get(ability) is True for d in deployments) for ability in _ABILITIES},
        "supported_reasoning_efforts": None,
        "supported_openai_params": [],
        "configurable_clientside_auth_params": clients or None,
        "is_public_model_group": False,
    }


def _sum(limits: Iterable[float | None]) -> float | None:
    """What those that have a limit let pass together; None when none has."""
    found = [limit for limit in limits if limit is not None]
    return _whole(sum(found)) if found else None


def _whole(limit: float | None) -> float | None:
    """LiteLLM's clients want whole numbers where they can be."""
    return int(limit) if limit is not None and float(limit).is_integer() else limit


def _number(value: Any) -> int | float | Decimal | None:
    return value if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else None
