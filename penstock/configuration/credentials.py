"""`credential_list`: values of `litellm_params` under a name, which deployments give as `litellm_credential_name`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from penstock.configuration import values
from penstock.configuration.environment import Environment, resolve
from penstock.configuration.problems import Problems, Wrong
from penstock.configuration.source import Node
from penstock.configuration.values import Section
from schemas.params import divided, shown

NAME = "litellm_credential_name"


class Credential(NamedTuple):
    """What stands under a name, `os.environ/NAME` still as it is written. `stored`: in the ledger, not in the file."""

    values: Node
    stored: bool = False


def read_credentials(listed: Node | None, problems: Problems) -> dict[str, Credential]:
    """Those of the file by their names."""
    if listed is None or listed.value is None:
        return {}
    if not isinstance(listed.value, list):
        problems.error(listed.place, f"a list is wanted, not {values.shown(listed)}")
        return {}
    found = dict[str, Credential]()
    for row in listed.value:
        section = Section(row, problems)
        name, given = section.take("credential_name", values.text), section.take("credential_values", _mapping)
        section.take("credential_info", values.mapping)
        section.report((), "credential_list[]")
        if not name or given is None:
            problems.error(row.place, "credential_name and credential_values are wanted")
        elif name in found:
            problems.error(row.place, f'there are two credentials "{name}"')
        else:
            found[name] = Credential(given)
    return found


def displayed(credential: Credential) -> Mapping[str, Any]:
    """Its values as they may be shown."""
    public, secret = divided(credential.values.plain())
    return {**public, **shown(secret)}


class Named(NamedTuple):
    """An entry of `model_list` with the values of the credential that it names."""

    entry: Node
    stored: bool = False  # the credential is in the ledger


def completed(
    written: Node, known: Mapping[str, Credential], environment: Environment, problems: Problems
) -> Named | None:
    """The entry, where what it says itself wins; None, and an error, when there is no such credential.

    Without its credential it would go to the provider's own address, with whatever key the environment has.
    """
    params = written.value.get("litellm_params") if isinstance(written.value, dict) else None
    if params is None or not isinstance(params.value, dict) or NAME not in params.value:
        return Named(written)
    named = resolve(params.value[NAME], environment, problems)
    if named.value is None:
        return Named(written)
    credential = known.get(named.text)
    if credential is None:
        problems.error(named.place, f'there is no credential "{named.text[:100]}"')
        return None
    own = {key: node for key, node in params.items() if node.value is not None}
    given = {key: node for key, node in credential.values.items() if key != NAME}
    merged = replace(params, value={**given, **own})
    assert isinstance(written.value, dict)
    return Named(replace(written, value={**written.value, "litellm_params": merged}), credential.stored)


def _mapping(node: Node) -> Node:
    if not isinstance(node.value, dict):
        raise Wrong(f"a mapping is wanted, not {values.shown(node)}")
    return node
