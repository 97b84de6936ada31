"""Every provider there is: the modules of this folder that have an `ABOUT`, and the rows of `catalog.yaml`."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from schemas.config import Deployment
from workers import providers as folder
from workers.providers import openai
from workers.providers.catalog import vendors
from workers.providers.port import About, Adapter


class Entry(NamedTuple):
    """A provider: its facts, and the class that serves it."""

    about: About
    adapter: type[Adapter]


@cache
def entries() -> Mapping[str, Entry]:
    """Every provider by name; a module wins over a row of the same name."""
    found = {name: Entry(vendor.about, openai.Adapter) for name, vendor in vendors().items()}
    for module in pkgutil.iter_modules(folder.__path__, folder.__name__ + "."):
        loaded = importlib.import_module(module.name)
        about = getattr(loaded, "ABOUT", None)
        if isinstance(about, About):
            found.update(dict.fromkeys(about.names, Entry(about, loaded.Adapter)))
    return found


def names() -> frozenset[str]:
    """The names that a deployment's `provider` may have."""
    return frozenset(entries())


def describe(name: str) -> About:
    """A provider's facts: key variables, default address, address variables. Raises `KeyError` for an unknown name."""
    return entries()[name].about


def adapter(deployment: Deployment) -> Adapter:
    """The adapter of a deployment. Raises `KeyError` for an unknown provider."""
    return entries()[deployment.provider].adapter(deployment)
