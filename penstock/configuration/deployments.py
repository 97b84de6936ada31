"""`model_list`: each entry becomes a `Deployment`."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import SecretStr

from penstock.configuration import values
from penstock.configuration.credentials import NAME, Credential, completed
from penstock.configuration.environment import Environment, resolve
from penstock.configuration.known import CREDENTIAL_PREFIXES, LITELLM_PARAMS, MODEL_INFO, PARAMETERS
from penstock.configuration.limits import read_limits
from penstock.configuration.problems import Problems, Wrong
from penstock.configuration.providers import Facts, Providers, Target, Unsupported
from penstock.configuration.source import Node
from penstock.configuration.values import NOT_YET, UNKNOWN, Section
from schemas.config import Deployment, PriceOverride

_FIELDS: Mapping[str, tuple[str, values.Parse[Any]]] = {  # our field: LiteLLM's key and its form
    "organization": ("organization", values.text),
    "extra_body": ("extra_body", values.mapping),
    "timeout": ("timeout", values.duration),
    "stream_timeout": ("stream_timeout", values.duration),
    "weight": ("weight", values.real),
    "order": ("order", values.whole),
    "tags": ("tags", values.names),
    "num_retries": ("num_retries", values.whole),
    "cooldown_time": ("cooldown_time", values.seconds),
    "drop_params": ("drop_params", values.flag),
    "mock_response": ("mock_response", values.text),
}
_INFO_FIELDS: Mapping[str, tuple[str, values.Parse[Any]]] = {  # the same in `model_info`; `litellm_params` win
    "allowed_fails": ("allowed_fails", values.whole),
    "cooldown_time": ("cooldown_time", values.seconds),
    "context_window": ("max_input_tokens", values.count),
}
_PRICES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "reasoning": "output_cost_per_reasoning_token",
    "request": "input_cost_per_request",
    "audio_in": "input_cost_per_audio_token",
    "audio_out": "output_cost_per_audio_token",
}
_IDENTITY = ("model", "custom_llm_provider", "api_base", "base_url", "api_version", "organization", "api_key", NAME)


class Defaults(NamedTuple):
    """What other sections say for every deployment."""

    drop_params: bool | None = None
    stream_timeout: float | None = None
    parallel: int | None = None


class Reader:
    """Reads entries one by one; knows the ids that are taken."""

    def __init__(
        self,
        providers: Providers,
        environment: Environment,
        problems: Problems,
        defaults: Defaults,
        credentials: Mapping[str, Credential] | None = None,
    ) -> None:
        self._providers = providers
        self._credentials = credentials or {}
        self._environment = environment
        self._problems = problems
        self._parallel = defaults.parallel
        self._defaults = _set({"drop_params": defaults.drop_params, "stream_timeout": defaults.stream_timeout})
        self._ids: dict[str, str] = {}

    def read(self, model_list: Node | None) -> tuple[Deployment, ...]:
        """All usable entries, in the file's order."""
        if model_list is None or model_list.value is None:
            return ()
        if not isinstance(model_list.value, list):
            self._problems.error(model_list.place, f"a list is wanted, not {values.shown(model_list)}")
            return ()
        found = (self._of_file(written) for written in model_list.value)
        return tuple(deployment for deployment in found if deployment is not None)

    def _of_file(self, written: Node) -> Deployment | None:
        """An entry whose credential is not the file's own cannot make the file wrong: it is left out."""
        own, named = Problems(), completed(written, self._credentials, self._environment, Problems())
        if named is not None and not named.stored:
            return self._entry(written)
        found = self.read_one(written, own)
        if found is None:
            self._problems.warn("", f"the model is left out: {'; '.join(own.errors or own.warnings)}")
        return found

    def reserve(self, deployments: Iterable[Deployment]) -> None:
        """The ids of deployments that stand nowhere."""
        self._ids.update((deployment.id, "no place in a file") for deployment in deployments)

    def read_one(self, written: Node, problems: Problems) -> Deployment | None:
        """One more entry, with problems of its own; None when it has errors, or a provider that is not supported.

        An id that another deployment has is an error.
        """
        mine, self._problems = self._problems, problems
        try:
            found = self._entry(written)
        finally:
            self._problems = mine
        return None if problems.errors else found

    def _entry(self, written: Node) -> Deployment | None:
        named = completed(written, self._credentials, self._environment, self._problems)
        if named is None:
            return None
        entry = Section(resolve(named.entry, self._environment, self._problems), self._problems)
        group = entry.take("model_name", values.text)
        params = entry.take("litellm_params", lambda node: Section(node, self._problems))
        info = entry.take("model_info", lambda node: Section(node, self._problems))
        entry.report((), "model_list[]")
        if not group:
            self._problems.error(entry.node.place, "model_name is missing")
        if params is None:
            self._problems.error(entry.node.place, "litellm_params is missing")
        if not group or params is None:
            return None
        info = info or Section(Node({}, entry.node.place), self._problems)
        target = self._target(params)
        if target is None:
            return None
        return self._deployment(written, group, target, params, info)

    def _target(self, params: Section) -> tuple[str, Target] | None:
        """The model as written, and what it means."""
        written = params.node.value if isinstance(params.node.value, dict) else {}
        model, base = params.take("model", values.text), written.get("api_base") or written.get("base_url")
        forced = params.take("custom_llm_provider", values.text)
        place = written["model"].place if "model" in written else params.node.place
        if not model:
            self._problems.error(place, "a model is missing")
            return None
        try:
            return model, self._providers.target(model, forced, base.text if base else None)
        except Unsupported as unsupported:
            self._problems.warn(place, str(unsupported))
        except Wrong as wrong:
            self._problems.error(place, str(wrong))
        return None

    def _deployment(
        self, written: Node, group: str, target: tuple[str, Target], params: Section, info: Section
    ) -> Deployment:
        model, (provider, upstream) = target
        about = self._providers[provider]
        if upstream.count("*") and not group.count("*"):
            self._problems.error(params.node.place, "the model has a * that no * in model_name fills")
        found = _taken(params, _FIELDS)
        params.take(NAME, values.text)
        found["headers"] = self._headers(params)
        found["client_may_set"] = params.take("configurable_clientside_auth_params", self._client_may_set)
        price = _prices(params, info)
        price_model = params.take("base_model", values.text)
        fields = self._defaults | _set(_taken(info, _INFO_FIELDS)) | _set(found)
        deployment = Deployment(
            id=self._id(written, group, info),
            group=group,
            provider=provider,
            model=upstream,
            litellm_model=model,
            api_base=self._base(params, about),
            api_key=self._key(params, about),
            price=price,
            price_model=info.take("base_model", values.text) or price_model,
            access_groups=info.take("access_groups", values.names) or (),
            limits=read_limits(params, self._parallel),
            body=self._body(params),
            info=_as_written(written),
            **fields,
        )
        self._report_info(info)
        return deployment

    def _headers(self, params: Section) -> Mapping[str, str]:
        found = [params.take(key, values.headers) for key in ("headers", "extra_headers")]
        return {name: value for headers in found if headers for name, value in headers.items()}

    def _client_may_set(self, node: Node) -> frozenset[str]:
        rows = node.value if isinstance(node.value, list) else [node]
        for row in rows:
            if isinstance(row.value, dict):  # {"api_base": "<regular expression>"} restricts what may be sent
                self._problems.warn(row.place, "a condition on the value is not supported yet: clients may not set it")
        return frozenset(values.text(row) for row in rows if not isinstance(row.value, dict))

    def _key(self, params: Section, about: Facts) -> SecretStr | None:
        return params.take("api_key", values.secret) or self._secret(params, about)

    def _secret(self, params: Section, about: Facts) -> SecretStr | None:
        try:
            found = self._environment.first(about.keys)
        except Wrong as wrong:
            self._problems.error(params.node.place, str(wrong))
            return None
        return SecretStr(found) if found else None

    def _base(self, params: Section, about: Facts) -> str | None:
        written = [params.take(key, values.address) for key in ("api_base", "base_url")]
        return next(filter(None, written), None) or self._environment.first_plain(about.bases)

    def _body(self, params: Section) -> Mapping[str, Any]:
        """The parameters among what is left; the rest is reported."""
        body = {}
        for key, node in params.rest().items():
            if key in PARAMETERS:
                body[key] = node.plain()
            else:
                known = key in LITELLM_PARAMS or key.startswith(CREDENTIAL_PREFIXES) or _is_price(key)
                self._problems.unused(node.place, f"litellm_params.{key}", NOT_YET if known else UNKNOWN)
        return body

    def _report_info(self, info: Section) -> None:
        """Any key is allowed in `model_info`, for whoever reads the file; those that LiteLLM acts on are named."""
        for key, node in info.rest().items():
            if key in MODEL_INFO or _is_price(key):
                self._problems.unused(node.place, f"model_info.{key}", NOT_YET)

    def _id(self, written: Node, group: str, info: Section) -> str:
        explicit = info.take("id", values.text)
        if explicit is None:
            return self._derived_id(written, group)
        place = info.node.place
        if explicit in self._ids:
            self._problems.error(place, f"the id is taken by the deployment at {self._ids[explicit]}")
        self._ids.setdefault(explicit, place.spot)
        return explicit

    def _derived_id(self, written: Node, group: str) -> str:
        """A hash of what was written, so that processes agree that have other variables, and other keys, set."""
        params = written.value.get("litellm_params") if isinstance(written.value, dict) else None
        said = {key: node.plain() for key, node in params.items() if key in _IDENTITY} if params else {}
        digest = hashlib.sha256(json.dumps([group, said], sort_keys=True, default=str).encode()).hexdigest()[:16]
        unique, n = digest, 1
        while unique in self._ids:
            n += 1
            unique = f"{digest}-{n}"
        self._ids[unique] = written.place.spot
        return unique


