"""Which provider a model belongs to, and the environment variables that hold its key and its address."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from penstock.configuration.known import PROVIDERS
from penstock.configuration.problems import Wrong
from schemas.catalog import provider_of


class Facts(Protocol):
    """What configuration must know of a provider; `workers.providers.port.About` has it."""

    @property
    def names(self) -> Sequence[str]:
        """Its name, then LiteLLM's other names for it."""

    @property
    def base(self) -> str | None:
        """Its address; None when a deployment must say it."""

    @property
    def keys(self) -> Sequence[str]:
        """Variables that may hold its key, the first that is set wins."""

    @property
    def bases(self) -> Sequence[str]:
        """Variables that may hold its address."""


class Unsupported(Wrong):
    """A provider that LiteLLM has and we do not have yet."""


class Target(NamedTuple):
    """A provider, and what the model is called there."""

    provider: str
    model: str


class Providers:
    """The providers that can be used, by every name they have."""

    def __init__(self, facts: Iterable[Facts]) -> None:
        self._known = {name: about for about in facts for name in about.names}
        self._hosts = {host: about.names[0] for about in self._known.values() if (host := _host(about.base))}

    def __getitem__(self, name: str) -> Facts:
        return self._known[name]

    @property
    def distinct(self) -> Mapping[str, Facts]:
        """Each provider once, under its own name."""
        return {about.names[0]: about for about in self._known.values()}

    def owner(self, variable: str) -> str | None:
        """Of the providers that read a key variable the one that it is named for: first in its list, shortest name."""
        reading = {name: about.keys for name, about in self.distinct.items() if variable in about.keys}
        readers = [(keys.index(variable), len(name), name) for name, keys in reading.items()]
        return min(readers)[2] if readers else None

    def target(self, model: str, forced: str | None, base: str | None) -> Target:
        """The provider: `custom_llm_provider`, the prefix, the model's name, the host of `api_base`, in this order.

        Raises `Unsupported` for a provider that only LiteLLM has, `Wrong` when nothing says who it is.
        """
        if forced is not None:
            return self._named(forced, model.removeprefix(f"{forced}/"))
        prefix, slash, rest = model.partition("/")
        if slash and (prefix in self._known or prefix in PROVIDERS):
            return self._named(prefix, rest)
        found = provider_of(model) or self._hosts.get(_host(base) or "") or ("openai" if model == "*" else None)
        if found is None:
            raise Wrong(f'nothing says which provider has "{model}": write it as provider/{model}, e.g. openai/{model}')
        return self._named(found, model)

    def _named(self, name: str, model: str) -> Target:
        if not model:
            raise Wrong(f"a model is wanted after {name}/")
        about = self._known.get(name)
        if about is not None:
            return Target(about.names[0], model)
        if name in PROVIDERS:
            raise Unsupported(f"the provider {name} is not supported yet, this deployment is left out")
        raise Wrong(f'there is no provider "{name}"')


def _host(url: str | None) -> str | None:
    try:
        return urlsplit(url).hostname if url else None
    except ValueError:
        return None
