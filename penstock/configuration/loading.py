"""`load`: from a LiteLLM `config.yaml` and the environment to one `Config`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from penstock.configuration import known, values
from penstock.configuration.access import read_access
from penstock.configuration.credentials import Credential, displayed, read_credentials
from penstock.configuration.deployments import Defaults, Reader, standard
from penstock.configuration.environment import Environment, resolve
from penstock.configuration.include import read_all
from penstock.configuration.problems import ConfigurationError, Place, Problems, Wrong
from penstock.configuration.providers import Providers
from penstock.configuration.routing import read_routing
from penstock.configuration.settings import read_settings
from penstock.configuration.source import Node
from penstock.configuration.tenants import read_tenants
from penstock.configuration.values import NOT_YET, UNKNOWN, Section
from schemas.catalog import Catalog
from schemas.config import Config, Deployment
from workers.providers import registry

_SECTIONS = ("general_settings", "litellm_settings", "router_settings", "penstock")
_OTHERS = frozenset({"model_list", "environment_variables", "credential_list"})


class Written(NamedTuple):
    """What the file, and those that it includes, say; and what was wrong with how they say it."""

    path: Path | None
    tree: dict[str, Node]
    problems: Problems


def load(path: Path | None, environ: Mapping[str, str], providers: Providers | None = None) -> Config:
    """The configuration of this process. Without a file: the demo and a wildcard for each provider with a key.

    `environ` is not changed: what `environment_variables` exports counts for this configuration alone.
    Raises `ConfigurationError` with a line for every fault that was found.
    """
    return build(read(path), environ, providers=providers)


def read(path: Path | None) -> Written:
    """The first half of `load`. Raises `ConfigurationError` when there is nothing to go on with."""
    problems = Problems()
    return Written(path, read_all(path, problems) if path is not None else {}, problems)


def build(
    written: Written,
    environ: Mapping[str, str],
    stored: Sequence[Node] = (),
    judged: Node | None = None,
    providers: Providers | None = None,
    credentials: Mapping[str, Node] | None = None,
) -> Config:
    """The other half. `stored` are entries of `model_list` that are kept elsewhere; one that is wrong is left out.

    `credentials` are kept there too: values by name. The file's own win.
    So is nothing else: a wrong file raises `ConfigurationError`, and so does a wrong `judged`, which is one more entry.
    """
    providers = providers or Providers(registry.describe(name) for name in sorted(registry.names()))
    problems = Problems(written.problems)
    environment = Environment(environ)
    tree = written.tree
    environment.export(tree.get("environment_variables"), problems)
    sections = {name: _section(tree, name, environment, problems) for name in _SECTIONS}
    settings = read_settings(sections, environment, problems)
    access = read_access(sections["general_settings"], sections["litellm_settings"], environment, problems)
    tenants = read_tenants(sections["general_settings"], sections["litellm_settings"], environment)
    router, litellm = sections["router_settings"], sections["litellm_settings"]
    aliases, hidden = _aliases(router, problems)
    filed = read_credentials(tree.get("credential_list"), problems)
    elsewhere = {name: Credential(node, stored=True) for name, node in (credentials or {}).items()}
    reader = Reader(providers, environment, problems, _defaults(router, litellm), elsewhere | filed)
    deployments = reader.read(tree.get("model_list"))
    if written.path is None:
        deployments = _standard(providers, environment, problems)
        reader.reserve(deployments)
    deployments = (*deployments, *_others(reader, stored, judged, problems))
    config = Config(
        deployments=deployments,
        aliases=aliases,
        hidden_aliases=hidden,
        credentials={name: displayed(credential) for name, credential in filed.items()},
        settings=settings,
        access=access,
        tenants=tenants,
    )
    catalog = Catalog(config)
    routing = read_routing(router, litellm, catalog, problems)
    _report(tree, sections, problems)
    problems.check()
    for alias, target in aliases.items():
        if catalog.resolve(alias) is None:
            problems.warn(f"router_settings.model_group_alias.{alias}", f'"{target}" names no model group')
    return config.model_copy(update={"routing": routing, "warnings": problems.warnings})


def _defaults(router: Section, litellm: Section) -> Defaults:
    return Defaults(
        drop_params=litellm.take("drop_params", values.flag),
        stream_timeout=router.take("stream_timeout", values.duration),
        parallel=router.take("default_max_parallel_requests", values.count),
    )


def _others(reader: Reader, stored: Sequence[Node], judged: Node | None, problems: Problems) -> Iterator[Deployment]:
    for entry in stored:
        own = Problems()
        found = reader.read_one(entry, own)
        if found is None:
            problems.warn("", f"{entry.place.file} is left out: {'; '.join(own.errors or own.warnings)}")
        else:
            yield found
    if judged is not None:
        own = Problems()
        found = reader.read_one(judged, own)
        if found is None:
            raise ConfigurationError(own.errors or own.warnings)
        yield found


def _section(written: dict[str, Node], name: str, environment: Environment, problems: Problems) -> Section:
    node = written.get(name, Node({}, Place("", 0)))
    return Section(resolve(node, environment, problems), problems)


def _standard(providers: Providers, environment: Environment, problems: Problems) -> tuple[Deployment, ...]:
    try:
        return standard(providers, environment)
    except Wrong as wrong:
        problems.error("environment", str(wrong))
        return ()


def _aliases(router: Section, problems: Problems) -> tuple[dict[str, str], frozenset[str]]:
    """`model_group_alias`: a group's name, or `{model, hidden}`."""
    section = router.take("model_group_alias", lambda node: Section(node, problems))
    aliases: dict[str, str] = {}
    hidden = set()
    for alias, node in section.rest().items() if section else ():
        target = Section(node, problems) if isinstance(node.value, dict) else None
        name = target.take("model", values.text) if target else section.take(alias, values.text) if section else None
        if target and target.take("hidden", values.flag):
            hidden.add(alias)
        if target:
            target.report((), "router_settings.model_group_alias.*")
        if name:
            aliases[alias] = name
        elif target:
            problems.error(node.place, "model is missing")
    return aliases, frozenset(hidden)


def _report(written: dict[str, Node], sections: Mapping[str, Section], problems: Problems) -> None:
    for key, node in written.items():
        if key not in _SECTIONS and key not in _OTHERS and node.value is not None:
            problems.unused(node.place, key, NOT_YET if key in known.TOP else UNKNOWN)
    sections["general_settings"].report(known.GENERAL, "general_settings")
    sections["litellm_settings"].report(known.LITELLM, "litellm_settings")
    sections["router_settings"].report(known.ROUTER, "router_settings")


__all__ = ["ConfigurationError", "Written", "build", "load", "read"]