def _as_written(entry: Node) -> Mapping[str, Any]:
    """`model_info`, variables by their names: it is shown."""
    info = entry.value.get("model_info") if isinstance(entry.value, dict) else None
    return info.plain() if info is not None and isinstance(info.value, dict) else {}


def _taken(section: Section, fields: Mapping[str, tuple[str, values.Parse[Any]]]) -> dict[str, Any]:
    return {field: section.take(key, parse) for field, (key, parse) in fields.items()}


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def _prices(params: Section, info: Section) -> PriceOverride:
    """`litellm_params` win over `model_info`."""
    taken = {field: [section.take(key, values.number) for section in (params, info)] for field, key in _PRICES.items()}
    return PriceOverride(**{field: first if first is not None else second for field, (first, second) in taken.items()})


def _is_price(key: str) -> bool:
    return "cost" in key.split("_")


def standard(providers: Providers, environment: Environment) -> tuple[Deployment, ...]:
    """What is offered without a file: the demo, and `provider/*` for each provider whose key variable is set.

    A variable that several providers read counts for the one it is first for (`OPENAI_API_KEY`: openai alone).
    """
    found = [_DEMO] if "demo" in providers.distinct else []
    for name, about in providers.distinct.items():
        key = next((key for key in about.keys if providers.owner(key) == name and environment.secret(key)), None)
        if key is not None and about.base is not None:
            found.append(_wildcard(name, environment.first(about.keys) or "", environment.first_plain(about.bases)))
    return tuple(found)


_DEMO = Deployment(
    id="demo",
    group="demo",
    provider="demo",
    model="demo",
    litellm_model="demo/demo",
    price=PriceOverride(input=Decimal(0), output=Decimal(0)),
)


def _wildcard(name: str, key: str, base: str | None) -> Deployment:
    return Deployment(
        id=f"{name}-wildcard",
        group=f"{name}/*",
        provider=name,
        model="*",
        litellm_model=f"{name}/*",
        api_key=SecretStr(key),
        api_base=base,
    )
